import GateCore
import Testing

@Suite struct JournalChainTests {
  /// The chain of these images, the last one open-ended.
  private func chain(_ images: [SegmentImage], floor: UInt64 = 0) -> JournalChain {
    var chain = JournalChain(durableFloor: floor)
    for (i, image) in images.enumerated() {
      let scan = SegmentScanner.scan(image.bytes.span, named: image.header.segment)
      _ = chain.append(scan, limit: images[(i + 1)...].map(\.header.baseLSN).min())
    }
    chain.finish()
    return chain
  }

  /// What the last batch looks like when only its first bytes reached the disk, on a fresh and on a recycled file.
  @Test(arguments: [false, true]) func cutAtEveryByteOfTheLastBatch(recycled: Bool) throws {
    let background = recycled ? SegmentImage.sample(id: 6, salt: 5, baseLSN: 1).bytes : nil
    let image = SegmentImage.sample(id: 7, salt: 99, baseLSN: 1_000, over: background)
    let last = try #require(image.places.last)
    let end = last.offset + BatchHeader.bytes + last.header.payloadBytes
    for cut in last.offset...last.offset + last.header.paddedBytes {
      var torn = image
      for i in cut..<last.offset + last.header.paddedBytes { torn.bytes[i] = background?[i] ?? 0 }
      let isWhole = cut >= end || torn.bytes[..<end] == image.bytes[..<end]
      let chain = chain([torn])
      #expect(chain.firstLSN == 1_000)
      #expect(chain.endLSN == (isWhole ? 1_015 : 1_010), "cut at \(cut)")
      #expect(chain.provenLSN == (isWhole ? 1_010 : 1_006))
      #expect(chain.corrupt.isEmpty)
      #expect(chain.unproven?.place == image.places[isWhole ? 4 : 3])
      // Above the floor it was torn; below it, it was durable and is lost.
      let known = self.chain([torn], floor: 1_015)
      #expect(known.endLSN == 1_015)
      #expect(known.corrupt.map(\.lsns) == (isWhole ? [] : [1_010..<1_015]))
      #expect(known.unproven == nil)
    }
  }

  @Test func fileCutAtAnyByte() {
    let image = SegmentImage.sample(id: 7, salt: 99, baseLSN: 1_000)
    for cut in stride(from: Limits.journalBlockBytes, through: image.bytes.count, by: 7) {
      var short = image
      short.bytes.removeLast(image.bytes.count - cut)
      let whole = image.places.filter { $0.offset + BatchHeader.bytes + $0.header.payloadBytes <= cut }
      let chain = chain([short])
      #expect(chain.endLSN == whole.last?.header.endLSN ?? 1_000)
      #expect(chain.corrupt.isEmpty)
    }
  }

  /// No flip makes a wrong record; none of a durable record goes unreported.
  @Test func flipAtEveryByte() {
    let image = SegmentImage.sample(id: 7, salt: 99, baseLSN: 1_000)
    var next = SegmentImage(id: 8, salt: 98, baseLSN: 1_015, blocks: 2)
    next.append(payload: [1], count: 1)
    var used = [Range(0...SegmentHeader.bytes)]
    for place in image.places {
      used.append(place.offset..<place.offset + BatchHeader.bytes + place.header.payloadBytes)
    }
    for at in image.bytes.indices {
      let isUsed = used.contains { $0.contains(at) }
      if !isUsed && at % 61 != 0 { continue }
      var flipped = image
      flipped.bytes[at] ^= UInt8(1) << UInt8(at % 8)
      let hit = image.places.first { $0.offset <= at && at < $0.offset + BatchHeader.bytes + $0.header.payloadBytes }
      let scan = SegmentScanner.scan(flipped.bytes.span, named: 7)
      #expect(scan.batches == image.places.filter { $0 != hit }, "flip at \(at)")
      // With a later segment everything here is proven.
      let proven = chain([flipped, next])
      #expect(proven.endLSN == 1_016)
      #expect(proven.corrupt.map(\.lsns).filter { !$0.isEmpty } == (hit.map { [$0.header.firstLSN..<$0.header.endLSN] } ?? []))
      // Alone, the last batch may have been torn.
      let alone = chain([flipped])
      if hit == image.places.last {
        #expect(alone.endLSN == 1_010)
        #expect(alone.corrupt.isEmpty)
        #expect(!alone.torn.isEmpty, "flip at \(at)")
      } else {
        #expect(alone.endLSN == 1_015)
        #expect(alone.corrupt.filter { !$0.lsns.isEmpty }.count == (hit == nil ? 0 : 1))
      }
    }
  }

  /// A failed write left a batch that looks whole; the records, or others, were written anew with the same LSN.
  @Test func abandonedBatchNeverCounts() throws {
    let old = SegmentImage.sample(id: 7, salt: 99, baseLSN: 1_000)
    var new = SegmentImage(id: 8, salt: 98, baseLSN: 1_010, blocks: 4)
    #expect(chain([old, new]).endLSN == 1_010)
    new.append(payload: [9, 9], count: 2)
    let chain = chain([old, new])
    #expect(chain.endLSN == 1_012)
    #expect(chain.corrupt.isEmpty)
    let unproven = try #require(chain.unproven)
    #expect(unproven.segment == 8)
    // The same again: 8 was abandoned too.
    let newest = SegmentImage(id: 9, salt: 97, baseLSN: 1_010, blocks: 4)
    #expect(self.chain([old, new, newest]).endLSN == 1_010)
    #expect(self.chain([old, new, newest]).corrupt.isEmpty)
  }

  @Test func segmentThatIsGoneIsReported() {
    let a = SegmentImage.sample(id: 7, salt: 99, baseLSN: 1_000)
    let c = SegmentImage.sample(id: 9, salt: 97, baseLSN: 1_030)
    let chain = chain([a, c])
    #expect(chain.corrupt.map(\.lsns) == [1_015..<1_030])
    #expect(chain.firstLSN == 1_000)
    #expect(chain.endLSN == 1_045)
  }

  @Test func lsnNeverGoesBelowTheFloor() {
    #expect(chain([], floor: 77).endLSN == 77)
    #expect(chain([], floor: 77).firstLSN == 77)
    let a = SegmentImage.sample(id: 7, salt: 99, baseLSN: 1_000)
    let chain = chain([a], floor: 2_000)
    #expect(chain.endLSN == 2_000)
    #expect(chain.corrupt.map(\.lsns) == [1_015..<2_000])
  }
}
