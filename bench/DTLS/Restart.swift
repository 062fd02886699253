import GateCore
package import GateTLS
import Gateway
import Glibc

/// What a million sessions take, on disk to serving.
package enum Restart {
  package struct Result {
    package var sessions = 0
    package var sessionBytes = 0.0
    package var sessionsS = 0.0
    package var registryS = 0.0
    package var dedupeS = 0.0
    /// Every session has answered: one record opened and one sealed.
    package var served = 0
  }

  package static func run(_ count: Int, _ suite: DTLSSuite, in folder: String) throws -> Result {
    let fleet = try StoredFleet(count, suite, in: folder)
    var result = Result()
    let clock = ContinuousClock()
    var start = clock.now
    let before = residentBytes()
    var endpoint = try fleet.start(BenchContext.server())
    result.sessionsS = (clock.now - start).ns / 1e9
    result.sessions = endpoint.sessionCount
    result.sessionBytes = Double(residentBytes() - before) / Double(count)
    result.served = try serve(fleet, &endpoint)
    try fleet.makeRegistry()
    start = clock.now
    guard try fleet.readRegistry() == count else { preconditionFailure("the registry is not all there") }
    result.registryS = (clock.now - start).ns / 1e9
    try fleet.makeCheckpoint()
    start = clock.now
    guard try fleet.readCheckpoint() == count + 1 else { preconditionFailure("the checkpoint is not all there") }
    result.dedupeS = (clock.now - start).ns / 1e9
    return result
  }

  private static func serve(_ fleet: borrowing StoredFleet, _ endpoint: inout DTLSEndpoint) throws -> Int {
    let cipher = try RecordCipher()
    var plain = [UInt8](repeating: 0, count: 8_192)
    var served = 0
    for i in stride(from: 0, to: fleet.count, by: max(1, fleet.count / 10_000)) {
      var device = try fleet.session(i, .client)
      if try answer(&device, &endpoint, cipher, &plain) { served += 1 }
    }
    return served
  }

  private static func answer(
    _ device: inout DTLSSession, _ endpoint: inout DTLSEndpoint, _ cipher: borrowing RecordCipher, _ plain: inout [UInt8]
  ) throws(DTLSError) -> Bool {
    var datagram = [UInt8](repeating: 0, count: device.recordBytes(plaintextBytes: 3))
    var at = 0
    var room = datagram.mutableSpan
    let message: [UInt8] = [1, 2, 3]
    try device.seal(.applicationData, message.span, into: &room, at: &at, with: cipher)
    let address = PeerAddress(high: 0, low: 1, port: 1, scope: 0, isIPv6: false)
    var space = plain.mutableSpan
    endpoint.receive(datagram.span, from: address, at: Instant(ns: 1 << 50), plaintext: &space)
    guard case .data(let session, _, _, _)? = endpoint.events.first else { return false }
    var answer = [UInt8](repeating: 0, count: 200)
    var answerRoom = answer.mutableSpan
    at = 0
    return try endpoint.seal(message.span, for: session, into: &answerRoom, at: &at) != nil
  }

  /// Resident memory of this process, without files.
  private static func residentBytes() -> Int {
    var text = [CChar](repeating: 0, count: 4_096)
    guard let file = unsafe fopen("/proc/self/status", "r") else { return 0 }
    defer { unsafe fclose(file) }
    while unsafe fgets(&text, Int32(text.count), file) != nil {
      let line = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      guard line.hasPrefix("RssAnon:") else { continue }
      return (Int(line.filter(\.isNumber)) ?? 0) * 1_024
    }
    return 0
  }
}
