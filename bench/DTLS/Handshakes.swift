import COpenSSL
import GateCore
import GateTLS

/// Full handshakes with a pre-shared key and AES-128-CCM-8, the server's work only, from its first datagram to the last byte freed.
///
/// libssl alone: one object a handshake that sees both hellos, memory BIOs, no connection ID; freed at the end, so that nothing
/// is left to talk with. Its cookie is an HMAC-SHA256 of address and port, one when it is given and one when it comes back.
///
/// Ours: a cookie of the same kind that covers the hello too, and no object before it is good; connection ID; libssl's records
/// translated; the session's keys derived, kept, and libssl's object freed.
package enum Handshakes {
  /// ns a handshake of each round; ours and libssl's take turns.
  package static func run(count: Int, rounds: Int) throws -> (ours: [Double], libssl: [Double]) {
    let ours = try Ours()
    let libssl = try LibSSL()
    var times: (ours: [Double], libssl: [Double]) = ([], [])
    for round in 0...rounds {
      let first = try ours.run(count)
      let second = try libssl.run(count)
      guard round > 0 else { continue }
      times.ours.append(first / Double(count))
      times.libssl.append(second / Double(count))
    }
    return times
  }

  private static func client() throws(TLSError) -> DTLSClientContext {
    try DTLSClientContext(identity: BenchContext.identity, key: BenchContext.key, suites: [.pskAES128CCM8])
  }

  private static let address = PeerAddress(high: 0, low: 0x7F00_0001, port: 9, scope: 0, isIPv6: false)
  private static let now = Instant(ns: 1 << 50)

  // MARK: Ours

  private final class Ours {
    var endpoint: DTLSEndpoint
    let client: DTLSClientContext
    let cipher: RecordCipher
    var plain = [UInt8](repeating: 0, count: 8_192)

    init() throws {
      endpoint = try DTLSEndpoint(
        context: BenchContext.server(), cookieKey: [UInt8](repeating: 1, count: CookieGate.keyBytes), node: 0, shards: [0],
        sessionsMax: 1_024, handshakesMax: 16)
      client = try Handshakes.client()
      cipher = try RecordCipher()
    }

    func run(_ count: Int) throws(DTLSError) -> Double {
      let clock = ContinuousClock()
      var ns = 0.0
      for _ in 0..<count {
        var device = try DTLSHandshake(client: client, connectionID: ConnectionID(), at: Handshakes.now, with: cipher)
        var session: UInt64? = nil
        while session == nil {
          var answers: [[UInt8]] = []
          for datagram in device.takeOutput() {
            let start = clock.now
            Ours.receive(datagram, &endpoint, &plain)
            if case .opened(let id, _, _)? = endpoint.events.first { session = id }
            ns += (clock.now - start).ns
          }
          let start = clock.now
          _ = endpoint.drain { datagram, _ in
            answers.append(datagram.indices.map { datagram[$0] })
            return true
          }
          ns += (clock.now - start).ns
          for answer in answers { _ = try device.receive(answer.span, at: Handshakes.now, with: cipher) }
        }
        endpoint.close(session!)
        _ = endpoint.drain { _, _ in true }
      }
      return ns
    }

    private static func receive(_ datagram: [UInt8], _ endpoint: inout DTLSEndpoint, _ plain: inout [UInt8]) {
      var room = plain.mutableSpan
      endpoint.receive(datagram.span, from: Handshakes.address, at: Handshakes.now, plaintext: &room)
    }
  }

  // MARK: libssl alone

  @safe private final class LibSSL {
    private let context: OpaquePointer
    private let client: DTLSClientContext
    private let cipher: RecordCipher

    init() throws {
      client = try Handshakes.client()
      cipher = try RecordCipher()
      guard let context = unsafe SSL_CTX_new(DTLS_server_method()) else { throw TLSError.library(code: 0) }
      unsafe self.context = context
      unsafe SSL_CTX_set_options(
        context, gate_SSL_OP_NO_QUERY_MTU() | gate_SSL_OP_NO_TICKET() | gate_SSL_OP_COOKIE_EXCHANGE())
      unsafe gate_SSL_CTX_set_session_cache_mode(context, Int(SSL_SESS_CACHE_OFF))
      guard unsafe SSL_CTX_set_cipher_list(context, DTLSSuite.pskAES128CCM8.name) == 1 else {
        throw TLSError.library(code: 0)
      }
      unsafe SSL_CTX_set_psk_server_callback(context) { _, _, key, _ in
        for i in BenchContext.key.indices { unsafe key![i] = BenchContext.key[i] }
        return UInt32(BenchContext.key.count)
      }
      unsafe SSL_CTX_set_cookie_generate_cb(context) { _, cookie, count in
        unsafe count!.pointee = 32
        return unsafe LibSSL.mac(into: cookie!) ? 1 : 0
      }
      unsafe SSL_CTX_set_cookie_verify_cb(context) { _, cookie, count in
        var expected = [UInt8](repeating: 0, count: 32)
        guard count == 32, unsafe LibSSL.mac(into: &expected) else { return 0 }
        return unsafe CRYPTO_memcmp(cookie, expected, 32) == 0 ? 1 : 0
      }
    }

    /// Keyed once.
    private nonisolated(unsafe) static let hash: OpaquePointer? = {
      let algorithm = unsafe EVP_MAC_fetch(nil, "HMAC", nil)
      defer { unsafe EVP_MAC_free(algorithm) }
      guard let hash = unsafe EVP_MAC_CTX_new(algorithm), unsafe gate_EVP_MAC_CTX_use_sha256(hash) == 1 else { return nil }
      let key = [UInt8](repeating: 1, count: 32)
      return unsafe EVP_MAC_init(hash, key, key.count, nil) == 1 ? hash : nil
    }()

    private static func mac(into tag: UnsafeMutablePointer<UInt8>) -> Bool {
      let address = Handshakes.address.bytes
      var count = 0
      return unsafe EVP_MAC_init(hash, nil, 0, nil) == 1 && EVP_MAC_update(hash, address, address.count) == 1
        && EVP_MAC_final(hash, tag, &count, 32) == 1
    }

    deinit { unsafe SSL_CTX_free(context) }

    func run(_ count: Int) throws(DTLSError) -> Double {
      let clock = ContinuousClock()
      var ns = 0.0
      for _ in 0..<count {
        var device = try DTLSHandshake(client: client, connectionID: nil, at: Handshakes.now, with: cipher)
        var start = clock.now
        guard let ssl = unsafe SSL_new(context), let input = unsafe BIO_new(BIO_s_mem()),
          let output = unsafe BIO_new(BIO_s_mem())
        else { throw .library(code: 0) }
        unsafe SSL_set_bio(ssl, input, output)
        unsafe SSL_set_accept_state(ssl)
        _ = unsafe gate_SSL_set_mtu(ssl, 1_232)
        ns += (clock.now - start).ns
        var isDone = false
        while !isDone {
          let flight = device.takeOutput()
          guard !flight.isEmpty else { throw .timedOut }
          start = clock.now
          for datagram in flight {
            _ = unsafe BIO_write(input, datagram, Int32(datagram.count))
            isDone = unsafe SSL_do_handshake(ssl) == 1
          }
          var bytes: UnsafePointer<UInt8>? = nil
          let pending = unsafe gate_BIO_get_mem_data(output, &bytes)
          let answer = unsafe Array(UnsafeBufferPointer(start: bytes, count: pending))
          _ = unsafe BIO_ctrl(output, BIO_CTRL_RESET, 0, nil)
          ns += (clock.now - start).ns
          _ = try device.receive(answer.span, at: Handshakes.now, with: cipher)
        }
        start = clock.now
        unsafe SSL_free(ssl)
        ns += (clock.now - start).ns
      }
      return ns
    }
  }
}
