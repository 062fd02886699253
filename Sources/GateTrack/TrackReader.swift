package import GateCore

/// Which rows to take: those whose field in the column of that name (any case) is exactly `value`.
package struct TrackSelection: Equatable, Sendable {
  package var column: String
  package var value: String

  package init(column: String, value: String) {
    self.column = column
    self.value = value
  }

  /// Reads `COLUMN=VALUE`; `nil` without a name or an equals sign.
  package init?(_ text: String) {
    guard let equals = text.firstIndex(of: "="), equals != text.startIndex else { return nil }
    self.init(column: String(text[..<equals]), value: String(text[text.index(after: equals)...]))
  }
}

/// What was read from a track file.
package struct Track: Sendable {
  /// A row that was left out.
  package struct Skipped: Equatable, Sendable {
    package var line: Int
    package var why: TrackError
  }

  /// In the order of the file, with sequences 1, 2, ...
  package var fixes: [Fix] = []
  /// Header names of the columns that were read, by meaning.
  package var columns: [TrackColumn: String] = [:]
  /// Header names of the columns that were not.
  package var ignored: [String] = []
  /// Rows behind the header, blank lines not counted.
  package var rows = 0
  /// Rows that the selection left out.
  package var unselected = 0
  package var skippedCount = 0
  /// The first of them, at most `skippedMax`.
  package var skipped: [Skipped] = []
  /// Values of the device column among the rows taken, at most `deviceValuesMax`. More than one means that tracks of
  /// several devices would be mixed.
  package var deviceValues: [String] = []

  package static let skippedMax = 20
  package static let deviceValuesMax = 8

  mutating func skip(_ error: TrackError, line: Int) {
    skippedCount += 1
    if skipped.count < Track.skippedMax { skipped.append(Skipped(line: line, why: error)) }
  }
}

