import GateCore

/// One flight of a handshake as plaintext, so that every copy goes out with new sequences (RFC 6347 section 4.2.4): a resent
/// Finished with its old one would be dropped as a replay.
///
/// Layout of `records`: type (1), epoch (1), length (2, big endian), content; one behind another.
struct DTLSFlight: Sendable {
  private var records: [UInt8] = []

  var isEmpty: Bool { records.isEmpty }
  /// Bytes of the contents.
  var count: Int { records.count }

  mutating func append(_ type: DTLSContentType, epoch: UInt8, _ content: Span<UInt8>) {
    records.append(type.rawValue)
    records.append(epoch)
    records.append(UInt8(content.count >> 8))
    records.append(UInt8(content.count & 255))
    unsafe content.withUnsafeBufferPointer { unsafe records.append(contentsOf: $0) }
  }

  mutating func removeAll() { records.removeAll(keepingCapacity: true) }

  /// Packs the flight into as few datagrams as hold it, records whole.
  /// - Parameters:
  ///   - plainSequence: the next sequence of epoch 0; moves on.
  ///   - overheadBytes: what `seal` adds to a content.
  ///   - seal: seals a record of epoch 1 at the offset.
  /// - Throws: what `seal` throws; `.noRoom` for a record longer than a datagram.
  func pack(
    plainSequence: inout UInt64, overheadBytes: Int,
    seal: (DTLSContentType, Span<UInt8>, inout MutableSpan<UInt8>, inout Int) throws(DTLSError) -> Void
  ) throws(DTLSError) -> [[UInt8]] {
    var datagrams: [[UInt8]] = []
    var datagram: [UInt8] = []
    var used = 0
    var at = 0
    while at < records.count {
      let from = at + 4
      let content = from..<from + (Int(records[at + 2]) << 8 | Int(records[at + 3]))
      guard let type = DTLSContentType(rawValue: records[at]) else { preconditionFailure("a flight of our own") }
      let isPlain = records[at + 1] == 0
      let bytes = content.count + (isPlain ? DTLSRecord.headerBytes : overheadBytes)
      guard bytes <= DTLSHandshake.datagramBytesMax else { throw .noRoom }
      if bytes > datagram.count - used {
        if used > 0 { datagrams.append(Array(datagram[..<used])) }
        datagram = [UInt8](repeating: 0, count: DTLSHandshake.datagramBytesMax)
        used = 0
      }
      var room = datagram.mutableSpan
      let span = records.span.extracting(content)
      if isPlain {
        RecordHeader(type: type, epoch: 0, sequence: plainSequence, connectionID: ConnectionID())
          .write(fragmentBytes: content.count, into: &room, at: &used)
        plainSequence += 1
        room.copy(records.span, content, to: used)
        used += content.count
      } else {
        try seal(type, span, &room, &used)
      }
      at = content.upperBound
    }
    if used > 0 {
      datagram.removeLast(datagram.count - used)
      datagrams.append(datagram)
    }
    return datagrams
  }
}

/// The gateway's last flight of a finished handshake: change_cipher_spec and Finished, kept for a while in case it was lost.
/// The peer then sends its own Finished again, which `DTLSSession.open` tells as `.finished`.
package struct DTLSLastFlight: Sendable {
  /// Times that it may be sent again.
  package static let resendsMax = 5
  /// How long it is worth keeping. Drop it sooner when application data comes: the peer then has it.
  package static let keptNs: UInt64 = 120_000_000_000

  private let flight: DTLSFlight
  private var plainSequence: UInt64
  package private(set) var resendsLeft = resendsMax

  init(flight: DTLSFlight, plainSequence: UInt64) {
    self.flight = flight
    self.plainSequence = plainSequence
  }

  /// The flight once more, with new sequences of `session`.
  /// - Returns: datagrams, most often one, for the address that the peer's Finished came from; none when it was sent often
  ///   enough.
  /// - Throws: `.sequenceExhausted`, `.library`.
  package mutating func again(
    in session: inout DTLSSession, with cipher: borrowing RecordCipher
  ) throws(DTLSError) -> [[UInt8]] {
    guard resendsLeft > 0 else { return [] }
    resendsLeft -= 1
    return try flight.pack(plainSequence: &plainSequence, overheadBytes: session.recordBytes(plaintextBytes: 0)) {
      type, content, datagram, offset throws(DTLSError) in
      try session.seal(type, content, into: &datagram, at: &offset, with: cipher)
    }
  }
}
