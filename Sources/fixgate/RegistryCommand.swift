import ArgumentParser
import Foundation
import GateCore
import GateStore
import GateTLS
import Gateway

struct RegistryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "registry", abstract: "Look after the registry.", subcommands: [Rekey.self])

  struct Rekey: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Encrypt the pre-shared keys in the registry under a fresh key, and put that into tls.registry_key.",
      discussion: """
        Devices and the running gateway notice nothing. After an interruption run it again: until it is done the file holds the \
        older keys too. Keep a backup of registry and key file together.
        """)

    @Option(help: "An older key file that opens keys which tls.registry_key does not. May be repeated.")
    var from: [String] = []

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      var older: [UInt8] = []
      for path in from { older += try RegistryKeys.read(path) }
      let registry = try RegistryStore(path: setup.registryPath)
      try setup.note(.rotated, about: "registry key")
      let count: Int
      do {
        count = try RegistryKeys.rekey(setup.registryKeyPath, older: older, in: registry, bookPath: setup.subjectBookPath,
          nowMs: Clock.nowMs) {
          try setup.tellGateway(files: true)
        }
      } catch let RegistryKeys.RekeyError.unopened(devices) {
        let named = devices.prefix(5).joined(separator: ", ") + (devices.count > 5 ? " and \(devices.count - 5) more" : "")
        throw Complaint(
          "\(setup.registryKeyPath) does not open the keys of \(named): name the file that does with --from, or give these "
            + "devices new ones with 'fixgate device rotate --overlap 0'. Nothing was changed")
      } catch RegistryKeys.RekeyError.unopenedSubjects {
        throw Complaint(
          "\(setup.registryKeyPath) does not open the keys of subjects: name the file that does with --from. Nothing was changed")
      }
      print("\(count) pre-shared keys are encrypted under a fresh key, in \(setup.registryKeyPath); back it up with the registry")
    }
  }
}
