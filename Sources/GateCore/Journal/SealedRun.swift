/// Consecutive records of one owner, as the journal keeps them: who and which stays readable, what and where is encrypted
/// under the owner's key, in one go (AES-256-GCM). Without its key a record still says that its sequence was there.
///
/// Layout, little endian:
/// ```
///  0 u32 length of the run    6 u16 number of records    16 12 bytes nonce
///  4 u8  kind (5), 5 u8 zero  8 u64 number of the key    28 u32 zero
/// 32 the first `clearBytes` of each record, then the rest of each, encrypted, then the tag (16 bytes)
/// ```
package enum SealedRun {
  package static let kind: UInt8 = 5
  package static let headerBytes = 32
  package static let tagBytes = 16
  package static let overheadBytes = headerBytes + tagBytes
  /// Of a record: length, kind, code, tenant, device, subject, stream, sequence, time of receipt.
  package static let clearBytes = 40
  private static let countMax = Int(UInt16.max)

  /// 96 bits, never twice under a key.
  package struct Nonce: Equatable, Sendable, BitwiseCopyable {
    package var high: UInt64
    package var low: UInt32

    /// Draw all of it anew for each commit: 2^32 commits under one key then share a nonce with a chance of 2^-33 (NIST SP
    /// 800-38D section 8.3), whatever a crash or a failed write has made of those before.
    package init(high: UInt64, low: UInt32) {
      self.high = high
      self.low = low
    }

    package init(using random: inout some RandomNumberGenerator) {
      self.init(high: random.next(), low: UInt32(truncatingIfNeeded: random.next()))
    }

    init(_ bytes: Span<UInt8>, at: Int) {
      high = bytes.load64(at: at)
      low = bytes.load32(at: at + 8)
    }

    /// The next run's in the same commit.
    package mutating func advance() { low &+= 1 }
  }

  package enum Opening: Equatable, Sendable {
    case opened
    /// The key was shredded.
    case erased
    /// Not what was sealed.
    case damaged
  }

  /// A record that says no more than that it was there: identity, and that what it said is gone.
  package static func strip(_ out: inout MutableSpan<UInt8>, at: Int) {
    for i in at + clearBytes..<at + Record.headerBytes { out[i] = 0 }
    out.store(UInt32(Record.headerBytes), at: at)
    out[at + 4] = RecordKind.refused.rawValue
    out[at + 5] = 0
    out.store(Verdict.erased.rawValue, at: at + 6)
  }

  /// Bytes that `seal` may need for records of `bytes` bytes.
  package static func bytesMax(sealing bytes: Int) -> Int { bytes + bytes / Record.headerBytes * overheadBytes }

  /// Seals the records of a commit: those that tell of a person, run by run; refusals and gaps stay as they are.
  ///
  /// Records of an owner who has lost his key since they were taken are stripped. Whole arrays come and go, since pieces of
  /// those are copied at once.
  /// - Parameters:
  ///   - records: encoded, one behind the other, `bytes` of them.
  ///   - nonce: of the first run.
  ///   - out: what is written replaces its content; with room for `bytesMax` nothing is allocated.
  package static func seal(
    _ records: [UInt8], _ bytes: Int, nonce: Nonce, with cipher: any SubjectCipher, into out: inout [UInt8]
  ) {
    out.removeAll(keepingCapacity: true)
    var nonce = nonce
    var at = 0
    while at < bytes {
      guard isSecret(records, at) else {
        let end = at + length(records, at)
        out.append(contentsOf: records[at..<end])
        at = end
        continue
      }
      let owner = KeyOwner.of(records.span, recordAt: at)
      guard let key = cipher.key(of: owner) else {
        precondition(cipher.isErased(owner, fixTimeMs: nil), "records of an owner for whom no key was made")
        appendStripped(records[at..<at + clearBytes], to: &out)
        at += length(records, at)
        continue
      }
      let end = sealRun(of: owner, records, at..<bytes, key: key, nonce: nonce, with: cipher, into: &out)
      nonce.advance()
      at = end
    }
  }

  /// - Returns: behind the run's last record.
  private static func sealRun(
    of owner: KeyOwner, _ records: [UInt8], _ range: Range<Int>, key: UInt64, nonce: Nonce,
    with cipher: any SubjectCipher, into out: inout [UInt8]
  ) -> Int {
    let start = out.count
    out.append(contentsOf: repeatElement(0, count: headerBytes))
    var count = 0
    var end = range.lowerBound
    while end < range.upperBound, count < countMax, isSecret(records, end),
      KeyOwner.of(records.span, recordAt: end) == owner
    {
      out.append(contentsOf: records[end..<end + clearBytes])
      end += length(records, end)
      count += 1
    }
    let text = out.count
    var at = range.lowerBound
    while at < end {
      let next = at + length(records, at)
      out.append(contentsOf: records[at + clearBytes..<next])
      at = next
    }
    let tag = out.count
    out.append(contentsOf: repeatElement(0, count: tagBytes))
    var room = out.mutableSpan
    room.store(UInt32(tag + tagBytes - start), at: start)
    room.store(UInt32(kind) | UInt32(count) &<< 16, at: start + 4)
    room.store(key, at: start + 8)
    room.store(nonce.high, at: start + 16)
    room.store(nonce.low, at: start + 24)
    cipher.seal(under: key, nonce: nonce, clear: start..<text, text: text..<tag, in: &room)
    return end
  }

  /// Whether a record tells of a person.
  static func isSecret(_ records: [UInt8], _ at: Int) -> Bool {
    let kind = records[at + 4]
    return kind == RecordKind.fix.rawValue || kind == RecordKind.held.rawValue
  }

  private static func length(_ entries: [UInt8], _ at: Int) -> Int { Int(entries.span.load32(at: at)) }

  private static func appendStripped(_ clear: ArraySlice<UInt8>, to out: inout [UInt8]) {
    let start = out.count
    out.append(contentsOf: clear)
    out.append(contentsOf: repeatElement(0, count: Record.headerBytes - clearBytes))
    var room = out.mutableSpan
    strip(&room, at: start)
  }

  /// Whether any of the entries is sealed.
  package static func isIn(_ entries: Span<UInt8>) -> Bool {
    var at = 0
    while at + 8 <= entries.count {
      if entries[at + 4] == kind { return true }
      let length = Int(entries.load32(at: at))
      guard length >= 8 else { return false }
      at += length
    }
    return false
  }

  /// Appends to `out` the records that a batch of the journal holds, as they were before they were sealed.
  ///
  /// Where the key was shredded the records come stripped. What is no run that anybody wrote is copied as it is, with all
  /// behind it, for the reader of records to stumble over.
  package static func open(
    _ entries: [UInt8], _ range: Range<Int>, with cipher: any SubjectCipher, into out: inout [UInt8]
  ) {
    var run: [UInt8] = []
    var at = range.lowerBound
    while at < range.upperBound {
      let bytes = range.upperBound - at >= 8 ? length(entries, at) : 0
      guard bytes >= 8, bytes <= range.upperBound - at else { break }
      if entries[at + 4] != kind {
        out.append(contentsOf: entries[at..<at + bytes])
      } else {
        run.removeAll(keepingCapacity: true)
        run.append(contentsOf: entries[at..<at + bytes])
        guard openRun(&run, with: cipher, into: &out) else { break }
      }
      at += bytes
    }
    out.append(contentsOf: entries[at..<range.upperBound])
  }

  /// - Parameter run: opened where it lies.
  /// - Returns: false if it is no run; then nothing was appended.
  private static func openRun(_ run: inout [UInt8], with cipher: any SubjectCipher, into out: inout [UInt8]) -> Bool {
    guard run.count >= overheadBytes else { return false }
    let count = Int(run.span.load16(at: 6))
    let text = headerBytes + count * clearBytes
    let tag = run.count - tagBytes
    guard count > 0, text <= tag else { return false }
    let (key, nonce) = (run.span.load64(at: 8), Nonce(run.span, at: 16))
    var room = run.mutableSpan
    let opening = cipher.open(under: key, nonce: nonce, clear: 0..<text, text: text..<tag, in: &room)
    guard opening != .damaged else { return false }
    let start = out.count
    var (clearAt, textAt) = (headerBytes, text)
    for _ in 0..<count {
      if opening == .erased {
        appendStripped(run[clearAt..<clearAt + clearBytes], to: &out)
      } else {
        let rest = length(run, clearAt) - clearBytes
        guard rest >= 0, rest <= tag - textAt else {
          out.removeLast(out.count - start)
          return false
        }
        out.append(contentsOf: run[clearAt..<clearAt + clearBytes])
        out.append(contentsOf: run[textAt..<textAt + rest])
        textAt += rest
      }
      clearAt += clearBytes
    }
    return true
  }
}
