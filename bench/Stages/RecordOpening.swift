import BenchHarness
import BenchReport
import GateCore
import GateTLS

/// Records of 100 bytes that a thousand devices have sealed in turn, opened by the gateway.
enum TLSStages {
  static func make(_ setting: Stage.Setting) throws -> [Stage] {
    let connections = max(20, 1_000 / setting.shrink)
    let records = 20 * connections
    let content = [UInt8](repeating: 7, count: 100)
    func entry(_ name: String, _ lines: Lines) -> Contest.Entry {
      Contest.Entry(name, prepare: { lines.prepare(content, times: records) }) { lines.openPrepared() }
    }
    let (keyed, shared) = (BareCiphers(connections), BareCiphers(1))
    return [
      Stage(
        "TLS record open, \(connections) connections", item: "record", items: records, bytesWritten: 100,
        [
          entry("fixgate", try Lines(connections, ownRecords: true)),
          entry("libssl", try Lines(connections, ownRecords: false)),
          Contest.Entry("EVP, a context a key") { keyed.open(content, times: records, rekeying: false) },
          Contest.Entry("EVP, one context re-keyed") { shared.open(content, times: records, rekeying: true) },
        ])
    ]
  }
}

/// The same over DTLS 1.2 with connection IDs, by cipher suite.
enum DTLSStages {
  static func make(_ setting: Stage.Setting) throws -> [Stage] {
    let suites: [(DTLSSuite, BareCiphers.Cipher)] = [(.pskAES128CCM8, .ccm8), (.pskAES128GCM, .gcm)]
    return try suites.map { suite, cipher in
      let sessions = max(20, 1_000 / setting.shrink)
      let records = 20 * sessions
      let content = [UInt8](repeating: 7, count: 100)
      let pairs = try Pairs(sessions, suite)
      let (keyed, shared) = (BareCiphers(sessions, cipher), BareCiphers(1, cipher))
      return Stage(
        "DTLS record open, \(suite.name), \(sessions) sessions", item: "record", items: records, bytesWritten: 100,
        [
          Contest.Entry("fixgate", prepare: { pairs.prepare(content, times: records) }) { pairs.openPrepared() },
          Contest.Entry("EVP, a context a key") { keyed.open(content, times: records, rekeying: false) },
          Contest.Entry("EVP, one context re-keyed") { shared.open(content, times: records, rekeying: true) },
        ])
    }
  }

  /// Both ends of sessions after their handshakes.
  private final class Pairs {
    private final class Pair {
      var device: DTLSSession
      var gateway: DTLSSession
      init(_ device: consuming DTLSSession, _ gateway: consuming DTLSSession) {
        self.device = device
        self.gateway = gateway
      }
    }

    private var pairs: [Pair] = []
    private let cipher: RecordCipher
    private var sealed: [[UInt8]] = []
    private var room = [UInt8](repeating: 0, count: 20_000)

    init(_ count: Int, _ suite: DTLSSuite) throws {
      cipher = try RecordCipher()
      var random = SplitMix(seed: 11)
      for index in 0..<count {
        let key = (0..<suite.keyBlockBytes).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        let id = ConnectionID(gateway: UInt64(index))
        pairs.append(
          Pair(
            try DTLSSession(suite: suite, role: .client, keyBlock: key.span, writeConnectionID: id),
            try DTLSSession(suite: suite, role: .server, keyBlock: key.span, readConnectionID: id)))
      }
    }

    func prepare(_ content: [UInt8], times: Int) {
      sealed.removeAll(keepingCapacity: true)
      for i in 0..<times { sealed.append(Pairs.seal(content, &pairs[i % pairs.count].device, cipher)) }
    }

    func openPrepared() -> UInt64 {
      var bytes = 0
      for i in sealed.indices { bytes += Pairs.open(sealed[i], &pairs[i % pairs.count].gateway, &room, cipher) }
      return UInt64(bytes)
    }

    private static func seal(
      _ content: [UInt8], _ session: inout DTLSSession, _ cipher: borrowing RecordCipher
    ) -> [UInt8] {
      var datagram = [UInt8](repeating: 0, count: session.recordBytes(plaintextBytes: content.count))
      var at = 0
      var room = datagram.mutableSpan
      do throws(DTLSError) { try session.seal(.applicationData, content.span, into: &room, at: &at, with: cipher) } catch {
        preconditionFailure("\(error)")
      }
      return datagram
    }

    private static func open(
      _ datagram: [UInt8], _ session: inout DTLSSession, _ room: inout [UInt8], _ cipher: borrowing RecordCipher
    ) -> Int {
      var end = 0
      var span = room.mutableSpan
      do throws(DTLSError) {
        let record = try DTLSRecord.next(in: datagram.span, from: 0)
        _ = try session.open(record, of: datagram.span, into: &span, at: &end, with: cipher)
      } catch { preconditionFailure("\(error)") }
      return end
    }
  }
}
