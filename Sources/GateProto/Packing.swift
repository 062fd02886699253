internal import CFixProto

/// Memory of one message while libprotobuf-c packs it; freed as a whole.
@safe struct Arena: ~Copyable {
  private var blocks: [UnsafeMutableRawPointer] = unsafe []

  deinit {
    for unsafe block in unsafe blocks { unsafe block.deallocate() }
  }

  /// Puts a trivial C struct where a pointer can refer to it until the arena goes.
  mutating func place<T: BitwiseCopyable>(_ value: T) -> UnsafeMutablePointer<T> { unsafe array([value])! }

  /// - Returns: `nil` for an empty array.
  mutating func array<T: BitwiseCopyable>(_ values: [T]) -> UnsafeMutablePointer<T>? {
    guard !values.isEmpty else { return nil }
    let pointer = UnsafeMutablePointer<T>.allocate(capacity: values.count)
    for i in values.indices { unsafe (pointer + i).initialize(to: values[i]) }
    unsafe blocks.append(UnsafeMutableRawPointer(pointer))
    return unsafe pointer
  }

  /// A C string; a text with a NUL in it ends there.
  mutating func text(_ text: String?) -> UnsafeMutablePointer<CChar>? {
    guard let text else { return nil }
    return unsafe array(text.utf8.map(CChar.init(bitPattern:)) + [0])
  }
}

/// Appends the packed form of `message`, whose C struct begins with its `ProtobufCMessage`.
func appendPacked<M: BitwiseCopyable>(_ message: M, into out: inout [UInt8]) {
  var message = message
  unsafe withUnsafePointer(to: &message) { pointer in
    let base = unsafe UnsafeRawPointer(pointer).assumingMemoryBound(to: ProtobufCMessage.self)
    let start = out.count
    let bytes = unsafe protobuf_c_message_get_packed_size(base)
    out.append(contentsOf: repeatElement(0, count: bytes))
    unsafe out.withUnsafeMutableBufferPointer { buffer in
      guard let address = buffer.baseAddress else { return }
      _ = unsafe protobuf_c_message_pack(base, address + start)
    }
  }
}

/// Most memory in bytes that one control message may take while it is unpacked. A frame of unknown fields would
/// otherwise become some thirty times its size.
private let unpackBytesMax = 256 * 1_024

/// Unpacks one message, hands it to `body` and frees it.
func unpack<M, R>(
  _ bytes: Span<UInt8>, _ range: Range<Int>,
  with unpacker: (UnsafeMutablePointer<ProtobufCAllocator>?, Int, UnsafePointer<UInt8>?) -> UnsafeMutablePointer<M>?,
  _ body: (UnsafeMutablePointer<M>) throws(ProtoError) -> R
) throws(ProtoError) -> R {
  precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count)
  var left = unpackBytesMax
  return try unsafe withUnsafeMutablePointer(to: &left) { left throws(ProtoError) -> R in
    var allocator = unsafe ProtobufCAllocator(
      alloc: { data, size in
        guard let left = unsafe data?.assumingMemoryBound(to: Int.self), unsafe size <= left.pointee else { return nil }
        unsafe left.pointee -= size
        return UnsafeMutableRawPointer.allocate(byteCount: max(size, 1), alignment: 16)
      },
      free: { _, pointer in unsafe pointer?.deallocate() },
      allocator_data: left)
    return try unsafe bytes.extracting(range).withUnsafeBufferPointer { buffer throws(ProtoError) -> R in
      guard let message = unsafe unpacker(&allocator, buffer.count, buffer.baseAddress) else { throw .malformed }
      defer {
        unsafe protobuf_c_message_free_unpacked(
          UnsafeMutableRawPointer(message).assumingMemoryBound(to: ProtobufCMessage.self), &allocator)
      }
      return try unsafe body(message)
    }
  }
}

/// The text behind a C string, at most `bytesMax` bytes long; `nil` when absent.
func readText(_ text: UnsafePointer<CChar>?, field: Int, bytesMax: Int) throws(ProtoError) -> String? {
  guard let text = unsafe text else { return nil }
  var bytes: [UInt8] = []
  while let byte = Optional(UInt8(bitPattern: unsafe text[bytes.count])), byte != 0 {
    guard bytes.count < bytesMax else { throw .badLength(field: field, bytes: bytesMax + 1) }
    bytes.append(byte)
  }
  guard let string = String(validating: bytes, as: UTF8.self) else { throw .notText(field: field) }
  return string
}
