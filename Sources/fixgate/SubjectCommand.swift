import ArgumentParser
import Foundation
import GateCore
import GateStore

struct SubjectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "subject",
    abstract: "The people who carry devices, by ids that say nothing about them.",
    subcommands: [
      Add.self, List.self, Assign.self, Unassign.self, Ground.self, Withdraw.self, SubjectExportCommand.self, SubjectCorrect.self,
      SubjectErase.self, SubjectErasures.self, SubjectRotateKeys.self,
    ])

  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Add a subject.",
      discussion: "The list of who is who stays with you: e-mail addresses and phone numbers are refused as ids.")

    @Argument(help: "Its id: 1 to 64 letters, digits, '.', '_' or '-'.")
    var subject: String

    @Option(help: "Tenant that the subject belongs to.")
    var tenant: String

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let registry = try RegistryStore(path: setup.registryPath)
      try setup.note(.added, tenant: tenant, about: "subject")
      try registry.addSubject(tenant: tenant, name: subject, nowMs: Clock.nowMs)
      print("subject \(tenant)/\(subject) is there\(try setup.tellGatewayInWords())")
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List subjects: id, devices carried now, legal ground, since when.",
      discussion: "With --assignments: device, subject, from, to, oldest first.")

    @Option(help: "Tenant that the subjects belong to.")
    var tenant: String

    @Flag(help: "Who carried what, from when to when.")
    var assignments = false

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let registry = try RegistryStore(path: config.load().registryPath)
      if assignments {
        for entry in try registry.listAssignments(tenant: tenant) {
          let end = entry.untilMs.map { Clock.text($0) } ?? "-"
          print("\(entry.device)\t\(entry.subject)\t\(Clock.text(entry.sinceMs))\t\(end)")
        }
        return
      }
      for entry in try registry.listSubjects(tenant: tenant) {
        let devices = entry.devices.isEmpty ? "-" : entry.devices.joined(separator: ",")
        let ground = entry.isWithdrawn ? "withdrawn" : entry.ground ?? "-"
        print("\(entry.name)\t\(devices)\t\(ground)\t\(Clock.text(entry.createdMs))")
      }
    }
  }

  struct Assign: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Say who carries a device from now on, or from another time on.",
      discussion: "Fixes belong to whoever carried the device at their time, however late they come.")

    @Argument(help: "The subject's id.")
    var subject: String

    @Option(help: "Tenant of both.")
    var tenant: String

    @Option(help: "The device's id.")
    var device: String

    @Option(help: "From this time on: 2026-11-21T04:00:00Z. Not before the device's last change.")
    var since: TimePoint?

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let sinceMs = since?.ms ?? Clock.nowMs
      let registry = try RegistryStore(path: setup.registryPath)
      let carried = try registry.devices(ofSubject: subject, tenant: tenant)
      try setup.note(
        .assigned, tenant: tenant, subject: carried.subject, device: try registry.device(tenant: tenant, id: device),
        numbers: ["since_ms": sinceMs])
      try registry.assign(tenant: tenant, id: device, subject: subject, sinceMs: sinceMs)
      print("\(tenant)/\(subject) carries \(device) from \(Clock.text(sinceMs))\(try setup.tellGatewayInWords())")
    }
  }

  struct Unassign: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Say that nobody carries a device any more.")

    @Option(help: "Tenant that the device belongs to.")
    var tenant: String

    @Option(help: "The device's id.")
    var device: String

    @Option(help: "From this time on: 2026-11-21T04:00:00Z. Not before the device's last change.")
    var since: TimePoint?

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let sinceMs = since?.ms ?? Clock.nowMs
      let registry = try RegistryStore(path: setup.registryPath)
      try setup.note(
        .assigned, tenant: tenant, device: try registry.device(tenant: tenant, id: device), about: "nobody",
        numbers: ["since_ms": sinceMs])
      try registry.assign(tenant: tenant, id: device, subject: nil, sinceMs: sinceMs)
      print("nobody carries \(tenant)/\(device) from \(Clock.text(sinceMs))\(try setup.tellGatewayInWords())")
    }
  }

  struct Ground: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Record why somebody may be followed. It ends a withdrawal.")

    @OptionGroup var whose: Whose

    @Option(help: "contract or consent.")
    var kind: String

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      guard let ground = LegalGround(rawValue: kind) else {
        throw Complaint("there is no ground '\(kind)'; choose contract or consent")
      }
      let setup = try config.load()
      let registry = try RegistryStore(path: setup.registryPath)
      try setup.note(.added, whose, in: registry, about: ground.rawValue)
      try registry.recordGround(tenant: whose.tenant, whose.name, ground, nowMs: Clock.nowMs)
      print("\(whose.text) may be followed by \(ground.rawValue)\(try setup.tellGatewayInWords())")
    }
  }

  struct Withdraw: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Consent is withdrawn, or the legal ground has ended: nothing more is taken, at once.",
      discussion: "Fixes that come from now on are refused, whatever their time. What is stored stays until it is erased.")

    @OptionGroup var whose: Whose
    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let registry = try RegistryStore(path: setup.registryPath)
      try setup.note(.withdrawn, whose, in: registry)
      try registry.withdraw(tenant: whose.tenant, whose.name, nowMs: Clock.nowMs)
      print("nothing more is taken of \(whose.text)\(try setup.tellGatewayInWords())")
    }
  }
}

/// Whom a command is about: a person, or a device that nobody in particular carries.
struct Whose: ParsableArguments {
  @Option(help: "Tenant that it belongs to.")
  var tenant: String

  @Option(help: "The subject's id.")
  var subject: String?

  @Option(help: "Or the device's id.")
  var device: String?

  func validate() throws {
    guard (subject == nil) != (device == nil) else { throw ValidationError("give either --subject ID or --device ID") }
  }

  var name: FollowedName { subject.map { .subject($0) } ?? .device(device ?? "") }
  var text: String { "\(tenant)/\(subject ?? device ?? "")" }
}

extension Setup {
  /// As `note`, about a subject or a device.
  func note(
    _ what: AuditAction, _ whose: Whose, in registry: borrowing RegistryStore, about: String? = nil
  ) throws {
    switch try registry.owner(whose.tenant, whose.name) {
    case .subject(let index): try note(what, tenant: whose.tenant, subject: index, about: about)
    case .device(let index): try note(what, tenant: whose.tenant, device: index, about: about)
    }
  }
}

/// A moment as it is typed: 2026-11-21T04:00:00Z.
struct TimePoint: ExpressibleByArgument {
  let ms: Int64

  init?(argument text: String) {
    let plain = Date.ISO8601FormatStyle()
    guard let date = (try? plain.parse(text)) ?? (try? plain.time(includingFractionalSeconds: true).parse(text)) else {
      return nil
    }
    ms = Int64((date.timeIntervalSince1970 * 1_000).rounded())
  }
}
