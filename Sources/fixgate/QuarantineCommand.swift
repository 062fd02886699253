import ArgumentParser
import Foundation
import GateCore
import GateStore
import Gateway

struct QuarantineCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quarantine",
    abstract: "Look at fixes that the rules hold back, and decide about them. Works while the gateway runs.",
    subcommands: [List.self, Show.self, Release.self, Drop.self, Recheck.self])

  struct Selection: ParsableArguments {
    @Option(help: "Tenant that the device belongs to.")
    var tenant: String

    @Option(help: "Only this device's.")
    var device: String?

    @Option(help: "Only fixes held for this: a verdict's name, as 'future', or its number.")
    var code: String?

    @OptionGroup var reading: ReadOptions

    func make() throws -> QuarantineSelection { QuarantineSelection(tenant: tenant, device: device, code: try number()) }

    func query() throws -> ReadQuery {
      var query = ReadQuery(.quarantine, device: device)
      query.code = try number()
      return query
    }

    private func number() throws -> UInt16? {
      try code.map { code in
        let held = Verdict.allCases.filter { $0.outcome == .held }
        if let number = UInt16(code) { return number }
        if let verdict = held.first(where: { "\($0)" == code }) { return verdict.rawValue }
        let names = held.map { "\($0)" }
        let nearest = nearestNames(to: code, among: names)
        throw Complaint("nothing is held for '\(code)'; choose one of " + (nearest.isEmpty ? names : nearest).joined(separator: ", "))
      }
    }

    /// Opens quarantine for a decision, which is noted first.
    func open(to action: AuditAction) throws -> Quarantine {
      let setup = try reading.config.load()
      try setup.note(action, tenant: tenant, device: device.flatMap { try? setup.reader(of: tenant).index(ofDevice: $0) })
      let index = try RegistryStore(path: setup.registryPath).index(ofTenant: tenant)
      return try Quarantine(path: setup.storePath, cipher: try setup.cipher(of: index))
    }
  }

  enum Format: String, ExpressibleByArgument, CaseIterable { case text, json }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List held fixes: number, when received, device, verdict, fix time, latitude, longitude.")

    @OptionGroup var selection: Selection

    @Option(help: "text, or json: one object a line.")
    var format = Format.text

    @Option(help: "At most so many.")
    var limit = 10_000

    func run() throws {
      var query = try selection.query()
      query.format = format.rawValue
      query.limit = limit
      guard try selection.reading.read(query, tenant: selection.tenant) == limit else { return }
      FileHandle.standardError.write(Data("there may be more: raise --limit\n".utf8))
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show all that is known about one held fix.")

    @Argument(help: "Its number, from 'quarantine list'.")
    var id: Int64

    @OptionGroup var selection: Selection

    @Option(help: "text or json.")
    var format = Format.text

    func run() throws {
      var query = try selection.query()
      query.format = format.rawValue
      query.number = id
      try selection.reading.read(query, tenant: selection.tenant)
    }
  }

  struct Release: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Put held fixes into the track, as they are and with their verdict.",
      discussion: "Fixes without a time, or with a latitude beyond the poles, stay: a track has no place for them.")

    @Argument(help: "Numbers of single fixes; none = all that fit the options.")
    var ids: [Int64] = []

    @OptionGroup var selection: Selection

    func run() throws {
      let wanted = try QuarantineCommand.decided(ids, selection)
      let change = try selection.open(to: .released).release(wanted)
      print("released \(change.released), kept \(change.kept)")
    }
  }

  struct Drop: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Delete held fixes for good; only that there were such is kept.")

    @Argument(help: "Numbers of single fixes; none = all that fit the options.")
    var ids: [Int64] = []

    @OptionGroup var selection: Selection

    func run() throws {
      let wanted = try QuarantineCommand.decided(ids, selection)
      print("dropped \(try selection.open(to: .dropped).drop(wanted).dropped)")
    }
  }

  struct Recheck: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Run today's rules over what is held: after a change of 'normalise' in the configuration.",
      discussion: "The tenant's policy is applied to what comes out: a fix whose time the rules move out of duty is refused.")

    @OptionGroup var selection: Selection

    func run() throws {
      let setup = try selection.reading.config.load()
      let normaliser = Normaliser(setup.configuration.normalising)
      let policies = try RegistryStore(path: setup.registryPath).loadSnapshot().privacy
      let wanted = try selection.make()
      let change = try selection.open(to: .rechecked).recheck(wanted, with: normaliser, policies: policies)
      print(
        "released \(change.released), held for another reason \(change.changed), kept \(change.kept), refused \(change.refused)")
    }
  }

  /// A decision about a whole tenant at once is more likely a slip than meant.
  private static func decided(_ ids: [Int64], _ selection: Selection) throws -> QuarantineSelection {
    guard !ids.isEmpty || selection.device != nil else {
      throw Complaint("say which: numbers from 'quarantine list', or --device, with --code or without")
    }
    var wanted = try selection.make()
    wanted.ids = Set(ids)
    return wanted
  }
}
