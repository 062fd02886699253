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
  /// Reads a CSV file, plain or gzip; never holds more than one row and one buffer of it, beside the fixes.
  package static func read(
    path: String, selection: TrackSelection? = nil, skipBad: Bool = false
  ) throws(TrackError) -> Track {
    let file = try GzipFile(path: path)
    var reader = TrackReader(selection: selection, skipBad: skipBad)
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = try file.read(into: &buffer)
      if count == 0 { return try reader.finish() }
      try reader.feed(buffer[0..<count])
    }
  }
}
