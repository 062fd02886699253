#if PostgreSQL
import GateCore
import GateStore

/// Rows in PostgreSQL's binary COPY format: a signature, per row a count of fields (i16) and per field its bytes (i32; -1 =
/// NULL) and value, then -1 as count. All numbers big endian. The buffer is kept from batch to batch.
struct CopyRows {
  private(set) var bytes: [UInt8] = []
  /// Where the next byte goes: all below is written.
  private(set) var at = 0
  private(set) var count = 0

  private static let signature: [UInt8] = Array("PGCOPY\n".utf8) + [0xFF, 0x0D, 0x0A, 0x00] + [UInt8](repeating: 0, count: 8)

  /// - Parameter signed: these are the first rows of a COPY.
  mutating func begin(signed: Bool = true) {
    if bytes.count < 4_096 { bytes = [UInt8](repeating: 0, count: 1 << 20) }
    at = 0
    count = 0
    guard signed else { return }
    for (index, byte) in CopyRows.signature.enumerated() { bytes[index] = byte }
    at = CopyRows.signature.count
  }

  mutating func end() {
    reserve(2)
    put(UInt16.max)
  }

  /// - Parameter textBytes: what texts and blobs of the row take at most.
  mutating func beginRow(fields: Int, textBytes: Int) {
    reserve(2 + fields * 12 + textBytes)
    put(UInt16(fields))
    count += 1
  }

  /// Position in `bytes` of the flag's value, for `set`.
  mutating func append(flag: Bool) -> Int {
    put(UInt32(1))
    bytes[at] = flag ? 1 : 0
    at += 1
    return at - 1
  }

  mutating func set(flagAt position: Int) { bytes[position] = 1 }

  mutating func append(_ value: Int16) {
    put(UInt32(2))
    put(UInt16(bitPattern: value))
  }

  mutating func append(_ value: Int32) {
    put(UInt32(4))
    put(UInt32(bitPattern: value))
  }

  mutating func append(_ value: Int64) {
    put(UInt32(8))
    put(UInt64(bitPattern: value))
  }

  mutating func appendNull() { put(UInt32.max) }

  mutating func append(_ source: Span<UInt8>) {
    put(UInt32(source.count))
    put(source)
  }

  /// `jsonb`: a version, then the text.
  mutating func append(json source: Span<UInt8>) {
    put(UInt32(source.count + 1))
    bytes[at] = 1
    at += 1
    put(source)
  }

  private mutating func reserve(_ more: Int) {
    if bytes.count - at < more { bytes += [UInt8](repeating: 0, count: max(bytes.count, more)) }
  }

  private mutating func put(_ value: UInt16) { bytes.put(value.bigEndian, at: &at) }
  private mutating func put(_ value: UInt32) { bytes.put(value.bigEndian, at: &at) }
  private mutating func put(_ value: UInt64) { bytes.put(value.bigEndian, at: &at) }

  private mutating func put(_ source: Span<UInt8>) {
    guard !source.isEmpty else { return }
    unsafe bytes.withUnsafeMutableBytes { out in
      unsafe source.withUnsafeBytes { unsafe UnsafeMutableRawBufferPointer(rebasing: out[at...]).copyMemory(from: $0) }
    }
    at += source.count
  }
}

extension [UInt8] {
  /// - Parameter value: in the order of bytes in which it is to stand.
  fileprivate mutating func put<T: FixedWidthInteger>(_ value: T, at: inout Int) {
    precondition(count - at >= MemoryLayout<T>.size)
    let place = at
    unsafe withUnsafeMutableBytes { unsafe $0.storeBytes(of: value, toByteOffset: place, as: T.self) }
    at += MemoryLayout<T>.size
  }
}
#endif
