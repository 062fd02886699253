internal import CZlib
import Glibc

/// A file that is read through zlib: gzip data, found by their magic bytes, come out decompressed, others as they are.
@safe struct GzipFile: ~Copyable {
  private let raw: gzFile

  /// - Throws: `.cannotOpen`.
  init(path: String) throws(TrackError) {
    guard let file = unsafe gzopen(path, "rbe") else { throw .cannotOpen(errno: errno) }
    unsafe raw = file
  }

  deinit { _ = unsafe gzclose_r(raw) }

  /// Fills `buffer` from its beginning.
  /// - Returns: how many bytes; 0 at the end.
  /// - Throws: `.damagedArchive`; `.cannotOpen` when the system cannot read on, for instance a directory.
  func read(into buffer: inout [UInt8]) throws(TrackError) -> Int {
    let count = unsafe buffer.withUnsafeMutableBytes { bytes in
      unsafe gzread(raw, bytes.baseAddress, UInt32(bytes.count))
    }
    let systemError = errno
    var code: Int32 = Z_OK
    // A stream that is cut off ends with 0 bytes and Z_BUF_ERROR.
    _ = unsafe gzerror(raw, &code)
    if count < 0 || code != Z_OK && code != Z_STREAM_END {
      throw code == Z_ERRNO ? .cannotOpen(errno: systemError) : .damagedArchive(code: code)
    }
    return Int(count)
  }
}

extension Track {
  /// Reads a CSV or GPX file, plain or gzip; never holds more than one row and one buffer of it, beside the fixes. What
  /// begins with `<` is GPX, whatever the file is called.
  package static func read(
    path: String, selection: TrackSelection? = nil, skipBad: Bool = false
  ) throws(TrackError) -> Track {
    let source = TrackBytes(try GzipFile(path: path))
    guard try source.isXML() else {
      var reader = TrackReader(selection: selection, skipBad: skipBad)
      var buffer = [UInt8](repeating: 0, count: TrackBytes.chunkBytes)
      while true {
        let count = try source.next(&buffer)
        if count == 0 { return try reader.finish() }
        try reader.feed(buffer[0..<count])
      }
    }
    guard selection == nil else { throw .selectionOfGPX }
    return try GPXReader.read(skipBad: skipBad) { (buffer: inout [UInt8]) throws(TrackError) in try source.next(&buffer) }
  }
}

/// A file's bytes, of which the first can be looked at before they are taken.
private final class TrackBytes {
  static let chunkBytes = 65_536

  private let file: GzipFile
  private var head: [UInt8] = []

  init(_ file: consuming GzipFile) { self.file = file }

  func isXML() throws(TrackError) -> Bool {
    head = [UInt8](repeating: 0, count: TrackBytes.chunkBytes)
    let count = try file.read(into: &head)
    head.removeLast(head.count - count)
    let mark: [UInt8] = [0xef, 0xbb, 0xbf]
    return head.dropFirst(head.starts(with: mark) ? mark.count : 0).first { $0 > 0x20 } == UInt8(ascii: "<")
  }

  /// - Returns: how many bytes it has put at the beginning of the buffer, which has room for `chunkBytes`; 0 at the end.
  func next(_ buffer: inout [UInt8]) throws(TrackError) -> Int {
    guard head.isEmpty else {
      let count = head.count
      buffer.replaceSubrange(0..<count, with: head)
      head = []
      return count
    }
    return try file.read(into: &buffer)
  }
}
