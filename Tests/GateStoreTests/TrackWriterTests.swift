import Foundation
import GateCore
import GateStore
import Testing

/// Takes the pieces a writer hands out.
final class Collector {
  var bytes: [UInt8] = []
  func take(_ span: Span<UInt8>) { for i in span.indices { bytes.append(span[i]) } }
  var text: String { String(decoding: bytes, as: UTF8.self) }
}

func write(_ points: [TrackPoint], as format: TrackFormat, name: String = "van-1") -> String {
  let collector = Collector()
  var writer = TrackWriter(format: format) { collector.take($0) }
  writer.begin(name: name)
  for point in points { writer.append(point) }
  writer.end()
  return collector.text
}

@Suite struct TrackWriterTests {
  private func point(_ timeMs: Int64, _ latitudeE7: Int64?, _ longitudeE7: Int64 = 0) -> TrackPoint {
    TrackPoint(
      timeMs: timeMs, position: latitudeE7.map { .init(latitudeE7: $0, longitudeE7: longitudeE7) },
      stream: 7, sequence: 1)
  }

  @Test(arguments: [
    (0, "1970-01-01T00:00:00.000Z"), (951_782_400_001, "2000-02-29T00:00:00.001Z"),
    (4_107_542_399_999, "2100-02-28T23:59:59.999Z"), (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
    (1_709_251_199_000, "2024-02-29T23:59:59.000Z"), (-1, "1969-12-31T23:59:59.999Z"),
    (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"), (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
  ])
  func timesAreISO8601(_ ms: Int64, _ text: String) {
    #expect(write([point(ms, 1)], as: .csv).split(separator: "\n")[1].hasPrefix(text + ","))
  }

  @Test(arguments: [
    (525_200_066, "52.5200066"), (-1, "-0.0000001"), (0, "0.0000000"), (-900_000_000, "-90.0000000"), (9_999_999, "0.9999999"),
  ])
  func degreesAreExact(_ e7: Int64, _ text: String) {
    #expect(write([point(0, e7)], as: .csv).split(separator: "\n")[1].split(separator: ",")[1] == text)
    #expect(write([point(0, e7)], as: .gpx).contains("lat=\"\(text)\""))
  }

  @Test func csvHasAsManyFieldsAsItsHeader() {
    var full = point(0, 1, 2)
    for i in 0..<24 { full.values[i] = Int64(i + 1) }
    full.task = "a,\"b\""
    let lines = write([full, point(1, nil)], as: .csv).split(separator: "\n")
    #expect(lines[0].hasPrefix("time,lat,lon,accuracy_m,speed_m_per_s,course_deg,battery_percent,"))
    #expect(lines[1].contains(",0.1,0.02,0.03,4,0.5,"))
    #expect(lines[1].hasSuffix(",0,7,1,\"a,\"\"b\"\"\","))
    #expect(lines[2].split(separator: ",", omittingEmptySubsequences: false).count == lines[0].split(separator: ",").count)
    #expect(lines[2].hasPrefix("1970-01-01T00:00:00.001Z,,,"))
  }

  @Test func geojsonIsJSON() throws {
    var full = point(5, -1, 1_799_999_999)
    full.values[Column.altitudeEllipsoidDm.index] = -35
    full.task = "say \"\u{1}\u{7f}é\"\\"
    let text = write([full, point(6, nil)], as: .geojson)
    let json = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    let features = try #require(json["features"] as? [[String: Any]])
    #expect(features.count == 2)
    let geometry = try #require(features[0]["geometry"] as? [String: Any])
    #expect(geometry["coordinates"] as? [Double] == [179.9999999, -0.0000001, -3.5])
    #expect((features[0]["properties"] as? [String: Any])?["task"] as? String == full.task)
    #expect(features[1]["geometry"] is NSNull)
    let empty = try JSONSerialization.jsonObject(with: Data(write([], as: .geojson).utf8)) as? [String: Any]
    #expect((empty?["features"] as? [Any])?.isEmpty == true)
  }

  @Test func gpxEscapesAndLeavesOutWhatHasNoPosition() {
    var first = point(5, 1, 2)
    first.values[Column.altitudeMslDm.index] = 341
    let text = write([first, point(6, nil)], as: .gpx, name: "a<&>b")
    #expect(text.contains("<name>a&lt;&amp;&gt;b</name>"))
    #expect(
      text.contains(
        """
        <trkpt lat="0.0000001" lon="0.0000002"><ele>34.1</ele><time>1970-01-01T00:00:00.005Z</time></trkpt>
        """))
    #expect(text.components(separatedBy: "<trkpt").count == 2)
    #expect(text.hasSuffix("</trkseg></trk>\n</gpx>\n"))
  }

  @Test func longTracksComeInPieces() {
    let collector = Collector()
    var pieces = 0
    var writer = TrackWriter(format: .csv) {
      pieces += 1
      collector.take($0)
    }
    writer.begin(name: "x")
    for i in 0..<2_000 { writer.append(point(Int64(i), 1)) }
    #expect(pieces > 1)
    writer.end()
    #expect(collector.text.split(separator: "\n").count == 2_001)
  }
}
