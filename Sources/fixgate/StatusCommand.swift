import ArgumentParser
import Foundation
import Gateway

struct StatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "Counters of the running gateway, by verdict and stage, from one moment.",
    discussion: "received + recovered = stored + duplicate + held + refused + queued + pending + set_aside")

  enum Format: String, ExpressibleByArgument, CaseIterable { case text, json }

  @Option(help: "text or json.")
  var format = Format.text

  @OptionGroup var config: ConfigurationOption

  func run() throws {
    let setup = try config.load()
    guard let answer = try ControlClient.ask(.status, directory: setup.dataDirectory) else {
      throw Complaint("no gateway runs on \(setup.dataDirectory); start it with 'fixgate serve'")
    }
    guard let status = answer.status else {
      throw Complaint(answer.problem ?? "the gateway did not answer in time; it may wait for its disk")
    }
    switch format {
    case .json: print(String(decoding: try status.json, as: UTF8.self))
    case .text: print(StatusText.lines(status))
    }
  }
}

enum StatusText {
  static func lines(_ status: Status) -> String {
    let fixes = status.fixes
    var text = """
      fixgate \(status.version), up \(Int(status.uptime_s)) s
      received \(fixes.received) + recovered \(fixes.recovered) = stored \(fixes.stored) + duplicate \(fixes.duplicate) \
      + held \(fixes.held) + refused \(fixes.refused) + queued \(fixes.queued) + pending \(fixes.pending) \
      + set aside \(fixes.set_aside): \(status.balanced ? "holds" : "DOES NOT HOLD")
      connections \(status.network.connections), sessions \(status.network.sessions), handshakes \(status.network.handshakes) \
      (resumed \(status.network.resumptions)), frames \(status.network.frames)
      udp: devices \(status.datagrams.devices), sessions \(status.datagrams.sessions) (restored \
      \(status.datagrams.restored)), handshakes \(status.datagrams.handshakes), datagrams \(status.datagrams.received), records \(status.datagrams.records), forged \
      \(status.datagrams.forged), replayed \(status.datagrams.replayed), lost by the system \(status.datagrams.kernel_drops)
      journal: records \(status.journal.first_lsn) to \(status.journal.end_lsn), \(status.journal.bytes >> 20) MiB, \
      \(status.journal.commits) commits
      """
    for sink in status.sinks { text += "\n" + line(sink) }
    if let problem = status.journal.problem { text += "\nnothing is taken: \(problem)" }
    return text
  }

  private static func line(_ sink: Status.Sink) -> String {
    let type = sink.type == sink.name ? "" : " (\(sink.type))"
    let lag = "\(sink.lag_records) records, \(sink.lag_bytes >> 10) KiB, \(Int(sink.lag_s)) s behind"
    let counts = "stored \(sink.stored), there already \(sink.already_stored), set aside \(sink.set_aside)"
    let text = "sink \(sink.name)\(type): \(sink.state.rawValue), \(lag); \(counts)"
    return text + (sink.problem.map { "\n  \($0)" } ?? "")
  }
}
