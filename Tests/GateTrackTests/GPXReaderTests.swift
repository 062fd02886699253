import Foundation
import GateCore
import GateTrack
import Testing

private let long = ProcessInfo.processInfo.environment["FIXGATE_LONG"] == "1"

private func read(_ text: String, skipBad: Bool = false, chunk: Int = .max) throws -> Track {
  try read(Array(text.utf8), skipBad: skipBad, chunk: chunk)
}

private func read(_ bytes: [UInt8], skipBad: Bool, chunk: Int) throws -> Track {
  var at = 0
  return try GPXReader.read(skipBad: skipBad) { (buffer: inout [UInt8]) throws(TrackError) in
    let count = min(chunk, buffer.count, bytes.count - at)
    buffer.replaceSubrange(0..<count, with: bytes[at..<at + count])
    at += count
    return count
  }
}

@Suite struct GPXReaderTests {
  static let full = """
    <?xml version="1.0" encoding="UTF-8"?>
    <!-- a ride -->
    <gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1" xmlns:gpxtpx="http://www.garmin.com/xmlschemas/TrackPointExtension/v2">
      <metadata><time>2000-01-01T00:00:00Z</time></metadata>
      <wpt lat="1" lon="1"><time>2000-01-01T00:00:00Z</time></wpt>
      <trk><name>caf\u{e9} &amp; back</name><trkseg>
        <trkpt lat="39.984094" lon="116.319236">
          <ele> 12.34
          </ele><time>2008-10-23T05:53:05Z</time><hdop>0.9</hdop><sat>9</sat>
          <extensions><gpxtpx:TrackPointExtension><gpxtpx:speed>1.235</gpxtpx:speed><gpxtpx:course>359.99</gpxtpx:course>
            <gpxtpx:hr>120</gpxtpx:hr></gpxtpx:TrackPointExtension></extensions>
        </trkpt>
        <trkpt lon="0.00000015" lat='-0.00000005'><time>2008-10-23T07:53:06.1239+02:00</time></trkpt>
      </trkseg><trkseg>
        <trkpt lat="1e1" lon="-1.25E-1"><time><![CDATA[2008-10-23T06:33:05Z]]></time><speed>2&#46;5</speed><course/></trkpt>
      </trkseg></trk>
      <rte><rtept lat="2" lon="2"><time>2000-01-01T00:00:00Z</time></rtept></rte>
    </gpx>
    """

  @Test(arguments: [Int.max, 1, 7, 64])
  func readsTrackPoints(chunk: Int) throws {
    let track = try read(Self.full, chunk: chunk)
    #expect(track.fixes.map(\.sequence) == [1, 2, 3])
    #expect(track.fixes.map(\.latitudeE7) == [399_840_940, -1, 100_000_000])
    #expect(track.fixes.map(\.longitudeE7) == [1_163_192_360, 2, -1_250_000])
    #expect(track.fixes.map(\.fixTimeMs) == [1_224_741_185_000, 1_224_741_186_123, 1_224_743_585_000])
    let first = track.fixes[0]
    #expect(first[.altitudeMslDm] == 123 && first[.hdopTenths] == 9 && first[.satellitesUsed] == 9)
    #expect(first[.speedCmPerS] == 124 && first[.courseCdeg] == 35_999)
    #expect(track.fixes[1].present == [.position, .time])
    #expect(track.fixes[2][.speedCmPerS] == 250)
  }

  @Test func tracksWithoutPointsAreEmpty() throws {
    #expect(try read("<gpx><trk><trkseg/></trk></gpx>").fixes.isEmpty)
  }

  private static func gpx(_ points: String) -> String { "<gpx>\n<trk><trkseg>\n" + points + "\n</trkseg></trk></gpx>" }

  @Test(arguments: [
    ("", TrackError.badXML(line: 1)), ("<", .badXML(line: 1)), ("<gpx>", .badXML(line: 1)),
    ("<kml></kml>", .notGPX), ("<html><gpx/></html>", .notGPX), ("<gpx/><gpx/>", .badXML(line: 1)),
    (gpx("<trkpt lat='1' lon='2'><time>2020-01-01T00:00:00Z</time>"), .badXML(line: 4)),
    (gpx("<trkpt lat='1' lon='2'/>"), .badValue(line: 3, column: .time)),
    (gpx("<trkpt lat='1' lon='2'><time/></trkpt>"), .badValue(line: 3, column: .time)),
    (gpx("<trkpt lat='1'><time>2020-01-01T00:00:00Z</time></trkpt>"), .badValue(line: 3, column: .longitude)),
    (gpx("<trkpt lat='north' lon='2'><time>2020-01-01T00:00:00Z</time></trkpt>"), .badValue(line: 3, column: .latitude)),
    (gpx("<trkpt lat='1' lon='2'><time>2020-01-01T00:00:00Z</time><ele>high</ele></trkpt>"), .badValue(line: 3, column: .altitude)),
    (gpx("<trkpt lat='1' lon='2'><time>\(String(repeating: "0", count: 65))</time></trkpt>"), .badValue(line: 3, column: .time)),
  ])
  func errorsSayWhere(text: String, error: TrackError) {
    #expect(throws: error) { try read(text) }
    #expect(throws: error) { try read(text, chunk: 1) }
    #expect(!error.description.isEmpty)
  }

