import GateCore
import GateTrack
import Testing

private func read(
  _ text: String, select: String? = nil, skipBad: Bool = false, chunk: Int = .max
) throws -> Track {
  var reader = TrackReader(selection: select.flatMap { TrackSelection($0) }, skipBad: skipBad)
  let bytes = Array(text.utf8)
  var at = 0
  while at < bytes.count {
    let end = at + min(chunk, bytes.count - at)
    try reader.feed(bytes[at..<end])
    at = end
  }
  return try reader.finish()
}

@Suite struct TrackReaderTests {
  static let full = """
    \u{feff}UID;Latitude;"Long";TIMESTAMP;speed;Bearing;hacc;ele;battery;sats;"a ""note\"""\r
    001;39.984094;116.319236;2008-10-23 05:53:05;1.235;359.99;4.25;-12.34;57;9;"two
    lines; and ""quotes\"""\r
    002;-0.00000005;"0.00000015";2008-10-23T07:53:06.1239+02:00;;;;;;;\r

    001;1e1;-1.25E-1;1224741185;-1;;-1;;;;x
    """

  @Test func readsEveryColumn() throws {
    let track = try read(Self.full)
    #expect(track.rows == 3)
    #expect(track.fixes.map(\.sequence) == [1, 2, 3])
    #expect(track.fixes.map(\.latitudeE7) == [399_840_940, -1, 100_000_000])
    #expect(track.fixes.map(\.longitudeE7) == [1_163_192_360, 2, -1_250_000])
    #expect(track.fixes.map(\.fixTimeMs) == [1_224_741_185_000, 1_224_741_186_123, 1_224_741_185_000])
    let first = track.fixes[0]
    #expect(first[.speedCmPerS] == 124)
    #expect(first[.courseCdeg] == 35_999)
    #expect(first[.horizontalAccuracyDm] == 43)
    #expect(first[.altitudeMslDm] == -123)
    #expect(first[.batteryPercent] == 57)
    #expect(first[.satellitesUsed] == 9)
    #expect(track.fixes[1].present == [.position, .time])
    #expect(track.fixes[2].present == [.position, .time])
    #expect(track.columns[.longitude] == "Long")
    #expect(track.ignored == ["a \"note\""])
    #expect(track.deviceValues == ["001", "002"])
  }

  @Test func everySplitReadsTheSame() throws {
    let whole = try read(Self.full)
    for chunk in 1...Self.full.utf8.count {
      let split = try read(Self.full, chunk: chunk)
      #expect(split.fixes.map(\.fixTimeMs) == whole.fixes.map(\.fixTimeMs))
      #expect(split.fixes.map(\.latitudeE7) == whole.fixes.map(\.latitudeE7))
      #expect(split.ignored == whole.ignored)
    }
  }

  @Test func selectsRows() throws {
    let track = try read("lat,lng,datetime,uid\n1,2,2020-01-01 00:00:00,001\n3,4,2020-01-01 00:00:01,002", select: "UID=002")
    #expect(track.fixes.map(\.latitudeE7) == [30_000_000])
    #expect(track.fixes[0].sequence == 1)
    #expect(track.unselected == 1)
    #expect(track.deviceValues == ["002"])
  }

  @Test(arguments: [
    ("", TrackError.empty),
    ("lat,time\n1,2", .missingColumn(.longitude)),
    ("lat,lon,time\n1,2,2020-01-01 00:00:00\n1,x,2020-01-01 00:00:00", .badValue(line: 3, column: .longitude)),
    ("lat,lon,time\n1,2,2020-02-30 00:00:00", .badValue(line: 2, column: .time)),
    ("lat,lon,time\n215,2,2020-02-03 00:00:00", .badValue(line: 2, column: .latitude)),
    ("lat,lon,time,battery\n1,2,0,101", .badValue(line: 2, column: .battery)),
    ("lat,lon,time\n\"1\n\",2,0\n1,2", .badValue(line: 2, column: .latitude)),
    ("lat,lon,time\n1,2", .tooFewFields(line: 2, fields: 2)),
    ("lat,lon,time\n\"1,2,0\n", .badQuote(line: 2)),
    ("lat,lon,time\n\"1\"x,2,0\n", .badQuote(line: 2)),
    (String(repeating: "a,", count: 300), .tooManyColumns),
  ])
  func errorsSayWhere(text: String, error: TrackError) {
    #expect(throws: error) { try read(text) }
    #expect(throws: error) { try read(text, chunk: 1) }
    #expect(!error.description.isEmpty)
  }

  @Test func selectionErrors() {
    let text = "lat,lon,time,uid\n1,2,0,a\n"
    #expect(throws: TrackError.unknownSelection) { try read(text, select: "who=a") }
    #expect(throws: TrackError.nothingSelected) { try read(text, select: "uid=b") }
    #expect(TrackSelection("=x") == nil)
    #expect(TrackSelection("uid") == nil)
  }

  @Test func longRowIsRefused() {
    let text = "lat,lon,time,note\n1,2,0,\"" + String(repeating: "x", count: TrackReader.rowBytesMax) + "\"\n"
    #expect(throws: TrackError.rowTooLong(line: 2)) { try read(text, chunk: 10_000) }
  }

  @Test func skipsBadRowsWhenAsked() throws {
    let track = try read("lat,lon,time\n1,2,0\nx,2,0\n\"1\"y,2,0\n3,4,1\n", skipBad: true)
    #expect(track.fixes.map(\.latitudeE7) == [10_000_000, 30_000_000])
    #expect(track.fixes.map(\.sequence) == [1, 2])
    #expect(track.skippedCount == 2)
    #expect(track.skipped.map(\.line) == [3, 4])
    #expect(track.skipped.map(\.why) == [.badValue(line: 3, column: .latitude), .badQuote(line: 4)])
  }
}
