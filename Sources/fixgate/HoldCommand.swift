import ArgumentParser
import Foundation
import GateCore
import GateStore
import Gateway

struct HoldCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "hold",
    abstract: "Legal holds: what retention does not delete and nobody can erase.",
    subcommands: [Add.self, List.self, Remove.self])

  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Hold what is stored about a subject, or what lies in a range of time.")

    @Argument(help: "The subject's id.")
    var subject: String?

    @Option(help: "What for: a case number. No names.")
    var reason: String

    @OptionGroup var target: SubjectTarget

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let range = try target.find(subject, in: setup)
      guard (1...Limits.reasonBytesMax).contains(reason.utf8.count) else {
        throw Complaint("--reason must have 1 to \(Limits.reasonBytesMax) bytes")
      }
      try setup.note(.held, tenant: target.tenant, subject: range.subjectIndex, device: range.deviceIndex)
      let number = try SubjectBook(path: setup.subjectBookPath).hold(range, reason: reason, nowMs: Clock.nowMs)
      print("hold \(number) is in force")
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List holds: number, subject or device, from, to, since, until, reason.")

    @Option(help: "The tenant.")
    var tenant: String

    @Flag(help: "Those that were removed too.")
    var all = false

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let registry = try RegistryStore(path: setup.registryPath)
      let index = try registry.index(ofTenant: tenant)
      for hold in try SubjectBook(path: setup.subjectBookPath).holds(tenant: index, lifted: all) {
        let name = try registry.names(tenant: index, owner: hold.target.owner).owner
        let from = hold.target.times.lowerBound == .min ? "-" : Clock.text(hold.target.times.lowerBound)
        let to = hold.target.times.upperBound == .max ? "-" : Clock.text(hold.target.times.upperBound)
        print(
          "\(hold.number)\t\(hold.target.owner.isDevice ? "device" : "subject") \(name)\t\(from)\t\(to)\t"
            + "\(Clock.text(hold.placedMs))\t\(hold.liftedMs.map { Clock.text($0) } ?? "-")\t\(hold.reason)")
      }
    }
  }

  struct Remove: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Remove a hold: retention and erasure take their course.")

    @Argument(help: "The hold's number, as 'hold list' tells it.")
    var number: Int64

    @Option(help: "The tenant.")
    var tenant: String

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let index = try RegistryStore(path: setup.registryPath).index(ofTenant: tenant)
      try setup.note(.holdEnded, tenant: tenant, numbers: ["hold": number])
      try SubjectBook(path: setup.subjectBookPath).lift(number, tenant: index, nowMs: Clock.nowMs)
      print("hold \(number) is removed")
    }
  }
}
