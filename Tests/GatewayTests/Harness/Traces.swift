import Foundation
import GateCore

/// Searches every file of a data directory for positions, in each form that fixgate writes them in: little endian as in
/// journal, checkpoint and held records, big endian as in SQLite's rows, and as decimal text.
struct Traces {
  private let little: Set<UInt64>
  private let big: Set<UInt64>
  private let texts: [Data]
  /// First two bytes of any of them.
  private let begins: [Bool]

  init(_ rows: [TrackRow]) {
    var (little, big): (Set<UInt64>, Set<UInt64>) = ([], [])
    for row in rows {
      let (latitude, longitude) = (UInt32(bitPattern: Int32(row.latitudeE7)), UInt32(bitPattern: Int32(row.longitudeE7)))
      little.insert(UInt64(latitude) | UInt64(longitude) << 32)
      big.insert((UInt64(latitude) << 32 | UInt64(longitude)).byteSwapped)
    }
    var begins = [Bool](repeating: false, count: 1 << 16)
    for word in little.union(big) { begins[Int(word & 0xFFFF)] = true }
    (self.little, self.big, self.begins) = (little, big, begins)
    texts = rows.prefix(50).map { Data("\($0.latitudeE7 / 10_000_000).\(String(format: "%07d", $0.latitudeE7 % 10_000_000))".utf8) }
  }

  /// Number of finds by file name; files without any are not named.
  func search(_ directory: String) throws -> [String: Int] {
    var found: [String: Int] = [:]
    for case let file as URL in FileManager.default.enumerator(
      at: URL(fileURLWithPath: directory), includingPropertiesForKeys: [.isRegularFileKey]) ?? .init()
    {
      guard (try? file.resourceValues(forKeys: [.isRegularFileKey]).isRegularFile) == true,
        let data = try? Data(contentsOf: file)
      else { continue }
      var count = texts.count { data.range(of: $0) != nil }
      let bytes = [UInt8](data)
      count += words(in: bytes.span)
      if count > 0 { found[file.lastPathComponent] = count }
    }
    return found
  }

  private func words(in bytes: Span<UInt8>) -> Int {
    guard bytes.count >= 8 else { return 0 }
    var count = 0
    for at in 0...bytes.count - 8 where begins[Int(bytes[at]) | Int(bytes[at &+ 1]) << 8] {
      let word = bytes.load64(at: at)
      if little.contains(word) || big.contains(word) { count += 1 }
    }
    return count
  }
}
