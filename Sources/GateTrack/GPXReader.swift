import Foundation
import FoundationXML
import GateCore

/// Reads the track points of a GPX file (1.0 or 1.1) as its bytes come, with the system's XML parser. Holds one point at a
/// time, beside the fixes.
///
/// `lat`, `lon` and `time` must be there. `ele` (above mean sea level), `hdop`, `sat`, `speed` and `course` count wherever they
/// stand in a point, extensions included. Way points and routes are no tracks and are left out. Nothing is derived.
package enum GPXReader {
  /// Longest text of an element that is read, in bytes.
  static let textBytesMax = 64

  /// - Parameter next: puts bytes at the beginning of the buffer; returns how many, 0 at the end.
  package static func read(
    skipBad: Bool, next: @escaping (inout [UInt8]) throws(TrackError) -> Int
  ) throws(TrackError) -> Track {
    let input = ByteInput(next)
    let parser = XMLParser(stream: input)
    let points = GPXPoints(skipBad: skipBad)
    parser.delegate = points
    let isRead = parser.parse()
    if let failure = input.failure ?? points.failure { throw failure }
    // At the end of its input the parser does not mind what is open still.
    guard isRead, parser.parserError == nil, points.isWhole else { throw .badXML(line: max(parser.lineNumber, 1)) }
    return points.track
  }
}

/// Takes the parser's events. Stops at the first error that cannot be skipped.
private final class GPXPoints: NSObject, XMLParserDelegate {
  private(set) var track = Track()
  private(set) var failure: TrackError?
  private(set) var isWhole = false
  private var depth = 0
  private let skipBad: Bool
  /// Texts of the present point, by what they mean; `nil` outside of one.
  private var point: [TrackColumn: [UInt8]]?
  private var line = 0
  /// The element whose text is being gathered.
  private var column: TrackColumn?
  private var text: [UInt8] = []
  private var isTooLong = false

  /// GPX with its extensions has eight levels or so.
  private static let depthMax = 64
  private static let columns: [String: TrackColumn] = [
    "time": .time, "ele": .altitude, "speed": .speed, "course": .course, "bearing": .course, "hdop": .hdop,
    "sat": .satellites,
  ]

  init(skipBad: Bool) { self.skipBad = skipBad }

  func parser(
    _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
    attributes: [String: String]
  ) {
    let name = GPXPoints.local(name)
    depth += 1
    guard depth <= GPXPoints.depthMax else { return stop(parser, .badXML(line: parser.lineNumber)) }
    if depth == 1 {
      if name != "gpx" { stop(parser, .notGPX) }
    } else if name == "trkpt" {
      point = [:]
      point?[.latitude] = attributes["lat"].map { Array($0.utf8) }
      point?[.longitude] = attributes["lon"].map { Array($0.utf8) }
      line = parser.lineNumber
    } else if let point, let column = GPXPoints.columns[name], point[column] == nil {
      self.column = column
      text = []
      isTooLong = false
    }
  }

  func parser(_ parser: XMLParser, foundCharacters string: String) {
    add(Array(string.utf8))
  }

  func parser(_ parser: XMLParser, foundCDATA block: Data) { add(Array(block)) }

  private func add(_ bytes: [UInt8]) {
    guard column != nil, !isTooLong else { return }
    text += bytes
    isTooLong = text.count > GPXReader.textBytesMax
  }

  func parser(_ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?) {
    depth -= 1
    if depth == 0 { isWhole = true }
    if let column {
      self.column = nil
      guard let name = GPXPoints.columns[GPXPoints.local(name)], name == column else { return }
      point?[column] = isTooLong ? [] : text
    } else if GPXPoints.local(name) == "trkpt", let point {
      self.point = nil
      take(point, parser)
    }
  }

  private func take(_ point: [TrackColumn: [UInt8]], _ parser: XMLParser) {
    track.rows += 1
    guard track.fixes.count < TrackReader.fixesMax else { return stop(parser, .tooManyRows(line: line)) }
    var fix = Fix()
    let wrong = TrackValues.read(into: &fix) { column in
      let bytes = point[column] ?? []
      return (bytes, TrackValues.trimmed(bytes, 0..<bytes.count))
    }
    if let wrong {
      let error = TrackError.badValue(line: line, column: wrong)
      if skipBad { track.skip(error, line: line) } else { stop(parser, error) }
      return
    }
    fix.sequence = UInt64(track.fixes.count) + 1
    track.fixes.append(fix)
  }

  private func stop(_ parser: XMLParser, _ error: TrackError) {
    if failure == nil { failure = error }
    parser.abortParsing()
  }

  /// Without the prefix of its name space: extensions come with one of their own.
  private static func local(_ name: String) -> String {
    name.lastIndex(of: ":").map { String(name[name.index(after: $0)...]) } ?? name
  }
}

/// Hands bytes to the parser as they come, but no declaration of entities: nobody who records tracks declares any, and who
/// does so wants them to grow.
private final class ByteInput: InputStream {
  private let next: (inout [UInt8]) throws(TrackError) -> Int
  private var buffer = [UInt8](repeating: 0, count: 65_536)
  private var ready = 0..<0
  private(set) var failure: TrackError?
  /// How much of `declaration` the last bytes have matched.
  private var matched = 0
  private static let declaration = Array("<!ENTITY".utf8)

  init(_ next: @escaping (inout [UInt8]) throws(TrackError) -> Int) {
    self.next = next
    super.init(data: Data())
  }

  override func open() {}
  override func close() {}
  override var hasBytesAvailable: Bool { true }

  override func read(_ bytes: UnsafeMutablePointer<UInt8>, maxLength: Int) -> Int {
    if ready.isEmpty {
      do throws(TrackError) {
        ready = 0..<(try next(&buffer))
        try refuseEntities()
      } catch {
        // To the parser it is the end.
        failure = error
        ready = 0..<0
        return 0
      }
    }
    let count = min(ready.count, maxLength)
    for i in 0..<count { unsafe bytes[i] = buffer[ready.lowerBound + i] }
    ready = ready.lowerBound + count..<ready.upperBound
    return count
  }

  private func refuseEntities() throws(TrackError) {
    for i in ready {
      let byte = buffer[i]
      // Only its first byte is a `<`, so a match that fails can begin anew with nothing else.
      matched = byte == ByteInput.declaration[matched] ? matched + 1 : byte == ByteInput.declaration[0] ? 1 : 0
      if matched == ByteInput.declaration.count { throw .entities }
    }
  }
}
