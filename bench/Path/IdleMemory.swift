import Foundation
package import GateCore
import Gateway

/// What a gateway keeps for devices that are connected, have said one fix, and are silent.
package enum IdleMemory {
  /// - Parameter ownRecords: `tls.own_records`.
  /// - Returns: bytes of the gateway's own memory (RssAnon) for each connection.
  package static func measure(connections: Int, ownRecords: Bool, in folder: String, track: [Fix]) throws -> Double {
    let gateway = try GatewayProcess(
      in: folder, devices: connections + 1, workers: 1, counting: false,
      settings: ["FIXGATE_TLS_OWN_RECORDS": "\(ownRecords)", "FIXGATE_LIMITS_CONNECTIONS_MAX": "\(connections + 100)"])
    // One goes before, so that what the first of anything costs is not counted.
    var first = try Fleet(gateway: gateway, tokens: gateway.tokens.prefix(1), batch: 1, fixes: track)
    try first.run(fixes: 100)
    try first.settle()
    let before = try rssAnonBytes(of: gateway.id)
    var fleet = try Fleet(gateway: gateway, tokens: gateway.tokens.dropFirst(), batch: 1, fixes: track)
    try fleet.run(fixes: UInt64(connections))
    try fleet.settle()
    let sessions = try gateway.status().network.sessions
    guard sessions == connections + 1 else { throw PathError.conversation("\(sessions) sessions") }
    let after = try rssAnonBytes(of: gateway.id)
    try gateway.stop()
    return Double(after - before) / Double(connections)
  }

  private static func rssAnonBytes(of process: Int32) throws -> Int {
    let text = try String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)
    let line = text.split(separator: "\n").first { $0.hasPrefix("RssAnon:") }
    guard let number = line?.split(whereSeparator: \.isWhitespace).dropFirst().first, let kilobytes = Int(number) else {
      throw PathError.conversation("no RssAnon")
    }
    return kilobytes * 1_024
  }
}
