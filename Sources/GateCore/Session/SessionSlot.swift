/// What a conversation must know to go on after a restart as if nothing had happened.
package struct SessionFacts: Equatable, Sendable, BitwiseCopyable {
  /// 0 = it has said no hello yet.
  package var device: UInt32 = 0
  package var tenant: UInt32 = 0
  /// `nil` = not known for sure, or not all that the hello said can be kept: the device is asked for another.
  package var stream: UInt32? = nil
  package var protocolVersion: UInt16 = 0
  package var policyVersion: UInt32 = 0
  /// Before hello only that of a key, which the handshake has shown.
  package var credential: CredentialReference? = nil
  /// End of the credential, ms since 1970-01-01 UTC; `.max` = never.
  package var validUntilMs: Int64 = .max
  /// Only of a certificate: a mark of the authorities that vouched for it.
  package var authorities: UInt32 = 0
  /// As in `Session`.
  package var clockErrorMs: Int64? = nil

  package init() {}
}

/// One DTLS session as it lies in the session file: 256 aligned bytes, so that no slot straddles a sector.
///
/// Layout, little endian. The first part changes while the session lives and is written alone, under a checksum. The second
/// is written once; the tag of its seal guards it, and the connection ID, made anew for every session, ties the two together.
/// ```
///   0 u32 CRC32C of 4..<112            40 i64 valid until, ms        80 u32 last heard, s since 1970
///   4 u16 protocol version             48 i64 clock error, ms        84 u32 scope of the address
///   6 u8 credential kind, 0 = none     56 u64 write base             88 u64, 96 u64 address, high and low
///   7 u8 flags                         64 u64 write reserved        104 u16 port, u8 local, 0, u32 authorities
///   8 u64 connection ID                72 u64 read next
///  16 u32 device, tenant, stream, policy version (4 numbers)
///  32 u64 credential selector
/// 112 u16 suite, u8 length and 20 bytes of the peer's connection ID, 5 zeros
/// 140 sealed key block (68 or 116 bytes)
/// ```
/// Flags: 1 = the clock error is known; 2 = a classic session, which has an address; 4 = that is IPv6; 8 = the stream is known.
/// The address of a session with connection IDs is not kept: its next record brings it.
///
/// A slot of zeros is free.
package struct SessionSlot: Equatable, Sendable {
  package static let bytes = 256
  /// The part that changes.
  package static let changingBytes = 112
  package static let sealedAt = 140

  package enum Reading: Equatable, Sendable {
    case free
    case session(SessionSlot)
    /// Written by half, or changed since. Take it for free.
    case damaged
  }

  package var connectionID: UInt64
  package var facts: SessionFacts
  /// `SessionFileHeader.base` of the run that wrote this.
  package var writeBase: UInt64
  /// In that run no record was sealed with this number or above.
  package var writeReserved: UInt64
  /// Numbers of records that were read lie below it, or have come since.
  package var readNext: UInt64
  /// Seconds since 1970-01-01 UTC.
  package var heardS: UInt32
  /// Only of a classic session.
  package var address: PeerAddress?

  package init(
    connectionID: UInt64, facts: SessionFacts, writeBase: UInt64, writeReserved: UInt64, readNext: UInt64, heardS: UInt32,
    address: PeerAddress?
  ) {
    self.connectionID = connectionID
    self.facts = facts
    self.writeBase = writeBase
    self.writeReserved = writeReserved
    self.readNext = readNext
    self.heardS = heardS
    self.address = address
  }

  /// The virtual shard, which says whose session it is.
  package var shard: UInt8 { UInt8(truncatingIfNeeded: connectionID >> 48) }

  /// Writes the part that changes to the front of `out`.
  package func write(into out: inout MutableSpan<UInt8>) {
    for i in 0..<SessionSlot.changingBytes { out[i] = 0 }
    let hasClockError = facts.clockErrorMs != nil
    out.store(facts.protocolVersion, at: 4)
    out[6] = facts.credential?.kind.rawValue ?? 0
    out[7] =
      (hasClockError ? 1 : 0) | (address == nil ? 0 : 2) | (address?.isIPv6 == true ? 4 : 0)
      | (facts.stream == nil ? 0 : 8)
    out.store(connectionID, at: 8)
    out.store(facts.device, at: 16)
    out.store(facts.tenant, at: 20)
    out.store(facts.stream ?? 0, at: 24)
    out.store(facts.policyVersion, at: 28)
    out.store(facts.credential?.selector ?? 0, at: 32)
    out.store(UInt64(bitPattern: facts.validUntilMs), at: 40)
    out.store(UInt64(bitPattern: facts.clockErrorMs ?? 0), at: 48)
    out.store(facts.authorities, at: 108)
    out.store(writeBase, at: 56)
    out.store(writeReserved, at: 64)
    out.store(readNext, at: 72)
    out.store(heardS, at: 80)
    if let address {
      out.store(address.scope, at: 84)
      out.store(address.high, at: 88)
      out.store(address.low, at: 96)
      out.store(address.port, at: 104)
      out[106] = address.local
    }
    out.store(CRC32C.of(out.span, in: 4..<SessionSlot.changingBytes), at: 0)
  }

  /// Reads the part that changes at the front of `bytes`, `changingBytes` at least.
  package static func read(_ bytes: Span<UInt8>) -> Reading {
    guard bytes.load32(at: 0) == CRC32C.of(bytes, in: 4..<changingBytes) else {
      for i in 0..<changingBytes where bytes[i] != 0 { return .damaged }
      return .free
    }
    let flags = bytes[7]
    var facts = SessionFacts()
    facts.protocolVersion = bytes.load16(at: 4)
    facts.device = bytes.load32(at: 16)
    facts.tenant = bytes.load32(at: 20)
    if flags & 8 != 0 { facts.stream = bytes.load32(at: 24) }
    facts.policyVersion = bytes.load32(at: 28)
    if bytes[6] != 0 {
      guard let kind = CredentialKind(rawValue: bytes[6]) else { return .damaged }
      facts.credential = CredentialReference(kind: kind, selector: bytes.load64(at: 32))
    }
    facts.authorities = bytes.load32(at: 108)
    facts.validUntilMs = Int64(bitPattern: bytes.load64(at: 40))
    if flags & 1 != 0 { facts.clockErrorMs = Int64(bitPattern: bytes.load64(at: 48)) }
    let address =
      flags & 2 == 0
      ? nil
      : PeerAddress(
        high: bytes.load64(at: 88), low: bytes.load64(at: 96), port: bytes.load16(at: 104), scope: bytes.load32(at: 84),
        isIPv6: flags & 4 != 0, local: bytes[106])
    let slot = SessionSlot(
      connectionID: bytes.load64(at: 8), facts: facts, writeBase: bytes.load64(at: 56), writeReserved: bytes.load64(at: 64),
      readNext: bytes.load64(at: 72), heardS: bytes.load32(at: 80), address: address)
    guard slot.readNext <= ReplayWindow.numberMax + 1 else { return .damaged }
    return .session(slot)
  }
}