  @Test func badPointsAreSkippedWhenAsked() throws {
    let good = "<trkpt lat='1' lon='2'><time>2020-01-01T00:00:00Z</time></trkpt>\n"
    let track = try read(Self.gpx(good + "<trkpt lat='1' lon='2'/>\n" + good), skipBad: true)
    #expect(track.fixes.count == 2 && track.rows == 3)
    #expect(track.skipped.map(\.why) == [.badValue(line: 4, column: .time)] && track.skipped.map(\.line) == [4])
    #expect(throws: TrackError.badXML(line: 5)) { try read(Self.gpx(good).replacing("</trkpt>", with: "</trk>"), skipBad: true) }
  }

  /// Neither a file of this machine, nor a text that grows as it is read, nor what ends the parser's process.
  @Test(arguments: [
    "<!DOCTYPE gpx [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>",
    "<!DOCTYPE gpx [<!NOTATION a PUBLIC 'b'>]>", "<!DOCTYPE gpx [<!ELEMENT a (b)>]>", "<?foo?>", "<?foo ?>", "<?xml-?>",
    "<?xml version='1.0'?><?xml ?>", "   <?xml ?>", "<?xml version='1.0'?>\n<?xml-stylesheet href='x'?>",
    "<!DOCTYPE gpx [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]>",
  ])
  func declarationsAreRefused(declaration: String) {
    let text = declaration + "\n" + Self.gpx("<trkpt lat='1' lon='2'><time>&a;</time></trkpt>")
    for chunk in [Int.max, 1, 7] { #expect(throws: TrackError.declarations) { try read(text, chunk: chunk) } }
  }

  /// The system's parser would trap on some of these.
  @Test(arguments: [
    [0xff], [0x80], [0xc0, 0x80], [0xc3, 0x28], [0xe0, 0x9f, 0xbf], [0xed, 0xa0, 0x80], [0xf0, 0x8f, 0xbf, 0xbf], [0xf4, 0x90, 0x80, 0x80],
    [0xf5], [0xe2, 0x82], [0xf0, 0x90],
  ] as [[UInt8]])
  func whatIsNoTextIsRefused(bytes: [UInt8]) {
    for (before, behind) in [("<gpx><", "a/></gpx>"), ("<gpx a='", "'/>"), ("<gpx>", "</gpx>"), ("<", "gpx/>"), ("<gpx/>", "")] {
      for chunk in [Int.max, 1] {
        #expect(throws: TrackError.self) {
          try read(Array(before.utf8) + bytes + Array(behind.utf8), skipBad: false, chunk: chunk)
        }
      }
    }
  }

  @Test func deepNestingEnds() {
    let text = "<gpx>" + String(repeating: "<a>", count: 100_000)
    #expect(throws: TrackError.badXML(line: 1)) { try read(text) }
  }

  /// Whatever a few wrong bytes make of it, how the bytes come does not matter.
  @Test(arguments: 0..<(long ? 20_000 : 100) as Range<UInt64>) func brokenFilesAreReadTheSameHoweverTheyCome(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var bytes = Array(Self.full.utf8)
    for _ in 0..<Int.random(in: 1...4, using: &random) {
      let at = Int.random(in: 0..<bytes.count, using: &random)
      switch Int.random(in: 0..<4, using: &random) {
      case 0: bytes[at] = UInt8.random(in: .min ... .max, using: &random)
      case 1: bytes.removeSubrange(at..<min(at + Int.random(in: 1...40, using: &random), bytes.count))
      case 2: bytes.insert(contentsOf: bytes[at..<min(at + 60, bytes.count)], at: Int.random(in: 0..<bytes.count, using: &random))
      default: bytes.insert(Array("<>&;'\"/!".utf8).randomElement(using: &random)!, at: at)
      }
      if bytes.isEmpty { bytes = [0] }
    }
    func outcome(_ skipBad: Bool, _ chunk: Int) -> String {
      guard let track = try? read(bytes, skipBad: skipBad, chunk: chunk) else { return "refused" }
      return "\(track.fixes.map(\.fixTimeMs)) \(track.fixes.map(\.latitudeE7)) \(track.skippedCount)"
    }
    for skipBad in [false, true] {
      let whole = outcome(skipBad, .max)
      for chunk in [1, 97] { #expect(outcome(skipBad, chunk) == whole, "seed \(seed)") }
    }
  }

  @Test func errorsOfTheSourceComeThrough() {
    #expect(throws: TrackError.damagedArchive(code: -5)) {
      try GPXReader.read(skipBad: false) { (_: inout [UInt8]) throws(TrackError) in throw .damagedArchive(code: -5) }
    }
  }
}
