import ArgumentParser
import BenchDTLS
import BenchHarness
import GateTLS

/// `dtls`: what a datagram, a handshake and a stored session cost.
struct DTLSCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dtls",
    abstract: "Time datagrams through open, decode, limit and dedupe, handshakes beside libssl's, and a restart; count a session's memory.")

  @Option(help: "Live sessions that send in turn.")
  var sessions = 20_000

  @Option(help: "Rounds, one datagram of every session each.")
  var rounds = 15

  @Option(help: "Handshakes a round.")
  var handshakes = 1_000

  @Option(help: "Sessions to restart with; 0 = none.")
  var stored = 1_000_000

  @Flag(help: "Only start the real gateway on so many stored sessions, and wait for the first ack.")
  var serve = false

  @Option(help: "Folder on the disk to use.")
  var folder = "."

  func run() throws {
    if serve {
      try DTLSCommand.printServe(stored, .pskAES128CCM8, folder)
      return
    }
    for suite in [DTLSSuite.pskAES128CCM8, .pskAES128GCM, .pskChaCha20Poly1305] {
      try DTLSCommand.path(sessions, suite, rounds: rounds, folder)
    }
    try DTLSCommand.printHandshakes(handshakes, rounds: rounds)
    if stored > 0 {
      try DTLSCommand.printRestart(stored, .pskAES128CCM8, folder)
      try DTLSCommand.printServe(stored, .pskAES128CCM8, folder)
    }
  }

  @discardableResult
  static func path(_ sessions: Int, _ suite: DTLSSuite, rounds: Int, _ folder: String) throws -> DatagramPath.Result {
    var path = try DatagramPath(sessions: sessions, suite, in: folder)
    let result = try path.run(fixes: PathCommand.track(1_000), rounds: rounds)
    print(
      "\(suite.name), \(sessions) sessions, \(result.bytes / result.datagrams) bytes a datagram; ns a datagram (least, median): open \(pair(result.openNs)), intake \(pair(result.intakeNs)), sequencer \(pair(result.sequencerNs)), all \(pair(result.allNs)): \(Int(1e9 / result.allNs.median)) datagrams/s and core; allocations \(result.allocations) of \(result.datagrams)"
    )
    return result
  }

  static func printHandshakes(_ count: Int, rounds: Int) throws {
    let times = try Handshakes.run(count: count, rounds: rounds)
    let (ours, libssl) = (times.ours.sorted(), times.libssl.sorted())
    let median = (ours[ours.count / 2], libssl[libssl.count / 2])
    print(
      "PSK handshakes, server's work, us (least, median): ours \(pair((ours[0] / 1e3, median.0 / 1e3))), libssl alone \(pair((libssl[0] / 1e3, median.1 / 1e3))): \(number(median.1 / median.0, 4)) of libssl's rate"
    )
  }

  @discardableResult
  static func printRestart(_ count: Int, _ suite: DTLSSuite, _ folder: String) throws -> Restart.Result {
    let result = try Restart.run(count, suite, in: folder)
    print(
      "\(result.sessions) stored sessions: \(number(result.sessionBytes, 6)) bytes of memory each in the endpoint; a start reads sessions in \(number(result.sessionsS, 4)) s, registry in \(number(result.registryS, 4)) s, dedupe in \(number(result.dedupeS, 4)) s; \(result.served) asked and answered"
    )
    return result
  }

  @discardableResult
  static func printServe(_ count: Int, _ suite: DTLSSuite, _ folder: String) throws -> Serve.Result {
    let result = try Serve.run(count, suite, fix: PathCommand.track(1)[0], in: folder)
    print(
      "\(count) stored sessions, registry and dedupe of as many devices: the first ack \(number(result.ackS, 4)) s after exec, \(number(result.secondAckS, 4)) s when subjects have their keys already; \(result.bytes / 1_000_000) MB of memory, \(number(result.sessionBytes, 4)) bytes a session of it gone without the session file"
    )
    return result
  }

  private static func pair(_ pair: (least: Double, median: Double)) -> String {
    "\(number(pair.least, 5)) \(number(pair.median, 5))"
  }
}
