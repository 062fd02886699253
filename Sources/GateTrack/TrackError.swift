/// A column that a track file may have, by what it means.
package enum TrackColumn: String, CaseIterable, Sendable {
  case latitude, longitude, time, device, speed, course, accuracy, altitude, battery, satellites, hdop

  /// Usual names, in lower case. The first of a file's columns with such a name is taken.
  var names: [String] {
    switch self {
    case .latitude: ["lat", "latitude"]
    case .longitude: ["lng", "lon", "long", "longitude"]
    case .time: ["datetime", "time", "timestamp", "date", "fixtime", "fix_time", "date_time"]
    case .device: ["uid", "device", "device_id", "deviceid", "user", "user_id", "userid", "id"]
    case .speed: ["speed", "speed_mps", "speed_m_s"]
    case .course: ["course", "bearing", "heading"]
    case .accuracy: ["accuracy", "hacc", "horizontal_accuracy", "acc"]
    case .altitude: ["altitude", "alt", "ele", "elevation"]
    case .battery: ["battery", "batt", "battery_percent"]
    case .satellites: ["sats", "satellites", "sat", "satellites_used"]
    case .hdop: ["hdop"]
    }
  }
}

/// Why a track file cannot be read. `description` says what to do. Lines count from 1, the header is line 1.
package enum TrackError: Error, Equatable, Sendable {
  /// The system's error number.
  case cannotOpen(errno: Int32)
  /// The gzip data are cut off or damaged; `code` is zlib's. Nothing of the file is used.
  case damagedArchive(code: Int32)
  case empty
  case missingColumn(TrackColumn)
  /// The column that `--select` names is not in the header.
  case unknownSelection
  case badValue(line: Int, column: TrackColumn)
  /// The row has fewer fields than the columns that are read need.
  case tooFewFields(line: Int, fields: Int)
  /// A quoted field is not closed, or goes on behind its closing quote.
  case badQuote(line: Int)
  /// Longer than `TrackReader.rowBytesMax`.
  case rowTooLong(line: Int)
  /// More than `TrackReader.fieldsMax` columns.
  case tooManyColumns
  /// More rows than a sequence may count here.
  case tooManyRows(line: Int)
  /// The file has rows, but none that `--select` asks for.
  case nothingSelected
  /// GPX that ends too early, or is no XML.
  case badXML(line: Int)
  /// XML, but not GPX.
  case notGPX
  /// GPX with declarations of a document type or with processing instructions.
  case declarations
  /// GPX in another encoding, or no text.
  case notUTF8
  /// A GPX file is not selected from.
  case selectionOfGPX
}

extension TrackError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .cannotOpen(let errno): "cannot be opened (system error \(errno)): check the path and its permissions"
    case .damagedArchive(let code):
      "the gzip data are damaged or cut off (zlib \(code)): copy the file anew and test it with gzip -t"
    case .empty: "the file is empty: it needs a header line, for instance lat,lon,time"
    case .missingColumn(let column):
      "no column for \(column.rawValue): name one \(column.names.joined(separator: ", ")) in the header line"
    case .unknownSelection:
      "--select names a column that is not in the header line: use --select COLUMN=VALUE with one that is"
    case .badValue(let line, let column):
      "line \(line): \(column.rawValue) is not a value that can be read: correct the line, or pass --skip-bad"
    case .tooFewFields(let line, let fields):
      "line \(line): only \(fields) fields: correct the line, or pass --skip-bad"
    case .badQuote(let line): "line \(line): a quoted field is not closed as RFC 4180 wants: correct the line"
    case .rowTooLong(let line): "line \(line): longer than \(TrackReader.rowBytesMax) bytes: this may not be a CSV file"
    case .tooManyColumns: "more than \(TrackReader.fieldsMax) columns: this may not be a CSV file"
    case .tooManyRows(let line): "line \(line): more than \(TrackReader.fixesMax) fixes: split the file"
    case .nothingSelected: "no row has the selected value: check --select"
    case .badXML(let line): "line \(line): the XML is broken or cut off here: copy the file anew"
    case .notGPX: "XML, but not GPX: export the track as GPX or CSV"
    case .declarations:
      "it has a document type or processing instructions, which no recorded track needs: export it anew"
    case .notUTF8: "it is not text in UTF-8: convert it, for instance with iconv -t utf-8"
    case .selectionOfGPX: "--select is for CSV: a GPX file is sent as a whole"
    }
  }
}
