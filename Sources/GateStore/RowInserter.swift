internal import GateCore

/// Inserts rows into `fix`, one prepared statement a shape. Allocates nothing per row once a shape has been seen.
final class RowInserter {
  /// Shapes with a statement of their own. Devices decide about shapes: those beyond share the one with all columns.
  private static let shapesMax = 48

  /// Rows of one shape that go in with one statement: a run of SQLite's machine costs as much as a third of a row.
  private static let rowsAtOnce = 16

  private final class Insert {
    let statement: SQLiteStatement
    init(_ statement: consuming SQLiteStatement) { self.statement = statement }
  }

  private final class Prepared {
    let shape: RowShape
    let columnCount: Int32
    let one: Insert
    /// Takes `rowsAtOnce` rows; only for shapes without text, whose rows cannot fail one by one.
    let many: Insert?

    init(_ shape: RowShape, _ connection: borrowing SQLiteConnection) throws(StoreError) {
      self.shape = shape
      columnCount = Int32(shape.columns.count)
      one = try Prepared.insert(1, shape, connection)
      many = shape.hasText ? nil : try Prepared.insert(RowInserter.rowsAtOnce, shape, connection)
    }

    private static func insert(
      _ rows: Int, _ shape: RowShape, _ connection: borrowing SQLiteConnection
    ) throws(StoreError) -> Insert {
      let names = shape.columns
      let marks = "(" + [String](repeating: "?", count: names.count).joined(separator: ",") + ")"
      let text =
        "INSERT OR IGNORE INTO fix(\(names.joined(separator: ","))) VALUES "
        + [String](repeating: marks, count: rows).joined(separator: ",")
      return Insert(try SQLiteStatement(connection, text, persistent: true))
    }
  }

  private var prepared: [Prepared] = []
  private var full: Prepared?
  private var last: Prepared?
  private var text = RowText()
  /// Rows that wait for others of their shape; at most `rowsAtOnce`.
  private var waiting: [Record] = []
  private var waitingShape: Prepared?

  init() {}

  enum Failure: Error {
    /// The record's attributes or work cannot be read.
    case unreadable
    case store(StoreError)
  }

  /// Forgets rows that wait: the transaction they were meant for is undone.
  func discard() { waiting.removeAll(keepingCapacity: true) }

  /// Inserts the rows that wait.
  func flush() throws(StoreError) {
    guard let row = waitingShape, !waiting.isEmpty else { return }
    if waiting.count == RowInserter.rowsAtOnce, let many = row.many {
      for i in waiting.indices {
        unsafe bind(waiting[i], waiting[i].policyVersion, row.shape, many.statement, after: Int32(i) * row.columnCount, nil)
      }
      try many.statement.run()
    } else {
      for i in waiting.indices {
        unsafe bind(waiting[i], waiting[i].policyVersion, row.shape, row.one.statement, after: 0, nil)
        try row.one.statement.run()
      }
    }
    waiting.removeAll(keepingCapacity: true)
  }

  /// Inserts one row, or leaves the one that is there. It may wait for `flush`.
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
          unsafe bind(record, policy, row.shape, row.one.statement, after: 0, bytes)
          try row.one.statement.run()
        }
        // Nothing may point to the text any more when the next row overwrites it.
        row.one.statement.clear()
      } else {
        if waitingShape !== row || waiting.count == RowInserter.rowsAtOnce {
          try flush()
          waitingShape = row
        }
        waiting.append(record)
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
  /// - Parameter before: number of positions that belong to earlier rows of the statement.
  /// - Parameter bytes: the rendered text; `nil` = the row has none.
  @unsafe private func bind(
    _ record: Record, _ policy: UInt32, _ shape: RowShape, _ statement: borrowing SQLiteStatement, after before: Int32,
    _ bytes: UnsafeRawBufferPointer?
  ) {
    let fields = shape.fields
    let extras = shape.extras
    let present = record.fix.present
    statement.bind(Int64(record.device), at: before + 1)
    statement.bind(Int64(record.stream), at: before + 2)
    statement.bind(Int64(record.fix.sequence), at: before + 3)
    statement.bind(Int64(record.tenant), at: before + 4)
    statement.bind(record.receiveTimeMs, at: before + 5)
    statement.bind(Int64(record.code), at: before + 6)
    statement.bind(Int64(record.lane), at: before + 7)
    statement.bind(Int64(record.transport), at: before + 8)
    var at = before + 9
    if fields.contains(.time) {
      statement.bind(present.contains(.time) ? record.fix.fixTimeMs : nil, at: at)
      at += 1
    }
    if fields.contains(.position) {
      let known = present.contains(.position)
      statement.bind(known ? Int64(record.fix.latitudeE7) : nil, at: at)
      statement.bind(known ? Int64(record.fix.longitudeE7) : nil, at: at + 1)
      at += 2
    }
    var bits = fields.intersection(.columns).rawValue
    while bits != 0 {
      let index = bits.trailingZeroBitCount
      let bit = bits & (0 &- bits)
      let value = record.fix.values[index]
      if present.rawValue & bit == 0 {
        statement.bindNull(at: at)
      } else if Column.unsigned.rawValue & bit != 0 {
        statement.bind(Int64(UInt32(bitPattern: value)), at: at)
      } else {
        statement.bind(Int64(value), at: at)
      }
      at += 1
      bits &= bits &- 1
    }
    if fields.contains(.monotonic) {
      statement.bind(present.contains(.monotonic) ? Int64(clamping: record.fix.monotonicMs) : nil, at: at)
      at += 1
    }
    if extras.contains(.subject) {
      statement.bind(record.subject != 0 ? Int64(record.subject) : nil, at: at)
      at += 1
    }
    if extras.contains(.policyVersion) {
      statement.bind(policy != 0 ? Int64(policy) : nil, at: at)
      at += 1
    }
    let texts = extras.intersection([.workSubject, .task, .stop, .originals, .attributes])
    if texts.isEmpty { return }
    // The shape with all columns also serves rows without any text, when `text` is still that of an earlier row.
    let ranges: InlineArray<5, Range<Int>?> = [text.workSubject, text.task, text.stop, text.originals, text.attributes]
    let kinds: InlineArray<5, RowShape.Extras> = [.workSubject, .task, .stop, .originals, .attributes]
    for i in 0..<5 where texts.contains(kinds[i]) {
      if let bytes = unsafe bytes, let range = ranges[i] {
        unsafe statement.bindInPlace(text: UnsafeRawBufferPointer(rebasing: bytes[range]), at: at)
      } else {
        statement.bindNull(at: at)
      }
      at += 1
    }
  }
}
