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

    fileprivate init(_ bytes: Span<UInt8>, at: Int) {
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
  /// Records of an owner who has lost his key since they were taken are stripped.
  /// - Parameters:
  ///   - records: encoded, one behind the other.
  ///   - nonce: of the first run.
  ///   - out: room for `bytesMax`.
  /// - Returns: bytes written.
  package static func seal(
    _ records: Span<UInt8>, nonce: Nonce, with cipher: any SubjectCipher, into out: inout MutableSpan<UInt8>
  ) -> Int {
    var nonce = nonce
    var at = 0
    var end = 0
    while at < records.count {
      guard isSecret(records, at) else {
        let length = Int(records.load32(at: at))
        out.copy(records, at..<at + length, to: end)
        at += length
        end += length
        continue
      }
      let owner = KeyOwner.of(records, recordAt: at)
      guard let key = cipher.key(of: owner) else {
        precondition(cipher.isErased(owner, fixTimeMs: nil), "records of an owner for whom no key was made")
        out.copy(records, at..<at + clearBytes, to: end)
        strip(&out, at: end)
        at += Int(records.load32(at: at))
        end += Record.headerBytes
        continue
      }
      let (count, next) = run(of: owner, in: records, from: at)
      end = seal(records, at..<next, count: count, key: key, nonce: nonce, with: cipher, into: &out, at: end)
      nonce.advance()
      at = next
    }
    return end
  }

  private static func isSecret(_ records: Span<UInt8>, _ at: Int) -> Bool {
    let kind = records[at + 4]
    return kind == RecordKind.fix.rawValue || kind == RecordKind.held.rawValue
  }

  private static func run(of owner: KeyOwner, in records: Span<UInt8>, from start: Int) -> (count: Int, end: Int) {
    var count = 0
    var at = start
    while at < records.count, count < countMax, isSecret(records, at), KeyOwner.of(records, recordAt: at) == owner {
      at += Int(records.load32(at: at))
      count += 1
    }
    return (count, at)
  }

  private static func seal(
    _ records: Span<UInt8>, _ range: Range<Int>, count: Int, key: UInt64, nonce: Nonce, with cipher: any SubjectCipher,
    into out: inout MutableSpan<UInt8>, at start: Int
  ) -> Int {
    let clear = start..<start + headerBytes + count * clearBytes
    let text = clear.upperBound..<start + headerBytes + range.count
    out.store(UInt32(text.upperBound + tagBytes - start), at: start)
    out.store(UInt32(kind) | UInt32(count) &<< 16, at: start + 4)
    out.store(key, at: start + 8)
    out.store(nonce.high, at: start + 16)
    out.store(nonce.low, at: start + 24)
    out.store(UInt32(0), at: start + 28)
    var at = range.lowerBound
    var (clearAt, textAt) = (start + headerBytes, text.lowerBound)
    while at < range.upperBound {
      let length = Int(records.load32(at: at))
      out.copy(records, at..<at + clearBytes, to: clearAt)
      out.copy(records, at + clearBytes..<at + length, to: textAt)
      clearAt += clearBytes
      textAt += length - clearBytes
      at += length
    }
    cipher.seal(under: key, nonce: nonce, clear: clear, text: text, in: &out)
    return text.upperBound + tagBytes
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
  package static func open(_ entries: Span<UInt8>, with cipher: any SubjectCipher, into out: inout [UInt8]) {
    var at = 0
    while at < entries.count {
      let length = entries.count - at >= 8 ? Int(entries.load32(at: at)) : 0
      guard length >= 8, length <= entries.count - at else { break }
      if entries[at + 4] != kind {
        append(entries, at..<at + length, to: &out)
      } else if !open(entries.extracting(at..<at + length), with: cipher, appendingTo: &out) {
        break
      }
      at += length
    }
    append(entries, at..<entries.count, to: &out)
  }

  private static func append(_ bytes: Span<UInt8>, _ range: Range<Int>, to out: inout [UInt8]) {
    let start = out.count
    out.append(contentsOf: repeatElement(0, count: range.count))
    var room = out.mutableSpan
    room.copy(bytes, range, to: start)
  }

  private static func open(
    _ run: Span<UInt8>, with cipher: any SubjectCipher, appendingTo out: inout [UInt8]
  ) -> Bool {
    guard run.count >= overheadBytes else { return false }
    let count = Int(run.load16(at: 6))
    let clear = 0..<headerBytes + count * clearBytes
    guard count > 0, clear.upperBound <= run.count - tagBytes else { return false }
    let text = clear.upperBound..<run.count - tagBytes
    var whole = [UInt8](repeating: 0, count: run.count)
    var room = whole.mutableSpan
    room.copy(run, 0..<run.count, to: 0)
    let opening = cipher.open(
      under: run.load64(at: 8), nonce: Nonce(run, at: 16), clear: clear, text: text, in: &room)
    guard opening != .damaged else { return false }
    let start = out.count
    var (clearAt, textAt) = (headerBytes, text.lowerBound)
    for _ in 0..<count {
      let length = Int(room.span.load32(at: clearAt))
      let kept = opening == .opened ? length : Record.headerBytes
      // Lengths are authentic where the tag was right; without a key nothing vouches for them but the batch's checksum.
      guard length >= Record.headerBytes, opening != .opened || length - clearBytes <= text.upperBound - textAt else {
        out.removeLast(out.count - start)
        return false
      }
      let at = out.count
      out.append(contentsOf: repeatElement(0, count: kept))
      var record = out.mutableSpan
      record.copy(room.span, clearAt..<clearAt + clearBytes, to: at)
      if opening == .opened {
        record.copy(room.span, textAt..<textAt + length - clearBytes, to: at + clearBytes)
        textAt += length - clearBytes
      } else {
        strip(&record, at: at)
      }
      clearAt += clearBytes
    }
    return true
  }
}
