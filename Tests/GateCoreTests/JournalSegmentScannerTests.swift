import GateCore
import Testing

/// A segment's bytes as the writer lays them out, and what is in them.
struct SegmentImage {
  var bytes: [UInt8]
  var header: SegmentHeader
  var places: [BatchPlace] = []
  private var offset = Limits.journalBlockBytes

  init(id: UInt64, salt: UInt64, baseLSN: UInt64, blocks: Int, over background: [UInt8]? = nil) {
    bytes = background ?? [UInt8](repeating: 0, count: blocks * Limits.journalBlockBytes)
    header = SegmentHeader(segment: id, salt: salt, baseLSN: baseLSN, start: 1, fileBytes: UInt64(bytes.count))
    for i in 0..<Limits.journalBlockBytes { bytes[i] = 0 }
    let header = header
    var span = bytes.mutableSpan
    header.write(into: &span)
  }

  var endLSN: UInt64 { places.last?.header.endLSN ?? header.baseLSN }

  mutating func append(payload: [UInt8], count: Int) {
    let batch = BatchHeader(
      payloadBytes: payload.count, segment: header.segment, salt: header.salt, firstLSN: endLSN, durableLSN: endLSN,
      count: count, block: UInt32(offset / Limits.journalBlockBytes))
    var head = [UInt8](repeating: 0, count: BatchHeader.bytes)
    var span = head.mutableSpan
    batch.write(into: &span, payload: payload.span)
    let padded = head + payload + [UInt8](repeating: 0, count: batch.paddedBytes - head.count - payload.count)
    bytes.replaceSubrange(offset..<offset + padded.count, with: padded)
    places.append(BatchPlace(offset: offset, header: batch))
    offset += padded.count
  }

  /// Five batches, the fourth of two blocks.
  static func sample(id: UInt64, salt: UInt64, baseLSN: UInt64, over background: [UInt8]? = nil) -> SegmentImage {
    var image = SegmentImage(id: id, salt: salt, baseLSN: baseLSN, blocks: 8, over: background)
    for (i, length) in [96, 200, 4_048, 4_400, 136].enumerated() {
      image.append(payload: (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ i &+ Int(salt)) }, count: i + 1)
    }
    return image
  }
}

@Suite struct SegmentScannerTests {
  @Test func findsWhatWasWritten() {
    let image = SegmentImage.sample(id: 7, salt: 99, baseLSN: 1_000)
    let scan = SegmentScanner.scan(image.bytes.span, named: 7)
    #expect(scan.header == image.header)
    #expect(scan.batches == image.places)
    #expect(scan.debris.isEmpty)
    #expect(scan.baseLSN == 1_000)
  }

  @Test(arguments: [0, 1, 47, 55, 56, 4_095, 4_096, 4_100, 4_143]) func acceptsAnyLength(bytes: Int) {
    let image = SegmentImage.sample(id: 7, salt: 99, baseLSN: 1_000)
    let scan = SegmentScanner.scan(image.bytes.span.extracting(0..<bytes), named: 7)
    #expect(scan.batches.isEmpty)
  }

  /// Batches of the file's earlier life lie behind, before and between the new ones, at the same places.
  @Test func neverTakesAStaleBatch() {
    let old = SegmentImage.sample(id: 6, salt: 5, baseLSN: 500)
    for count in 0...3 {
      var image = SegmentImage(id: 7, salt: 99, baseLSN: 506, blocks: 8, over: old.bytes)
      for i in 0..<count { image.append(payload: [UInt8](repeating: UInt8(i), count: 96), count: 1) }
      let scan = SegmentScanner.scan(image.bytes.span, named: 7)
      #expect(scan.batches == image.places)
      #expect(scan.debris.isEmpty)
    }
  }

  /// A file that came back under its old name with a new header, or the other way round.
  @Test func anotherSegmentsHeaderCountsAsDamage() {
    let image = SegmentImage.sample(id: 7, salt: 99, baseLSN: 1_000)
    let scan = SegmentScanner.scan(image.bytes.span, named: 8)
    #expect(scan.header == nil)
    #expect(scan.batches.isEmpty)
  }

  /// A device may send bytes that look like a batch, and damage may make the scanner look inside a payload.
  @Test func bytesOfADeviceNeverPassForABatch() {
    var forged = SegmentImage(id: 7, salt: 1, baseLSN: 2, blocks: 4)
    forged.append(payload: [1, 2, 3], count: 1)
    forged.append(payload: [1, 2, 3], count: 1)
    let block = Limits.journalBlockBytes
    var image = SegmentImage(id: 7, salt: 99, baseLSN: 1, blocks: 4)
    // The second forged batch says that it starts in block 2, and lies at the start of block 2.
    let inside = [UInt8](forged.bytes[2 * block..<2 * block + 60])
    image.append(payload: [UInt8](repeating: 0, count: block - BatchHeader.bytes) + inside, count: 1)
    image.bytes[block + 5] ^= 1
    let scan = SegmentScanner.scan(image.bytes.span, named: 7)
    #expect(scan.batches.isEmpty)
    #expect(!scan.debris.isEmpty)
  }

  @Test func newerVersionIsNamed() {
    var image = SegmentImage.sample(id: 7, salt: 99, baseLSN: 1)
    image.bytes[8] = 3
    #expect(SegmentHeader.read(image.bytes.span, named: 7) == .version(3))
  }

  @Test func valuesThatNoWriterWritesAreRefused() {
    let good = BatchHeader(payloadBytes: 8, segment: 1, salt: 2, firstLSN: 3, durableLSN: 3, count: 1, block: 1)
    let cases: [(WritableKeyPath<BatchHeader, Int>, Int)] = [(\.payloadBytes, 0), (\.count, 0)]
    for (path, value) in cases {
      var header = good
      header[keyPath: path] = value
      #expect(written(header) == nil)
    }
    var header = good
    header.firstLSN = .max
    #expect(written(header) == nil)
    header = good
    header.durableLSN = 4
    #expect(written(header) == nil)
    #expect(written(good) == good)
  }

  private func written(_ header: BatchHeader) -> BatchHeader? {
    var bytes = [UInt8](repeating: 0, count: BatchHeader.bytes)
    var span = bytes.mutableSpan
    header.write(into: &span, payload: [UInt8](repeating: 0, count: 8).span)
    return BatchHeader.read(bytes.span, at: 0)
  }
}
