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

    @OptionGroup var config: ConfigurationOption

    func make() throws -> QuarantineSelection {
      var selection = QuarantineSelection(tenant: tenant, device: device)
      if let code {
        let held = Verdict.allCases.filter { $0.outcome == .held }
        if let number = UInt16(code) {
          selection.code = number
        } else if let verdict = held.first(where: { "\($0)" == code }) {
          selection.code = verdict.rawValue
        } else {
          let names = held.map { "\($0)" }
          let nearest = nearestNames(to: code, among: names)
          throw Complaint("nothing is held for '\(code)'; choose one of " + (nearest.isEmpty ? names : nearest).joined(separator: ", "))
        }
      }
      return selection
    }

    func open() throws -> Quarantine { try Quarantine(path: try config.load().storePath) }
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
      let quarantine = try selection.open()
      var left = limit
      try quarantine.list(selection.make()) { held in
        guard left > 0 else { return false }
        left -= 1
        switch format {
        case .text:
          let verdict = held.verdict.map { "\($0)" } ?? "\(held.record.code)"
          print(
            "\(held.id)\t\(held.receiveTime)\t\(held.device)\t\(verdict)\t\(held.fixTime ?? "-")\t"
              + "\(held.latitude ?? "-")\t\(held.longitude ?? "-")")
        case .json: print(QuarantineCommand.json(held))
        }
        return true
      }
      if left == 0 { FileHandle.standardError.write(Data("there may be more: raise --limit\n".utf8)) }
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
      let quarantine = try selection.open()
      var wanted = try selection.make()
      wanted.ids = [id]
      var found = false
      try quarantine.list(wanted) { held in
        found = true
        switch format {
        case .text: for field in held.fields { print("\(field.name)\t\(field.value)") }
        case .json: print(QuarantineCommand.json(held))
        }
        return false
      }
      guard found else { throw Complaint("nothing with number \(id) is held; see 'fixgate quarantine list'") }
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
      let quarantine = try selection.open()
      let change = try quarantine.release(QuarantineCommand.decided(ids, selection))
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
      let quarantine = try selection.open()
      print("dropped \(try quarantine.drop(QuarantineCommand.decided(ids, selection)).dropped)")
    }
  }

  struct Recheck: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Run today's rules over what is held: after a change of 'normalise' in the configuration.")

    @OptionGroup var selection: Selection

    func run() throws {
      let quarantine = try selection.open()
      let normaliser = Normaliser(try selection.config.load().configuration.normalising)
      let change = try quarantine.recheck(selection.make(), with: normaliser)
      print("released \(change.released), held for another reason \(change.changed), kept \(change.kept)")
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

  private static func json(_ held: HeldFix) -> String {
    let strings: Set = ["device", "verdict", "received", "time", "work_subject", "task", "stop"]
    let members = held.fields.map { field in
      strings.contains(field.name) ? "\"\(field.name)\":\(quoted(field.value))" : "\"\(field.name)\":\(field.value)"
    }
    return "{" + members.joined(separator: ",") + "}"
  }

  private static func quoted(_ text: String) -> String {
    (try? JSONEncoder().encode(text)).map { String(decoding: $0, as: UTF8.self) } ?? "\"\""
  }
}
