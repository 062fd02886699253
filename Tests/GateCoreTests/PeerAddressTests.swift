import GateCore
import Testing

@Suite struct PeerAddressTests {
  @Test func everyFieldCounts() {
    let base = PeerAddress(high: 1, low: 2, port: 3, scope: 4, isIPv6: true)
    let others = [
      PeerAddress(high: 9, low: 2, port: 3, scope: 4, isIPv6: true),
      PeerAddress(high: 1, low: 9, port: 3, scope: 4, isIPv6: true),
      PeerAddress(high: 1, low: 2, port: 9, scope: 4, isIPv6: true),
      PeerAddress(high: 1, low: 2, port: 3, scope: 9, isIPv6: true),
      PeerAddress(high: 1, low: 2, port: 3, scope: 4, isIPv6: false),
      PeerAddress(high: 1, low: 2, port: 3, scope: 4, isIPv6: true, local: 1),
    ]
    for other in others { #expect(other != base && other.bytes != base.bytes) }
    #expect(base.bytes.count == PeerAddress.byteCount && PeerAddress.byteCount <= 32)
  }
}