/// Reads a track in CSV (RFC 4180; separated by comma, semicolon or tab) as its bytes come. Holds one row at a time.
///
/// Columns are found by their usual names, see `TrackColumn`; latitude, longitude and time must be there. Units: degrees,
/// m/s, degrees, metres, metres above mean sea level, percent. An empty optional field is
/// unknown, and so is a speed or an accuracy below 0, as phones write it. Nothing is derived.
package struct TrackReader: Sendable {
  package static let rowBytesMax = 65_536
  package static let fieldsMax = 256
  /// Fixes are held in memory, some 150 bytes each.
  package static let fixesMax = 20_000_000

  private let selection: TrackSelection?
  private let skipBad: Bool
  private var track = Track()
  /// Bytes from the beginning of the present row on.
  private var buffer: [UInt8] = []
  private var line = 1
  private var hasHeader = false
  private var separator = UInt8(ascii: ",")
  /// Position in the header of each column that is read, by place in `TrackColumn.allCases`; -1 without one.
  private var positions = [Int](repeating: -1, count: TrackColumn.allCases.count)
  private var selectionPosition = -1
  private var selected: [UInt8] = []
  private var neededFields = 0
  private var device: [UInt8] = []
  /// Fields of the present row: positions in `buffer`, surrounding quotes and spaces not included.
  private var fields: [Range<Int>] = []
  /// Those of them in which quotes stand doubled.
  private var doubled: [Int] = []
  /// More than one when a quoted field holds line ends.
  private var linesInRow = 1

  package init(selection: TrackSelection? = nil, skipBad: Bool = false) {
    self.selection = selection
    self.skipBad = skipBad
    selected = Array((selection?.value ?? "").utf8)
  }

  /// Takes the next bytes of the file, split anywhere.
  package mutating func feed(_ bytes: ArraySlice<UInt8>) throws(TrackError) {
    buffer.append(contentsOf: bytes)
    try rows(isEnd: false)
  }

  /// The file has ended.
  package mutating func finish() throws(TrackError) -> Track {
    try rows(isEnd: true)
    guard hasHeader else { throw .empty }
    if track.fixes.isEmpty, track.unselected > 0 { throw .nothingSelected }
    return track
  }

  private mutating func rows(isEnd: Bool) throws(TrackError) {
    var at = 0
    while at < buffer.count {
      let next: Int?
      do {
        next = try splitRow(from: at, isEnd: isEnd)
      } catch {
        // The end of a row with a stray quote is where its line ends.
        guard skipBad, hasHeader, case .badQuote = error else { throw error }
        track.skip(error, line: line)
        var end = at
        while end < buffer.count, buffer[end] != UInt8(ascii: "\n") { end += 1 }
        line += 1
        at = min(end + 1, buffer.count)
        continue
      }
      guard let next else {
        guard buffer.count - at <= TrackReader.rowBytesMax else { throw .rowTooLong(line: line) }
        break
      }
      guard next - at <= TrackReader.rowBytesMax else { throw .rowTooLong(line: line) }
      if fields.count > 1 || !fields[0].isEmpty {
        for i in doubled { fields[i] = undoubled(fields[i]) }
        if hasHeader { try row() } else { try header() }
      }
      line += linesInRow
      at = next
    }
    buffer.removeSubrange(0..<at)
  }

  /// Finds the fields of the row at `start`.
  /// - Returns: where the next row begins; `nil` if more bytes are needed.
  private mutating func splitRow(from start: Int, isEnd: Bool) throws(TrackError) -> Int? {
    if !hasHeader {
      guard let found = headerSeparator(from: start, isEnd: isEnd) else { return nil }
      separator = found
    }
    fields.removeAll(keepingCapacity: true)
    doubled.removeAll(keepingCapacity: true)
    linesInRow = 1
    var at = start
    var fieldStart = start
    let end = buffer.count
    while at < end {
      let byte = buffer[at]
      if byte == separator {
        fields.append(fieldStart..<at)
        guard fields.count < TrackReader.fieldsMax else { throw .tooManyColumns }
        fieldStart = at + 1
      } else if byte == 0x0a {
        let last = at > fieldStart && buffer[at - 1] == 0x0d ? at - 1 : at
        fields.append(fieldStart..<last)
        return at + 1
      } else if byte == UInt8(ascii: "\""), at == fieldStart {
        guard let close = try closingQuote(from: at + 1, isEnd: isEnd) else { return nil }
        guard close + 1 < end || isEnd else { return nil }
        fields.append(at + 1..<close)
        guard fields.count < TrackReader.fieldsMax else { throw .tooManyColumns }
        at = close + 1
        if at < end, buffer[at] == 0x0d {
          guard at + 1 < end || isEnd else { return nil }
          at += 1
        }
        if at >= end { return end }
        if buffer[at] == 0x0a { return at + 1 }
        guard buffer[at] == separator else { throw .badQuote(line: line) }
        fieldStart = at + 1
      }
      at += 1
    }
    guard isEnd else { return nil }
    fields.append(fieldStart..<(end > fieldStart && buffer[end - 1] == 0x0d ? end - 1 : end))
    return end
  }

  /// Finds the quote that closes a field.
  private mutating func closingQuote(from start: Int, isEnd: Bool) throws(TrackError) -> Int? {
    var at = start
    while at < buffer.count {
      if buffer[at] == UInt8(ascii: "\"") {
        guard at + 1 < buffer.count else { return isEnd ? at : nil }
        if buffer[at + 1] != UInt8(ascii: "\"") { return at }
        if doubled.last != fields.count { doubled.append(fields.count) }
        at += 2
      } else {
        if buffer[at] == 0x0a { linesInRow += 1 }
        at += 1
      }
    }
    if isEnd { throw .badQuote(line: line) }
    return nil
  }

  /// Moves a field's text together where a quote stands for two. Only once its row is complete: until then the row is
  /// split again from its start whenever bytes come.
  private mutating func undoubled(_ range: Range<Int>) -> Range<Int> {
    var to = range.lowerBound
    var from = to
    while from < range.upperBound {
      buffer[to] = buffer[from]
      from += buffer[from] == UInt8(ascii: "\"") ? 2 : 1
      to += 1
    }
    return range.lowerBound..<to
  }

  /// Semicolon or tab when the first line has no comma.
  private func headerSeparator(from start: Int, isEnd: Bool) -> UInt8? {
    var other: UInt8?
    for i in start..<buffer.count {
      switch buffer[i] {
      case UInt8(ascii: ","): return UInt8(ascii: ",")
      case UInt8(ascii: ";"), UInt8(ascii: "\t"): if other == nil { other = buffer[i] }
      case 0x0a: return other ?? UInt8(ascii: ",")
      default: break
      }
    }
    return isEnd ? other ?? UInt8(ascii: ",") : nil
  }

  private mutating func header() throws(TrackError) {
    var start = fields[0].lowerBound
    // A byte order mark.
    if fields[0].count >= 3, buffer[start] == 0xef, buffer[start + 1] == 0xbb, buffer[start + 2] == 0xbf { start += 3 }
    fields[0] = start..<fields[0].upperBound
    let names = fields.map { String(decoding: buffer[trimmed($0)], as: UTF8.self) }
    var isRead = [Bool](repeating: false, count: names.count)
    for (i, column) in TrackColumn.allCases.enumerated() {
      guard let position = names.firstIndex(where: { column.names.contains($0.lowercased()) }) else { continue }
      positions[i] = position
      isRead[position] = true
      track.columns[column] = names[position]
      neededFields = max(neededFields, position + 1)
    }
    for column in [TrackColumn.latitude, .longitude, .time] where track.columns[column] == nil {
      throw .missingColumn(column)
    }
    if let selection {
      guard let position = names.firstIndex(where: { $0.lowercased() == selection.column.lowercased() }) else {
        throw .unknownSelection
      }
      selectionPosition = position
      isRead[position] = true
      neededFields = max(neededFields, position + 1)
    }
    track.ignored = names.indices.filter { !isRead[$0] }.map { names[$0] }
    hasHeader = true
  }

  private mutating func row() throws(TrackError) {
    track.rows += 1
    guard fields.count >= neededFields else {
      return try reject(.tooFewFields(line: line, fields: fields.count))
    }
    if selectionPosition >= 0, !equals(trimmed(fields[selectionPosition]), selected) {
      track.unselected += 1
      return
    }
    guard track.fixes.count < TrackReader.fixesMax else { throw .tooManyRows(line: line) }
    var fix = Fix()
    let wrong = TrackValues.read(into: &fix) { (buffer, field($0)) }
    if let wrong { return try reject(.badValue(line: line, column: wrong)) }
    noteDevice()
    fix.sequence = UInt64(track.fixes.count) + 1
    track.fixes.append(fix)
  }

  /// The column's field of this row; empty when the file has no such column.
  private func field(_ column: TrackColumn) -> Range<Int> {
    let position = positions[column.place]
    return position < 0 ? 0..<0 : trimmed(fields[position])
  }

  private func trimmed(_ range: Range<Int>) -> Range<Int> {
    var low = range.lowerBound
    var high = range.upperBound
    while low < high, buffer[low] == 0x20 { low += 1 }
    while high > low, buffer[high - 1] == 0x20 { high -= 1 }
    return low..<high
  }

  private func equals(_ range: Range<Int>, _ value: [UInt8]) -> Bool {
    guard range.count == value.count else { return false }
    for i in value.indices where buffer[range.lowerBound + i] != value[i] { return false }
    return true
  }

  private mutating func noteDevice() {
    let range = field(.device)
    if range.isEmpty || equals(range, device) { return }
    device = Array(buffer[range])
    let value = String(decoding: device, as: UTF8.self)
    if track.deviceValues.count < Track.deviceValuesMax, !track.deviceValues.contains(value) {
      track.deviceValues.append(value)
    }
  }

  private mutating func reject(_ error: TrackError) throws(TrackError) {
    guard skipBad else { throw error }
    track.skip(error, line: line)
  }
}

extension TrackColumn {
  /// Place in `allCases`, without a search.
  fileprivate var place: Int {
    switch self {
    case .latitude: 0
    case .longitude: 1
    case .time: 2
    case .device: 3
    case .speed: 4
    case .course: 5
    case .accuracy: 6
    case .altitude: 7
    case .battery: 8
    case .satellites: 9
    case .hdop: 10
    }
  }
}
