import Foundation
import GateCore
import GateDevice
import GateProto
import Testing

/// The bytes of the block "hex <name>" in proto/README.md, remarks left out.
private func example(_ name: String) throws -> [UInt8] {
  let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  let text = try String(contentsOf: root.appending(path: "proto/README.md"), encoding: .utf8)
  let start = try #require(text.range(of: "```hex \(name)\n"))
  let end = try #require(text[start.upperBound...].range(of: "```"))
  var bytes: [UInt8] = []
  for line in text[start.upperBound..<end.lowerBound].split(separator: "\n") {
    for word in line.prefix(while: { $0 != "#" }).split(separator: " ") {
      bytes.append(try #require(UInt8(word, radix: 16)))
    }
  }
  return bytes
}

/// The three fixes of the table in proto/README.md, "Columns".
private let fixes: [Fix] = (0..<3).map { i in
  var fix = Fix()
  fix.sequence = 1001 + UInt64(i)
  fix.present = [.position, .time]
  fix.fixTimeMs = 1_777_886_100_000 + Int64(i) * 5_000
  fix.latitudeE7 = [525_200_066, 525_201_270, 525_202_457][i]
  fix.longitudeE7 = [134_049_540, 134_052_850, 134_056_195][i]
  fix[.horizontalAccuracyDm] = 40
  fix[.speedCmPerS] = [512, 530, 498][i]
  fix[.courseCdeg] = [6_120, 6_135, 6_128][i]
  if i != 1 { fix[.batteryPercent] = 87 }
  return fix
}

private func isSame(_ a: Fix, _ b: Fix) -> Bool {
  a.sequence == b.sequence && a.present == b.present && a.fixTimeMs == b.fixTimeMs && a.latitudeE7 == b.latitudeE7
    && a.longitudeE7 == b.longitudeE7 && Column.allCases.allSatisfy { a[$0] == b[$0] }
}

/// The worked examples of proto/README.md are what this build writes and reads.
@Suite struct SpecificationTests {
  @Test func batch() throws {
    let bytes = try example("batch")
    var written: [UInt8] = []
    FixEncoder.batch(fixes[...], work: [], into: &written)
    #expect(written == bytes)
    var scanner = UplinkScanner(0..<bytes.count)
    guard case .batch(let range) = try scanner.next(in: bytes.span) else {
      Issue.record("not a batch")
      return
    }
    var read = [Fix](repeating: Fix(), count: 3)
    var span = read.mutableSpan
    #expect(try FixDecoder.batch(bytes.span, range, into: &span, at: 0) == 3)
    for i in 0..<3 { #expect(isSame(read[i], fixes[i])) }
  }

  @Test func row() throws {
    let bytes = try example("row")
    let nothing: [UInt8] = []
    var written: [UInt8] = []
    FixEncoder.row(fixes[0], from: nothing.span, into: &written)
    #expect(written == bytes)
    #expect(bytes.count <= 34)
  }

  @Test func enrol() throws {
    let bytes = try example("enrol")
    var written: [UInt8] = []
    Enrol(code: "7K3M-9QXA-2BRD", key: Array(0..<16), label: "pixel-7").append(into: &written)
    #expect(written == bytes)
  }

  @Test func ack() throws {
    let bytes = try example("ack")
    let above = [SequenceRange(first: 1003, count: 1), SequenceRange(first: 1010, count: 300)]
    #expect(try Downlink.decode(bytes.span, 0..<bytes.count).ack == Ack(through: 1000, above: above))
    var written: [UInt8] = []
    AckEncoder.append(through: 1000, above: above.span, into: &written)
    #expect(written == bytes)
  }

  @Test(arguments: RefusalCode.allCases.filter { $0 != .unspecified })
  func everyRefusalIsInTheTable(code: RefusalCode) throws {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let text = try String(contentsOf: root.appending(path: "proto/README.md"), encoding: .utf8)
    #expect(text.contains("\n| \(code.rawValue) | "))
  }
}
