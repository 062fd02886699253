import GateCore
import GateTLS

/// What must hold of an endpoint whatever comes to its socket. Shared by the fuzz target and the ordinary tests.
package enum DatagramProperties {
  /// The input is a list of steps of 4 bytes, so that a fuzzer starts from datagrams whose tags and cookies are good:
  /// - kind 0: a template with one byte flipped; kind 1: a template cut short; kind 2: the input's next bytes as they are;
  ///   kind 3: time passes.
  ///
  /// Traps when something is opened that no device has sealed, when more is answered than came before an address is proven,
  /// when a bound is passed, or when a live session is harmed.
  package static func check(_ input: [UInt8]) {
    let bench = DTLSWorkbench.shared
    guard var endpoint = try? DTLSWorkbench.endpoint(bench.context, bench.slots) else {
      preconditionFailure("no endpoint")
    }
    var now = DTLSWorkbench.now
    var plain = [UInt8](repeating: 0, count: 20_000)
    var at = 0
    while input.count - at >= 4 {
      let (what, first, second, third) = (input[at], input[at + 1], input[at + 2], input[at + 3])
      at += 4
      let template = bench.templates[Int(what >> 2) % bench.templates.count]
      var datagram = template
      switch what & 3 {
      case 0: datagram[(Int(first) << 8 | Int(second)) % template.count] ^= third
      case 1: datagram.removeLast((Int(first) << 8 | Int(second)) % (template.count + 1))
      case 2:
        let count = min(Int(first) << 3 | Int(second & 7), input.count - at)
        datagram = Array(input[at..<at + count])
        at += count
      default:
        now = now.advanced(byNs: UInt64(first) << UInt64(second % 32))
        endpoint.expire(at: now)
        _ = endpoint.drain { _, _ in true }
        continue
      }
      let started = endpoint.counters.handshakesStarted
      let halfOpen = endpoint.handshakeCount
      DTLSWorkbench.receive(datagram, from: third % 3, at: now, &endpoint, &plain)
      for case .data in endpoint.events { precondition(bench.templates.dropFirst(bench.hellos).contains(datagram)) }
      var answered = 0
      _ = endpoint.drain { bytes, _ in
        answered += bytes.count
        return true
      }
      precondition(answered <= datagram.count || endpoint.counters.handshakesStarted > started || halfOpen > 0)
      precondition(endpoint.handshakeCount <= 2 && endpoint.sessionCount == DTLSWorkbench.slotCount)
    }
    // Every live session still opens what its device seals.
    guard let cipher = try? RecordCipher() else { preconditionFailure("no ciphers") }
    for index in 0..<DTLSWorkbench.slotCount {
      guard var device = try? DTLSWorkbench.session(index, .client) else { preconditionFailure("no session") }
      // Numbers that the templates have not used.
      for _ in 0..<4 { _ = try? DTLSWorkbench.seal(.applicationData, [1], &device, cipher) }
      guard let good = try? DTLSWorkbench.seal(.applicationData, [1], &device, cipher) else { preconditionFailure("not sealed") }
      DTLSWorkbench.receive(good, from: 200, at: now, &endpoint, &plain)
      guard case .data(DTLSWorkbench.id(index), _, _, _)? = endpoint.events.last else { preconditionFailure("session \(index)") }
    }
  }
}
