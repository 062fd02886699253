import ArgumentParser
import Foundation
import GateCore
import GateStore
import GateTLS
import Gateway

struct RegistryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "registry", abstract: "Look after the registry.", subcommands: [Rekey.self, Export.self, Import.self])

  struct Export: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Write the registry into a file that other gateways can import: devices, credentials, subjects, policies.",
      discussion: """
        Tokens are in it as hashes, pre-shared keys encrypted under tls.registry_key: import needs that file too. Read tokens and \
        enrolment windows stay here. Its names may be somebody's business: the file's mode is 0600.
        """)

    @Argument(help: "The file to write.")
    var file: String

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      try Installation.refuseToOverwrite(file)
      try setup.note(.exported, about: "registry")
      do {
        try RegistryStore(path: setup.registryPath).export(to: file)
      } catch {
        try? FileManager.default.removeItem(atPath: file)
        throw error
      }
      print("the registry is in \(file)")
    }
  }

  struct Import: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Take over what another gateway's registry has and this one has not, so that its devices may come here too.",
      discussion: """
        Nothing is removed; what has ended or is revoked in either registry is so from then on. Run it again after each change \
        there. The running gateway knows it at once.
        """)

    @Argument(help: "What 'fixgate registry export' wrote there.")
    var file: String

    @Option(help: "The other gateway's tls.registry_key, if devices have pre-shared keys and the file is not the one of this gateway.")
    var key: String?

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let theirs = try key.map { try RegistryKeys.read($0) } ?? []
      let registry = try RegistryStore(path: setup.registryPath)
      try setup.note(.added, about: "registry")
      let imported = try registry.take(
        from: file, devicesMax: setup.configuration.data.devicesMax, nowMs: Clock.nowMs,
        reseal: { selector, sealed in
          let keys = try RegistryKeys.read(setup.registryKeyPath)
          let context = KeyIdentity.bytes(selector)
          return try RegistryKeys.open(sealed, keys: keys + theirs, context: context).map {
            try RegistryKeys.seal($0, keys: keys, context: context)
          }
        },
        check: {
          for tenant in try registry.egress() {
            try tenant.egress.check(setup.configuration.sinkLabels, tenant: tenant.tenant)
          }
        })
      print(
        "\(imported.devices) devices and \(imported.credentials) credentials are new here, \(imported.revoked) devices are "
          + "revoked now\(try setup.tellGatewayInWords())")
    }
  }

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