/// Record numbers that sessions may use, so that none is used twice with one key whatever is lost: a session seals only below a
/// reservation that is durable, and reserves far ahead.
///
/// A reservation is a number together with the run's base that it was written under. Every start moves the base by a block or
/// more, durably, before any record is sealed, and so gives every session of the file a fresh block without writing its slot:
/// what a slot reserved under base `b` goes on under base `b1` at `reserved + b1 - b - block`, for one block. In the run before,
/// under `b0 <= b1 - block`, the session ended below `reserved + b0 - b`, or had been written anew.
///
/// The base also follows the clock, so that a backup of the whole data directory, brought back, finds its numbers above those
/// of the run that it was taken from, unless a session answered more than `perSecond` all the time.
package struct WriteReservation: Equatable, Sendable {
  package static let standard = WriteReservation(block: 1 << 16)
  static let perSecond: UInt64 = 64

  package let block: UInt64

  /// - Parameter block: even. Another one than the session file was written with makes its sessions unusable.
  package init(block: UInt64) {
    precondition(block > 0 && block % 2 == 0)
    self.block = block
  }

  /// What to reserve for a session whose next record has this number: half a block to a block ahead.
  package func ahead(of sequence: UInt64) -> UInt64 { (sequence / (block / 2) + 2) * (block / 2) }

  /// - Parameter nowS: seconds since 1970-01-01 UTC.
  package func base(after last: UInt64, nowS: UInt64) -> UInt64 {
    let byClock = (nowS * WriteReservation.perSecond + block - 1) / block * block
    return max(last + block, byClock)
  }

  /// Where a stored session goes on in a run with this base; one block from there is its own.
  /// - Returns: `nil` if no run can have written this slot.
  package func resume(_ slot: SessionSlot, base: UInt64) -> UInt64? {
    guard slot.writeBase < base, slot.writeReserved >= block, slot.writeReserved % (block / 2) == 0,
      slot.writeBase % block == 0
    else { return nil }
    let (next, overflow) = slot.writeReserved.addingReportingOverflow(base - slot.writeBase - block)
    return overflow ? nil : next
  }
}

/// The first slot of a session file.
/// ```
///  0 "FGSESSNS"   8 u32 version   12 u32 CRC32C of 16..<32   16 u64 start   24 u64 base
/// ```
package struct SessionFileHeader: Equatable, Sendable {
  package static let version: UInt32 = 1
  private static let magic: UInt64 = 0x534e_5353_4553_4746

  /// Counts the starts of the gateway on this file.
  package var start: UInt64
  /// See `WriteReservation`.
  package var base: UInt64

  package init(start: UInt64, base: UInt64) {
    self.start = start
    self.base = base
  }

  package enum Reading: Equatable, Sendable {
    case valid(SessionFileHeader)
    /// Of a version that this gateway does not know.
    case version(UInt32)
    case damaged
  }

  package static func read(_ bytes: Span<UInt8>) -> Reading {
    guard bytes.count >= 32, bytes.load64(at: 0) == magic else { return .damaged }
    let version = bytes.load32(at: 8)
    guard version == SessionFileHeader.version else { return .version(version) }
    let header = SessionFileHeader(start: bytes.load64(at: 16), base: bytes.load64(at: 24))
    guard bytes.load32(at: 12) == CRC32C.of(bytes, in: 16..<32), header.start < 1 << 62, header.base < 1 << 62
    else { return .damaged }
    return .valid(header)
  }

  package func write(into out: inout MutableSpan<UInt8>) {
    out.store(SessionFileHeader.magic, at: 0)
    out.store(SessionFileHeader.version, at: 8)
    out.store(start, at: 16)
    out.store(base, at: 24)
    out.store(CRC32C.of(out.span, in: 16..<32), at: 12)
  }
}
