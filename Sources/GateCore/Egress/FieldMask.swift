/// What a sink gets of each record. Who, when and which sequence it always gets; a record with neither place nor values still
/// says that there was one.
package struct FieldMask: Equatable, Sendable {
  package static let position = "position"
  private static let monotonic = "monotonic_ms"
  private static let work = "work"
  private static let attributes = "attributes"

  /// As an operator may name them.
  package static let names = [position, monotonic] + Column.allCases.map(\.wireName) + [work, attributes]

  private var fields: FixFields = [.time]
  private var hasWork = false
  private var hasAttributes = false

  /// - Parameter names: all that the sink gets; empty = everything. `nil` if one is no field.
  package init?(_ names: [String]) {
    for name in names.isEmpty ? FieldMask.names : names {
      switch name {
      case FieldMask.position: fields.insert(.position)
      case FieldMask.monotonic: fields.insert(.monotonic)
      case FieldMask.work: hasWork = true
      case FieldMask.attributes: hasAttributes = true
      default:
        guard let column = Column.allCases.first(where: { $0.wireName == name }) else { return nil }
        fields.insert(FixFields(column))
      }
    }
  }

  package var isAll: Bool { self == FieldMask([]) }

  /// Writes the records of a batch anew, as the sink may have them, LSN by LSN.
  ///
  /// A record that cannot be read is not passed on: an empty one that cannot be read either stands in its place, and with it
  /// for all behind it in the batch.
  /// - Parameter out: is filled with the records, and nothing else.
  package func apply(to bytes: Span<UInt8>, records: Range<Int>, into out: inout [UInt8]) {
    out.removeAll(keepingCapacity: true)
    var room = [UInt8](repeating: 0, count: Limits.recordBytesMax)
    var at = records.lowerBound
    let bytes = bytes.extracting(first: records.upperBound)
    while at < records.upperBound {
      guard let (record, end) = try? Record.read(bytes, at: at) else {
        out += [UInt8](repeating: 0, count: 8)
        return
      }
      let masked = mask(record)
      var span = room.mutableSpan
      let count = masked.write(into: &span, at: 0, from: bytes)
      out += room[..<count]
      at = end
    }
  }

  private func mask(_ record: Record) -> Record {
    // A gap's `fixTimeMs` is a number of sequences, and there is nothing else in it, or in what was refused.
    guard record.kind == .fix || record.kind == .held else { return record }
    var masked = record
    masked.fix.present = record.fix.present.intersection(fields)
    if !fields.contains(.position) {
      masked.fix.latitudeE7 = 0
      masked.fix.longitudeE7 = 0
    }
    if !hasAttributes { masked.fix.attributes = Region() }
    if !hasWork { masked.fix.work = Region() }
    // An original may be of any field.
    masked.originalCount = 0
    return masked
  }
}
