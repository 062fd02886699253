internal import GateCore

/// Inserts rows into `fix`, one prepared statement a shape. Allocates nothing per row once a shape has been seen.
final class RowInserter {
  /// Shapes with a statement of their own. Devices decide about shapes: those beyond share the one with all columns.
  private static let shapesMax = 48

  private final class Prepared {
    let shape: RowShape
    let statement: SQLiteStatement
    init(_ shape: RowShape, _ connection: borrowing SQLiteConnection) throws(StoreError) {
      self.shape = shape
      let names = shape.columns
      let marks = [String](repeating: "?", count: names.count).joined(separator: ",")
      statement = try SQLiteStatement(
        connection, "INSERT OR IGNORE INTO fix(\(names.joined(separator: ","))) VALUES (\(marks))", persistent: true)
    }
  }

  private var prepared: [Prepared] = []
  private var full: Prepared?
  private var last: Prepared?
  private var text = RowText()

  init() {}

  enum Failure: Error {
    /// The record's attributes or work cannot be read.
    case unreadable
    case store(StoreError)
  }

  /// Inserts one row, or leaves the one that is there.
  /// - Parameter source: the bytes the record was read from.
  func insert(
    _ record: Record, from source: Span<UInt8>, into connection: borrowing SQLiteConnection
  ) throws(Failure) {
    var shape = RowShape(fields: record.fix.present, extras: [])
    let hasText = !record.fix.work.isEmpty || !record.fix.attributes.isEmpty || record.originalCount > 0
    if hasText {
      do { try text.render(record, from: source) } catch { throw .unreadable }
      if text.workSubject != nil { shape.extras.insert(.workSubject) }
      if text.task != nil { shape.extras.insert(.task) }
      if text.stop != nil { shape.extras.insert(.stop) }
      if text.originals != nil { shape.extras.insert(.originals) }
      if text.attributes != nil { shape.extras.insert(.attributes) }
    }
    let policy = record.policyVersion != 0 ? record.policyVersion : hasText ? text.policyVersion ?? 0 : 0
    if record.subject != 0 { shape.extras.insert(.subject) }
    if policy != 0 { shape.extras.insert(.policyVersion) }
    do throws(StoreError) {
      let row = try statement(for: shape, connection)
      if hasText {
        let rendered = text.bytes
        try unsafe rendered.span.withUnsafeBytes { (bytes) throws(StoreError) in
          unsafe bind(record, policy, row, bytes)
          try row.statement.run()
        }
        // Nothing may point to the text any more when the next row overwrites it.
        row.statement.clear()
      } else {
        unsafe bind(record, policy, row, UnsafeRawBufferPointer(start: nil, count: 0))
        try row.statement.run()
      }
    } catch {
      throw .store(error)
    }
  }

  private func statement(
    for shape: RowShape, _ connection: borrowing SQLiteConnection
  ) throws(StoreError) -> Prepared {
    if let last, last.shape == shape { return last }
    if let known = prepared.first(where: { $0.shape == shape }) {
      last = known
      return known
    }
    if prepared.count < RowInserter.shapesMax {
      let new = try Prepared(shape, connection)
      prepared.append(new)
      last = new
      return new
    }
    if let full { return full }
    let new = try Prepared(.full, connection)
    full = new
    return new
  }

  /// Binds what the shape names, in the order of `RowShape.columns`.
  @unsafe private func bind(_ record: Record, _ policy: UInt32, _ row: Prepared, _ bytes: UnsafeRawBufferPointer) {
    let fields = row.shape.fields
    let extras = row.shape.extras
    let present = record.fix.present
    row.statement.bind(Int64(record.device), at: 1)
    row.statement.bind(Int64(record.stream), at: 2)
    row.statement.bind(Int64(record.fix.sequence), at: 3)
    row.statement.bind(Int64(record.tenant), at: 4)
    row.statement.bind(record.receiveTimeMs, at: 5)
    row.statement.bind(Int64(record.code), at: 6)
    row.statement.bind(Int64(record.lane), at: 7)
    row.statement.bind(Int64(record.transport), at: 8)
    var at: Int32 = 9
    if fields.contains(.time) {
      row.statement.bind(present.contains(.time) ? record.fix.fixTimeMs : nil, at: at)
      at += 1
    }
    if fields.contains(.position) {
      let known = present.contains(.position)
      row.statement.bind(known ? Int64(record.fix.latitudeE7) : nil, at: at)
      row.statement.bind(known ? Int64(record.fix.longitudeE7) : nil, at: at + 1)
      at += 2
    }
    var bits = fields.intersection(.columns).rawValue
    while bits != 0 {
      let index = bits.trailingZeroBitCount
      let bit = bits & (0 &- bits)
      let value = record.fix.values[index]
      if present.rawValue & bit == 0 {
        row.statement.bindNull(at: at)
      } else if Column.unsigned.rawValue & bit != 0 {
        row.statement.bind(Int64(UInt32(bitPattern: value)), at: at)
      } else {
        row.statement.bind(Int64(value), at: at)
      }
      at += 1
      bits &= bits &- 1
    }
    if fields.contains(.monotonic) {
      row.statement.bind(present.contains(.monotonic) ? Int64(clamping: record.fix.monotonicMs) : nil, at: at)
      at += 1
    }
    if extras.contains(.subject) {
      row.statement.bind(record.subject != 0 ? Int64(record.subject) : nil, at: at)
      at += 1
    }
    if extras.contains(.policyVersion) {
      row.statement.bind(policy != 0 ? Int64(policy) : nil, at: at)
      at += 1
    }
    let texts = extras.intersection([.workSubject, .task, .stop, .originals, .attributes])
    if texts.isEmpty { return }
    // The shape with all columns also serves rows without any text, when `text` is still that of an earlier row.
    let rendered = unsafe bytes.baseAddress != nil
    func bindText(_ extra: RowShape.Extras, _ range: Range<Int>?) {
      guard texts.contains(extra) else { return }
      if rendered, let range {
        unsafe row.statement.bindInPlace(text: UnsafeRawBufferPointer(rebasing: bytes[range]), at: at)
      } else {
        row.statement.bindNull(at: at)
      }
      at += 1
    }
    bindText(.workSubject, text.workSubject)
    bindText(.task, text.task)
    bindText(.stop, text.stop)
    bindText(.originals, text.originals)
    bindText(.attributes, text.attributes)
  }
}
