import GateCore
import Testing
import WireVectors

@Suite struct SessionSlotTests {
  static let slot: SessionSlot = {
    var facts = SessionFacts()
    facts.device = 7
    facts.tenant = 3
    facts.stream = 0xFFFF_FFF0
    facts.protocolVersion = 1
    facts.policyVersion = 9
    facts.authorities = 0xDEAD_BEEF
    facts.credential = CredentialReference(kind: .key, selector: 0x0123_4567_89AB_CDEF)
    facts.validUntilMs = 1_900_000_000_000
    facts.clockErrorMs = -5
    return SessionSlot(
      connectionID: 0x0102_0304_0506_0708, facts: facts, writeBase: 3 << 16, writeReserved: 1 << 16, readNext: 77,
      heardS: 1_800_000_000, address: nil)
  }()

  static func bytes(_ slot: SessionSlot) -> [UInt8] {
    var bytes = [UInt8](repeating: 0xAA, count: SessionSlot.bytes)
    var span = bytes.mutableSpan
    slot.write(into: &span)
    return bytes
  }

  @Test func comesBackAsItWas() {
    var classic = Self.slot
    classic.address = PeerAddress(high: 1, low: 2, port: 3, scope: 4, isIPv6: true, local: 5)
    var nobody = Self.slot
    nobody.facts = SessionFacts()
    for slot in [Self.slot, classic, nobody] {
      let bytes = Self.bytes(slot)
      #expect(SessionSlot.read(bytes.span) == .session(slot))
      #expect(bytes[SessionSlot.changingBytes...].allSatisfy { $0 == 0xAA })
    }
    #expect(Self.slot.shard == 2)
  }

  @Test func everyBitCounts() {
    let bytes = Self.bytes(Self.slot)
    for bit in 0..<8 * SessionSlot.changingBytes {
      var damaged = bytes
      damaged[bit / 8] ^= 1 << UInt8(bit % 8)
      #expect(SessionSlot.read(damaged.span) == .damaged)
    }
    #expect(SessionSlot.read([UInt8](repeating: 0, count: SessionSlot.bytes).span) == .free)
    #expect(SessionSlot.read([UInt8](repeating: 255, count: SessionSlot.bytes).span) == .damaged)
  }

  @Test func header() {
    var bytes = [UInt8](repeating: 0, count: SessionSlot.bytes)
    #expect(SessionFileHeader.read(bytes.span) == .damaged)
    let header = SessionFileHeader(start: 4, base: 12 * WriteReservation.standard.block)
    var span = bytes.mutableSpan
    header.write(into: &span)
    #expect(SessionFileHeader.read(bytes.span) == .valid(header))
    for bit in 0..<8 * 32 where bit / 8 < 8 || bit / 8 >= 12 {
      var damaged = bytes
      damaged[bit / 8] ^= 1 << UInt8(bit % 8)
      #expect(SessionFileHeader.read(damaged.span) == .damaged)
    }
    bytes[8] = 2
    #expect(SessionFileHeader.read(bytes.span) == .version(2))
  }
}

@Suite struct WriteReservationTests {
  @Test func alwaysHalfABlockAhead() {
    let block = WriteReservation.standard.block
    for sequence in [0, 1, block / 2 - 1, block / 2, block - 1, block, 7 * block + 5] as [UInt64] {
      let reserved = WriteReservation.standard.ahead(of: sequence)
      #expect(reserved > sequence + block / 2 - 1 && reserved <= sequence + block)
    }
  }

  /// Runs that end by kill -9 or by a power cut at any moment, with a clock that goes anywhere: no number is used twice.
  @Test(arguments: 1...40 as ClosedRange<UInt64>) func noNumberTwice(seed: UInt64) {
    var random = Seeded(seed: seed)
    var base = WriteReservation.standard.base(after: 0, nowS: UInt64(random.below(1_000)))
    // What is on disk for sure, and what a kill -9 leaves.
    var durable = slot(base: base, reserved: WriteReservation.standard.ahead(of: 0))
    var cached = durable
    var next: UInt64 = 0
    var limit = durable.writeReserved
    var used: UInt64 = 0
    for _ in 0..<200 {
      for _ in 0..<random.below(6) {
        let step = UInt64(random.below(Int(WriteReservation.standard.block)))
        let end = min(next + step, limit)
        #expect(next >= used)
        used = max(used, end)
        next = end
        if random.chance(70) { cached = slot(base: base, reserved: WriteReservation.standard.ahead(of: next)) }
        if random.chance(50) {
          durable = cached
          if durable.writeBase == base { limit = max(limit, durable.writeReserved) }
        }
      }
      if random.chance(50) { cached = durable }
      // A start syncs what it reads before the new base counts.
      durable = cached
      base = WriteReservation.standard.base(after: base, nowS: UInt64(random.below(1_000_000)))
      next = WriteReservation.standard.resume(durable, base: base)!
      limit = next + WriteReservation.standard.block
      #expect(next >= used)
    }
  }

  /// A whole data directory brought back from a backup: the clock has gone on.
  @Test func aRestoredBackup() throws {
    let base = WriteReservation.standard.base(after: 0, nowS: 1_700_000_000)
    let slot = slot(base: base, reserved: WriteReservation.standard.ahead(of: 10))
    let later = WriteReservation.standard.base(after: base, nowS: 1_700_000_000 + 86_400)
    // A day of one record every 20 ms.
    #expect(try #require(WriteReservation.standard.resume(slot, base: later)) >= 86_400 * 50)
  }

  @Test func slotsThatNoRunWrote() {
    let block = WriteReservation.standard.block
    #expect(WriteReservation.standard.resume(slot(base: 3 * block, reserved: block), base: 3 * block) == nil)
    #expect(WriteReservation.standard.resume(slot(base: 4 * block, reserved: block), base: 3 * block) == nil)
    #expect(WriteReservation.standard.resume(slot(base: 1, reserved: block), base: 3 * block) == nil)
    #expect(WriteReservation.standard.resume(slot(base: 0, reserved: 0), base: 3 * block) == nil)
    #expect(WriteReservation.standard.resume(slot(base: 0, reserved: block + 1), base: 3 * block) == nil)
    let last = UInt64.max / block * block
    #expect(WriteReservation.standard.resume(slot(base: 0, reserved: last), base: 3 * block) == nil)
  }

  private func slot(base: UInt64, reserved: UInt64) -> SessionSlot {
    var slot = SessionSlotTests.slot
    slot.writeBase = base
    slot.writeReserved = reserved
    return slot
  }
}
