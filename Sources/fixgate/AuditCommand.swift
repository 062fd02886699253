import ArgumentParser
import Foundation
import GateCore
import GateNet
import GateStore
import Gateway

extension Setup {
  var auditLog: AuditLog { AuditLog(dataDirectory) }

  /// Notes what the user at the command line is about to do; without the note it is not done.
  func note(
    _ what: AuditAction, tenant: String? = nil, subject: UInt32? = nil, device: UInt32? = nil, policy: UInt32? = nil,
    about: String? = nil, numbers: KeyValuePairs<String, Int64> = [:]
  ) throws {
    try auditLog.append(
      AuditEntry(
        what, by: .user(CallingUser.number), tenant: tenant, subject: subject, device: device, policy: policy,
        about: about, numbers: numbers))
  }
}

struct AuditCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "audit",
    abstract: "Who read, exported, erased, held, or changed what: the log that cannot be changed unseen.",
    subcommands: [Verify.self, List.self])

  struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Check that the audit log is what was written, line by line; ends with code 1 if it is not.",
      discussion: """
        Whoever owns the data directory could write the whole log anew. Against that, keep the last line of this command somewhere \
        else, and give it back with --known: it must still be part of the log.
        """)

    @Option(help: "NUMBER:HASH, as an earlier run has printed it.")
    var known: String?

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      var chain: AuditChain?
      if let known {
        let parts = known.split(separator: ":")
        guard parts.count == 2, let number = UInt64(parts[0]), number > 0,
          let hash = Hex.bytes(Array(parts[1].utf8).span), hash.count == AuditChain.hashBytes
        else { throw Complaint("--known must be NUMBER:HASH as 'audit verify' prints it, not '\(known)'") }
        chain = AuditChain(number: number, hash: hash)
      }
      let report = try setup.auditLog.read(known: chain)
      for problem in report.problems { print(AuditCommand.text(problem)) }
      if report.problems.count == AuditReport.problemsMax { print("and perhaps more") }
      guard report.problems.isEmpty else { throw ExitCode(1) }
      if let chain, chain.number < report.first {
        print("entry \(chain.number) is older than what is kept: it proves nothing here")
      }
      if report.isTorn {
        print("a crash has left the last line unfinished; it tells of nothing that was done, and the next entry takes its place")
      }
      guard report.last.number > 0 else { return print("the audit log is empty") }
      print("entries \(report.first) to \(report.last.number) are as they were written")
      print("\(report.last.number):\(report.last.hashText)")
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print the audit log: number, time, who, what, tenant, and the rest.")

    @Option(help: "Only this tenant's.")
    var tenant: String?

    @Option(help: "Only this action, as read_history or erased.")
    var what: String?

    @Flag(help: "The lines as they are: one JSON object each.")
    var json = false

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      if let what, AuditAction(rawValue: what) == nil {
        let names = AuditAction.allCases.map(\.rawValue)
        let nearest = nearestNames(to: what, among: names)
        throw Complaint("there is no action '\(what)'; choose one of " + (nearest.isEmpty ? names : nearest).joined(separator: ", "))
      }
      let report = try setup.auditLog.read { line in
        guard let entry = AuditLine(line) else { return }
        guard tenant == nil || entry.tenant == tenant, what == nil || entry.what == what else { return }
        print(json ? String(decoding: line, as: UTF8.self) : entry.text)
      }
      guard report.problems.isEmpty else {
        throw Complaint("the log has been changed: 'fixgate audit verify' says where")
      }
    }
  }

  static func text(_ problem: AuditReport.Problem) -> String {
    switch problem {
    case .line(let file, let line, let fault):
      switch fault {
      case .unreadable: "\(file):\(line): is no entry"
      case .changed: "\(file):\(line): says something else than was written, or the line before it does"
      case .misplaced(let number, let expected):
        "\(file):\(line): entry \(number) stands where entry \(expected) was written"
      }
    case .missing(let file, let number, let expected):
      "\(file): begins with entry \(number), but \(expected) should come next: a file is missing"
    case .cut(let number, let expected): "the log ends with entry \(number), but \(expected) were written: its end was cut off"
    case .rewritten(let number): "entry \(number) is not the one that was written: the log was written anew"
    case .noHead: "\(AuditLog.headName) is gone or damaged: whether the end of the log was cut off cannot be told"
    }
  }
}

/// A line of the log, read.
struct AuditLine {
  let number: UInt64
  let timeMs: Int64
  let who: String
  let what: String
  let tenant: String?
  private let rest: [(key: String, value: String)]

  init?(_ line: [UInt8]) {
    guard let object = try? JSONSerialization.jsonObject(with: Data(line)) as? [String: Any],
      let number = object["number"] as? UInt64, let timeMs = object["time_ms"] as? Int64,
      let who = object["who"] as? String, let what = object["what"] as? String
    else { return nil }
    self.number = number
    self.timeMs = timeMs
    self.who = who
    self.what = what
    tenant = object["tenant"] as? String
    let known: Set = ["number", "time_ms", "who", "what", "tenant", "hash", "previous"]
    rest = object.filter { !known.contains($0.key) }.map { ($0.key, "\($0.value)") }.sorted { $0.key < $1.key }
  }

  var text: String {
    "\(number)\t\(Clock.text(timeMs))\t\(who)\t\(what)\t\(tenant ?? "-")\t"
      + rest.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
  }
}
