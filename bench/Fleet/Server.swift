package import GateCore
import Gateway

/// What a fleet is let loose on.
package protocol Server: AnyObject {
  /// Of which program a thread's CPU time is, by process.
  var processes: [Int32] { get }
  /// How many devices are enrolled.
  var devices: Int { get }
  func connector() throws -> Connect
  /// One device each for all that are enrolled, new to the server.
  func fleet(lanes: [Double], batch: Int, messagesInFlight: Int) -> [Device]
  /// Acked fixes that are not in the store yet.
  func backlog() throws -> Int
  /// Commits so far; `nil` where the server does not say.
  func commits() throws -> Int?
  /// Ends the server after holding its own counts against the fleet's.
  /// - Throws: `.conversation` if it has fewer or more fixes than were acked.
  func finish(acked: Int) throws
}

/// `fixgate serve`.
package final class FixgateServer: Server {
  private let gateway: GatewayProcess
  private let fixes: [Fix]

  /// - Parameters:
  ///   - fixes: what its devices record, over and over.
  ///   - sink: see `GatewayProcess`.
  package init(
    _ enrolment: Enrolment, in folder: String, transport: Transport, workers: Int, fixes: [Fix],
    beside sink: (name: String, entry: String)? = nil
  ) throws {
    // As with the limits that `GatewayProcess` raises: this fleet opens, reconnects and sends in every lane faster.
    let settings = [
      // Connections that are being replaced count too.
      "CONNECTIONS_MAX": enrolment.tokens.count + 512, "HANDSHAKES_PER_SECOND": 1_000_000, "HANDSHAKES_BURST": 1_000_000,
      "BACKLOG_PER_SECOND": 1_000_000, "BACKLOG_BURST": 10_000_000, "PANIC_PER_SECOND": 1_000, "PANIC_BURST": 10_000,
    ]
    gateway = try GatewayProcess(
      enrolment, in: folder, transport: transport, workers: workers,
      settings: Dictionary(uniqueKeysWithValues: settings.map { ("FIXGATE_LIMITS_" + $0, "\($1)") }), beside: sink)
    self.fixes = fixes
  }

  package var processes: [Int32] { [gateway.id] }
  package var devices: Int { gateway.enrolment.tokens.count }
  package func connector() throws -> Connect { try gateway.connector() }

  package func fleet(lanes: [Double], batch: Int, messagesInFlight: Int) -> [Device] {
    Device.fixgate(
      gateway.enrolment, lanes: lanes, fixes: fixes, batch: batch, messagesInFlight: messagesInFlight)
  }

  package func backlog() throws -> Int {
    let status = try gateway.status()
    return Int(status.fixes.queued + status.fixes.pending)
  }

  package func commits() throws -> Int? { Int(try gateway.status().journal.commits) }

  /// Every acked fix is there once; what came twice, over a connection that was lost, is counted as a duplicate.
  package func finish(acked: Int) throws {
    let fixes = try gateway.status().fixes
    let kept = Int(fixes.stored + fixes.held + fixes.queued + fixes.pending + fixes.set_aside)
    guard fixes.isBalanced, kept == acked else {
      throw FleetError.conversation("\(acked) fixes were acked, the gateway has \(kept)")
    }
    try gateway.stop()
  }
}
