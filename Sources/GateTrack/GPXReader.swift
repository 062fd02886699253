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

  /// - Parameter next: puts bytes at the beginning of the buffer (64 KiB); returns how many, 0 at the end.
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

/// Hands bytes to the parser as they come, but not those on which it would end the process, as FoundationXML of Swift 6.3 does:
/// what is no UTF-8, processing instructions, declarations of a document type. Recorded tracks have none of them; and without
/// declarations there are no entities that grow.
private final class ByteInput: InputStream {
  private let next: (inout [UInt8]) throws(TrackError) -> Int
  private var buffer = [UInt8](repeating: 0, count: 65_536)
  private var ready = 0..<0
  private(set) var failure: TrackError?
  private var text = UTF8Check()
  /// The last bytes before the present one, the newest lowest.
  private var before: UInt32 = 0
  private var offset = 0
  /// Where the name in the file's XML declaration begins, until it is read.
  private var nameStart: Int?

  private static let name = Array("xml".utf8)
  /// `<!`
  private static let declares: UInt32 = 0x3C21
  /// A byte order mark and `<`.
  private static let markedStart: UInt32 = 0xEFBB_BF3C

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
        try examine()
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

  private func examine() throws(TrackError) {
    for i in ready {
      let byte = buffer[i]
      guard text.take(byte) else { throw .notUTF8 }
      let isLetter = (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
      if before & 0xFFFF == ByteInput.declares, isLetter { throw .declarations }
      // Only at the beginning, behind a byte order mark perhaps, is it `<?xml `, which the parser takes for itself.
      if before & 0xFF == UInt32(UInt8(ascii: "<")), byte == UInt8(ascii: "?") {
        guard offset == 1 || offset == 4 && before == ByteInput.markedStart else { throw .declarations }
        nameStart = offset + 1
      }
      if let start = nameStart, offset >= start {
        let place = offset - start
        let isRight = place < ByteInput.name.count ? byte == ByteInput.name[place] : byte <= 0x20
        guard isRight else { throw .declarations }
        if place == ByteInput.name.count { nameStart = nil }
      }
      before = before << 8 | UInt32(byte)
      offset += 1
    }
  }
}

/// Tells text in UTF-8 (RFC 3629) from other bytes, one byte after the other. A character that is cut off by the end is the
/// parser's matter: it hands on whole ones only.
private struct UTF8Check {
  private var left = 0
  /// What the next byte of a character may be: overlong forms and surrogates show in its second byte.
  private var allowed: ClosedRange<UInt8> = 0x80...0xBF

  /// - Returns: false if the byte cannot stand here.
  mutating func take(_ byte: UInt8) -> Bool {
    if left > 0 {
      guard allowed.contains(byte) else { return false }
      left -= 1
      allowed = 0x80...0xBF
      return true
    }
    switch byte {
    case 0x00...0x7F: return true
    case 0xC2...0xDF: left = 1
    case 0xE0: (left, allowed) = (2, 0xA0...0xBF)
    case 0xED: (left, allowed) = (2, 0x80...0x9F)
    case 0xE1...0xEF: left = 2
    case 0xF0: (left, allowed) = (3, 0x90...0xBF)
    case 0xF4: (left, allowed) = (3, 0x80...0x8F)
    case 0xF1...0xF3: left = 3
    default: return false
    }
    return true
  }
}
