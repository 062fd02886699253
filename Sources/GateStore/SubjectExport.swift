/// Writes all that is held about a subject, thing by thing: `begin`, `append` for each, `end`.
///
/// CSV (RFC 4180, lines end in LF): a column for the kind, then one for every name there is. GeoJSON (RFC 7946): one feature
/// for each thing, its geometry null where it has no place. Numbers are as they are stored, units last in their names.
package struct SubjectExport: ~Copyable {
  package enum Format: String, CaseIterable, Sendable { case geojson, csv }

  /// Names of what the registry adds.
  private static let registryNames = ["since_ms", "until_ms", "from_ms", "to_ms"]
  private static let names = SubjectReader.names + registryNames
  private static let chunkBytes = 32_768

  private let format: Format
  private let out: ([UInt8]) throws -> Void
  private var bytes: [UInt8] = []
  private var count = 0

  package init(_ format: Format, out: @escaping ([UInt8]) throws -> Void) {
    self.format = format
    self.out = out
  }

  package mutating func begin() {
    switch format {
    case .csv: text("kind," + SubjectExport.names.joined(separator: ",") + "\n")
    case .geojson: text("{\"type\":\"FeatureCollection\",\"features\":[")
    }
  }

  package mutating func append(_ datum: SubjectDatum) throws {
    switch format {
    case .csv: csv(datum)
    case .geojson: geojson(datum)
    }
    count += 1
    if bytes.count > SubjectExport.chunkBytes { try flush() }
  }

  package mutating func end() throws {
    if format == .geojson { text("\n]}\n") }
    try flush()
  }

  private mutating func flush() throws {
    try out(bytes)
    bytes.removeAll(keepingCapacity: true)
  }

  private mutating func csv(_ datum: SubjectDatum) {
    text(datum.kind)
    for name in SubjectExport.names {
      text(",")
      switch datum.fields.first(where: { $0.name == name })?.value {
      case nil: break
      case .number(let value)?: bytes.append(decimal: value)
      case .text(let value)?: text("\"" + value.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\"")
      }
    }
    text("\n")
  }

  private mutating func geojson(_ datum: SubjectDatum) {
    text(count == 0 ? "\n" : ",\n")
    text("{\"type\":\"Feature\",\"geometry\":")
    if let latitude = datum.number("latitude_e7"), let longitude = datum.number("longitude_e7") {
      text("{\"type\":\"Point\",\"coordinates\":[")
      bytes.append(fixed: longitude, places: 7)
      text(",")
      bytes.append(fixed: latitude, places: 7)
      text("]}")
    } else {
      text("null")
    }
    text(",\"properties\":{\"kind\":\"\(datum.kind)\"")
    for (name, value) in datum.fields {
      text(",\"\(name)\":")
      switch value {
      case .number(let value): bytes.append(decimal: value)
      case .text(let value):
        let content = Array(value.utf8)
        bytes.append(json: 0..<content.count, of: content.span)
      }
    }
    text("}}")
  }

  private mutating func text(_ text: String) { bytes.append(contentsOf: text.utf8) }
}
