import GateCore
import GateTLS
import Testing

/// What the gate said, and its reply.
private struct Examined: Equatable {
  var answer: CookieGate.Answer
  var reply: [UInt8]
}

/// One client's hello, by itself and with a cookie.
private struct Hello {
  var random = [UInt8](repeating: 0xAB, count: 32)
  var sessionID: [UInt8] = []
  var cookie: [UInt8] = []
  var suites: [UInt8] = [0xC0, 0xA8]
  var sequence: UInt8 = 0
  var extensions: [UInt8]? = [0, 1, 0, 54, 0, 1, 0]

  var body: [UInt8] {
    var body: [UInt8] = [0xFE, 0xFD] + random
    body += [UInt8(sessionID.count)] + sessionID
    body += [UInt8(cookie.count)] + cookie
    body += [0, UInt8(suites.count)] + suites
    body += [1, 0]
    if let extensions { body += [0, UInt8(extensions.count)] + extensions }
    return body
  }

  var datagram: [UInt8] {
    let body = body
    let message = [1, 0, 0, UInt8(body.count), 0, sequence, 0, 0, 0, 0, 0, UInt8(body.count)] + body
    return [22, 0xFE, 0xFF, 0, 0, 0, 0, 0, 0, 0, sequence, 0, UInt8(message.count)] + message
  }
}

private func examine(
  _ gate: borrowing CookieGate, _ datagram: [UInt8], from address: [UInt8] = DTLSFixture.address, atS seconds: UInt64 = 1_000
) -> Examined {
  var reply = [UInt8](repeating: 0, count: CookieGate.replyBytes)
  var span = reply.mutableSpan
  let answer = gate.examine(datagram.span, from: address.span, at: Instant(ns: seconds * 1_000_000_000), reply: &span)
  return Examined(answer: answer, reply: reply)
}

@Suite struct CookieGateTests {
  /// The cookie of a reply.
  private func cookie(_ examined: Examined) -> [UInt8] { Array(examined.reply.suffix(CookieGate.cookieBytes)) }

  @Test func verifyThenProven() throws {
    let gate = try CookieGate(key: DTLSFixture.cookieKey)
    var hello = Hello(sequence: 5)
    let first = examine(gate, hello.datagram)
    #expect(first.answer == .verify)
    // RFC 6347 section 4.2.1: DTLS 1.0, the hello's own record sequence, message 3.
    #expect(
      first.reply.prefix(28)
        == [22, 0xFE, 0xFF, 0, 0, 0, 0, 0, 0, 0, 5, 0, 31, 3, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 19, 0xFE, 0xFF, 16])
    #expect(first.reply.count == 44 && first.reply.count < hello.datagram.count)
    hello.cookie = cookie(first)
    hello.sequence = 6
    // Other data may share the datagram.
    let second = examine(gate, hello.datagram + [22])
    #expect(second.answer == .proven(record: 0..<hello.datagram.count))
  }

  @Test func boundToAddressAndHello() throws {
    let gate = try CookieGate(key: DTLSFixture.cookieKey)
    let other = try CookieGate(key: [UInt8](repeating: 8, count: CookieGate.keyBytes))
    var hello = Hello(sessionID: [1, 2, 3])
    hello.cookie = cookie(examine(gate, hello.datagram))
    #expect(examine(gate, hello.datagram).answer == .proven(record: 0..<hello.datagram.count))
    #expect(examine(other, hello.datagram).answer == .verify)
    for i in DTLSFixture.address.indices {
      var address = DTLSFixture.address
      address[i] ^= 1
      #expect(examine(gate, hello.datagram, from: address).answer == .verify)
    }
    var changed = hello
    changed.random[31] ^= 1
    #expect(examine(gate, changed.datagram).answer == .verify)
    changed = hello
    changed.suites[1] ^= 1
    #expect(examine(gate, changed.datagram).answer == .verify)
    changed = hello
    changed.sessionID[0] ^= 1
    #expect(examine(gate, changed.datagram).answer == .verify)
    for bit in 0..<CookieGate.cookieBytes * 8 {
      changed = hello
      changed.cookie[bit / 8] ^= 1 << UInt8(bit % 8)
      #expect(examine(gate, changed.datagram).answer == .verify)
    }
    changed = hello
    changed.cookie.removeLast()
    #expect(examine(gate, changed.datagram).answer == .verify)
    // A client may change its extensions, though none does.
    changed = hello
    changed.extensions = nil
    #expect(examine(gate, changed.datagram).answer == .proven(record: 0..<changed.datagram.count))
  }

  @Test(arguments: [(990, 990, true), (990, 1_019, true), (990, 1_049, true), (990, 1_050, false), (1_019, 1_049, true), (1_019, 1_050, false)])
  func lives(madeAtS: UInt64, usedAtS: UInt64, good: Bool) throws {
    let gate = try CookieGate(key: DTLSFixture.cookieKey)
    var hello = Hello()
    hello.cookie = cookie(examine(gate, hello.datagram, atS: madeAtS))
    #expect((examine(gate, hello.datagram, atS: usedAtS).answer != .verify) == good)
  }

  @Test func firstPeriod() throws {
    let gate = try CookieGate(key: DTLSFixture.cookieKey)
    #expect(examine(gate, Hello().datagram, atS: 0).answer == .verify)
  }

  /// No state, no answer.
  @Test func refused() throws {
    let gate = try CookieGate(key: DTLSFixture.cookieKey)
    let hello = Hello().datagram
    for count in hello.indices { #expect(examine(gate, Array(hello[..<count])).answer == .refused) }
    let edits: [(String, Int, UInt8)] = [
      ("type", 0, 23), ("epoch", 4, 1), ("message", 13, 2), ("length", 16, 1), ("fragment offset", 21, 1),
      ("fragment length", 24, 1), ("version", 25, 3), ("session id of 33", 59, 33), ("cookie beyond the end", 60, 200),
      ("odd length of suites", 61, 9),
    ]
    for (name, at, value) in edits {
      var bad = hello
      bad[at] = value
      #expect(examine(gate, bad).answer == .refused, "\(name)")
    }
    #expect(examine(gate, Hello(suites: []).datagram).answer == .refused)
  }

  /// Every mutation of a good hello: the answer is never longer than the question, and nothing is proven but by the cookie.
  @Test func everyByteChanged() throws {
    let gate = try CookieGate(key: DTLSFixture.cookieKey)
    let hello = Hello().datagram
    for at in hello.indices {
      for value in 0...255 as ClosedRange<UInt8> {
        var bad = hello
        bad[at] = value
        if case .proven = examine(gate, bad).answer { Issue.record("byte \(at) = \(value)") }
      }
    }
  }
}
