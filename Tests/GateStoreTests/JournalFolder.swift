import Foundation
import GateCore
import GateStore

/// A folder of its own for one test; gone when the test is.
struct JournalFolder: ~Copyable {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.path + "/fixgate-journal-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  var journal: String { path + "/journal" }

  func names(_ suffix: String) -> [String] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: journal)) ?? []
    return names.filter { $0.hasSuffix(suffix) }.sorted()
  }

  func read(_ name: String) -> [UInt8] {
    FileManager.default.contents(atPath: journal + "/" + name).map { [UInt8]($0) } ?? []
  }

  func write(_ name: String, _ bytes: [UInt8]) throws {
    try Data(bytes).write(to: URL(fileURLWithPath: journal + "/" + name))
  }

  func openJournal(floor: UInt64 = 0, segmentBytes: Int = 64 << 10, sparesMax: Int = 2) throws(JournalError)
    -> JournalFile
  {
    try JournalFile.open(directory: journal, segmentBytes: segmentBytes, durableFloor: floor, sparesMax: sparesMax)
  }
}

/// Numbered records of 8 to 200 bytes; each says its number and its length, so that a reader can check every byte.
enum TestRecords {
  static func make(_ numbers: Range<UInt64>) -> [UInt8] {
    var bytes: [UInt8] = []
    for number in numbers {
      let words = 2 + Int(number % 24)
      for i in 0..<UInt64(words) {
        let value = i == 0 ? UInt64(words) : number &* (i == 1 ? 1 : i)
        for shift in 0..<8 as Range<UInt64> { bytes.append(UInt8(truncatingIfNeeded: value >> (shift * 8))) }
      }
    }
    return bytes
  }

  /// The numbers in `bytes`; `nil` if any byte is not what it was.
  static func numbers(_ bytes: Span<UInt8>) -> [UInt64]? {
    var numbers: [UInt64] = []
    var at = 0
    while at < bytes.count {
      guard bytes.count - at >= 16 else { return nil }
      let words = Int(bytes.load64(at: at))
      let number = bytes.load64(at: at + 8)
      guard words == 2 + Int(number % 24), bytes.count - at >= words * 8 else { return nil }
      for i in 2..<UInt64(words) where bytes.load64(at: at + Int(i) * 8) != number &* i { return nil }
      numbers.append(number)
      at += words * 8
    }
    return numbers
  }
}

extension JournalFile {
  /// Commits records whose numbers are their LSNs.
  mutating func commitNumbers(_ count: Int) throws(JournalError) {
    let records = TestRecords.make(endLSN..<endLSN + UInt64(count))
    try commit(records.span, count: count)
  }
}

extension JournalReader {
  /// All numbers from the reader's position up to `durable`, as far as they can be read.
  mutating func numbers(upTo durable: UInt64) throws -> [UInt64] {
    var buffer: [UInt8] = []
    var all: [UInt64] = []
    while let batch = try next(upTo: durable, into: &buffer) {
      guard let numbers = TestRecords.numbers(buffer.span.extracting(batch.records)), numbers.count == batch.count else {
        throw JournalError.unreachable(lsn: batch.firstLSN)
      }
      all += numbers.dropFirst(batch.skip)
    }
    return all
  }
}
