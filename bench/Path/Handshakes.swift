import Foundation
import GateTLS
import Glibc

/// Handshakes of TLS 1.3 in memory, both ends on one thread: what libssl costs, and nothing else.
package struct Handshakes {
  /// CPU time of one, in ns.
  package struct Cost {
    package var serverNs: Double
    package var clientNs: Double
    package var perSecond: Double { 1e9 / serverNs }
  }

  package private(set) var full: Cost
  package private(set) var resumed: Cost

  /// - Parameter rounds: handshakes of each kind.
  package static func measure(rounds: Int) throws -> Handshakes {
    let authority = try DevelopmentCA.make(nowS: Int64(Date().timeIntervalSince1970))
    let identity = try authority.serverIdentity(nowS: Int64(Date().timeIntervalSince1970))
    let server = try TLSServerContext(identity: identity, ticketKeys: [UInt8](0..<80))
    let client = try TLSClientContext(authorityPEM: authority.certificatePEM)
    var ticket: [UInt8]?
    func run(_ ticket: inout [UInt8]?, resuming: Bool) throws -> Cost {
      var cost = Cost(serverNs: 0, clientNs: 0)
      for _ in 0..<rounds {
        let offered = resuming ? ticket : nil
        try once(server, client, offered, &ticket, &cost)
      }
      return Cost(serverNs: cost.serverNs / Double(rounds), clientNs: cost.clientNs / Double(rounds))
    }
    let full = try run(&ticket, resuming: false)
    return Handshakes(full: full, resumed: try run(&ticket, resuming: true))
  }

  private static func once(
    _ serverContext: TLSServerContext, _ clientContext: TLSClientContext, _ offered: [UInt8]?, _ ticket: inout [UInt8]?,
    _ cost: inout Cost
  ) throws {
    func time<T: ~Copyable>(_ ns: inout Double, _ body: () throws -> T) rethrows -> T {
      let start = cpuNs()
      let result = try body()
      ns += Double(cpuNs() - start)
      return result
    }
    var client = try time(&cost.clientNs) { try TLSEngine(client: clientContext, serverName: "localhost", ticket: offered) }
    var server = try time(&cost.serverNs) { try TLSEngine(server: serverContext) }
    while !client.isEstablished || !server.isEstablished || client.outputCount + server.outputCount > 0 {
      try time(&cost.serverNs) { try pass(from: &client, to: &server) }
      try time(&cost.clientNs) { try pass(from: &server, to: &client) }
    }
    guard server.isResumed == (offered != nil) else { throw PathError.conversation("not resumed") }
    ticket = client.sessionTicket
  }

  /// Of this thread, so that what else the machine does is not in it.
  private static func cpuNs() -> UInt64 {
    var time = timespec()
    guard unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0 else { preconditionFailure("no clock of threads") }
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// Copies what waits at one end and lets the other take it.
  private static func pass(from: inout TLSEngine, to: inout TLSEngine) throws {
    guard from.outputCount > 0 else { return }
    var bytes: [UInt8] = []
    from.drainOutput(into: &bytes)
    var plain = [UInt8](repeating: 0, count: 1_024)
    var room = plain.mutableSpan
    var end = 0
    _ = try to.receive(bytes.span, plaintext: &room, at: &end)
  }
}
