import GateCore
import Testing

@Suite struct SourceFilterTests {
  private static let second: UInt64 = 1_000_000_000

  private static func filter(
    open: UInt32 = 1_000, rate: (UInt64, UInt64) = (10, 20), handshakes: (UInt64, UInt64) = (1, 5),
    failures: (UInt64, UInt64) = (1, 3), slots: Int = 256
  ) -> SourceFilter {
    SourceFilter(
      settings: SourceFilter.Settings(
        openMax: open, connections: GCRA(perSecond: rate.0, burst: rate.1),
        handshakes: GCRA(perSecond: handshakes.0, burst: handshakes.1),
        failures: GCRA(perSecond: failures.0, burst: failures.1)),
      seed: 42, slots: slots)
  }

  private static let at = Instant(ns: 5_000_000_000)
  private static let one = Source(ipv4: 0xC633_6401)

  @Test func connectionsAreBoundByRateAndDecay() {
    var filter = Self.filter()
    for _ in 0..<20 { #expect(filter.admit(Self.one, at: Self.at) == nil) }
    #expect(filter.admit(Self.one, at: Self.at) == .connections)
    #expect(filter.admit(Self.one, at: Self.at.advanced(byNs: Self.second / 10)) == nil)
    #expect(filter.admit(Self.one, at: Self.at.advanced(byNs: Self.second / 10)) == .connections)
  }

  @Test func openConnectionsAreBoundUntilTheyEnd() {
    var filter = Self.filter(open: 2)
    #expect(filter.admit(Self.one, at: Self.at) == nil)
    #expect(filter.admit(Self.one, at: Self.at) == nil)
    #expect(filter.admit(Self.one, at: Self.at) == .open)
    filter.ended(Self.one)
    #expect(filter.admit(Self.one, at: Self.at) == nil)
    // More ends than beginnings, after a collision: never below zero.
    for _ in 0..<5 { filter.ended(Self.one) }
    #expect(filter.admit(Self.one, at: Self.at) == nil)
  }

  @Test func failuresShutTheDoorForATime() {
    var filter = Self.filter()
    for _ in 0..<100 { filter.failed(Self.one, at: Self.at) }
    #expect(filter.admit(Self.one, at: Self.at) == .failures)
    #expect(filter.admit(Self.one, at: Self.at.advanced(byNs: Self.second)) == nil)
  }

  @Test func handshakesAreBound() {
    var filter = Self.filter()
    for _ in 0..<5 { #expect(filter.handshake(Self.one, at: Self.at) == nil) }
    #expect(filter.handshake(Self.one, at: Self.at) == .handshakes)
    #expect(filter.handshake(Self.one, at: Self.at.advanced(byNs: Self.second)) == nil)
  }

  /// The /64 is the source, and the two families are two worlds.
  @Test func sourcesAreToldApart() {
    var filter = Self.filter(open: 1, slots: 1 << 14)
    let sources = [
      Source(ipv4: 1), Source(ipv4: 2), Source(ipv6High: 1), Source(ipv6High: 2), Source(ipv6High: 0x2001_0DB8_0000_0001),
    ]
    for source in sources { #expect(filter.admit(source, at: Self.at) == nil) }
    for source in sources { #expect(filter.admit(source, at: Self.at) == .open) }
  }

  /// With one slot everybody collides: the newcomer is let in, and who was there is forgiven.
  @Test func aCollisionForgives() {
    var filter = Self.filter(slots: 1)
    for _ in 0..<100 { filter.failed(Self.one, at: Self.at) }
    #expect(filter.admit(Source(ipv4: 7), at: Self.at) == nil)
    #expect(filter.admit(Self.one, at: Self.at) == nil)
    // The end of a connection of another source changes nothing.
    filter.ended(Source(ipv4: 7))
    #expect(filter.admit(Self.one, at: Self.at) == nil)
  }

  /// Against a map without collisions: whoever the exact filter lets in, the table lets in.
  @Test(arguments: [UInt64(1), 2, 3])
  func neverStricterThanAnExactFilter(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var table = Self.filter(open: 50, slots: 64)
    var exact: [Source: SourceFilter] = [:]
    var at = Self.at
    for _ in 0..<20_000 {
      // Whole seconds, so that both filters count in whole units and neither is a fraction ahead.
      if UInt64.random(in: 0..<50, using: &random) == 0 { at = at.advanced(byNs: Self.second) }
      let source = Source(ipv6High: UInt64.random(in: 0..<100, using: &random))
      var own = exact[source] ?? Self.filter(open: 50, slots: 1)
      switch Int.random(in: 0..<4, using: &random) {
      case 0:
        // Asked only where both are charged, or the two would count different connections.
        if own.admit(source, at: at) == nil { #expect(table.admit(source, at: at) == nil) }
      case 1:
        own.ended(source)
        table.ended(source)
      case 2:
        if own.handshake(source, at: at) == nil { #expect(table.handshake(source, at: at) == nil) }
      default:
        own.failed(source, at: at)
        table.failed(source, at: at)
      }
      exact[source] = own
    }
  }
}
