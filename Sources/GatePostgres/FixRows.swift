#if PostgreSQL
import GateCore
import GateStore

/// Fixes as rows of table `fix`, in the order of its key.
struct FixRows {
  /// A fix and where it goes.
  struct Place: BitwiseCopyable {
    var entry: PendingRecords.Entry
    var tenant: Int32
    var device: Int32
  }

  /// The columns that any row of a transaction fills; the others are not named, and NULL.
  struct Columns {
    let shape: RowShape
    let copyText: String
    let insertText: String
    var hasPositions: Bool { shape.fields.contains([.position, .time]) }
    let count: Int

    init(_ places: [Place], _ bytes: Span<UInt8>) {
      var fields = FixFields()
      var extras = RowShape.Extras()
      for place in places {
        let at = place.entry.at
        fields.formUnion(FixFields(rawValue: bytes.load32(at: at + Record.presentOffset)))
        if bytes[at + 5] > 0 { extras.insert(.originals) }
        if bytes.load32(at: at + Record.subjectOffset) > 0 { extras.insert(.subject) }
        if bytes.load16(at: at + Record.attributesLengthOffset) > 0 { extras.insert(.attributes) }
        if bytes.load32(at: at + Record.policyOffset) > 0 { extras.insert(.policyVersion) }
        if bytes.load16(at: at + Record.workLengthOffset) > 0 {
          extras.formUnion([.workSubject, .task, .stop, .policyVersion])
        }
      }
      fields.formIntersection(RowShape.full.fields)
      shape = RowShape(fields: fields, extras: extras)
      let columns = shape.columns
      count = columns.count
      let names = columns.joined(separator: ", ")
      copyText = "COPY staged_fix(is_latest, \(names)) FROM STDIN (FORMAT binary)"
      insertText = "INSERT INTO fixgate.fix(\(names)) SELECT \(names) FROM staged_fix ON CONFLICT DO NOTHING"
    }
  }

  /// The newest position of each device, unless the table has a newer one.
  static let latestText = """
    INSERT INTO fixgate.latest AS l(device, tenant, subject, stream, sequence, fix_time_ms, receive_time_ms, latitude_e7,
    longitude_e7, horizontal_accuracy_dm, speed_cm_per_s, course_cdeg, battery_percent)
    SELECT device, tenant, subject, stream, sequence, fix_time_ms, receive_time_ms, latitude_e7, longitude_e7,
    horizontal_accuracy_dm, speed_cm_per_s, course_cdeg, battery_percent FROM staged_fix WHERE is_latest ORDER BY device
    ON CONFLICT (device) DO UPDATE SET tenant = excluded.tenant, subject = excluded.subject, stream = excluded.stream,
    sequence = excluded.sequence, fix_time_ms = excluded.fix_time_ms, receive_time_ms = excluded.receive_time_ms,
    latitude_e7 = excluded.latitude_e7, longitude_e7 = excluded.longitude_e7,
    horizontal_accuracy_dm = excluded.horizontal_accuracy_dm, speed_cm_per_s = excluded.speed_cm_per_s,
    course_cdeg = excluded.course_cdeg, battery_percent = excluded.battery_percent
    WHERE (least(excluded.fix_time_ms, excluded.receive_time_ms), excluded.sequence)
    > (least(l.fix_time_ms, l.receive_time_ms), l.sequence)
    """

  private(set) var rows = CopyRows()
  private var text = RowText()

  /// The fixes in the order of the key. Those of devices that the registry does not know go aside.
  static func places(
    of pending: borrowing PendingRecords, _ names: PostgresNames, _ asides: inout [PendingRecords.Aside]
  ) -> [Place] {
    var places: [Place] = []
    places.reserveCapacity(pending.fixes.count)
    for entry in pending.fixes {
      guard let known = names.device(entry.device) else {
        asides.append(
          PendingRecords.Aside(lsn: entry.lsn, count: 1, reason: "device unknown to the registry", range: pending.range(of: entry)))
        continue
      }
      places.append(Place(entry: entry, tenant: known.tenant, device: known.device))
    }
    places.sort {
      ($0.tenant, $0.device, $0.entry.key & 0xFFFF_FFFF, $0.entry.sequence)
        < ($1.tenant, $1.device, $1.entry.key & 0xFFFF_FFFF, $1.entry.sequence)
    }
    return places
  }

  /// Where the next rows to be sent end: enough of them, and all of their last device.
  static func pieceEnd(of places: ArraySlice<Place>, from start: Int) -> Int {
    var end = min(start + pieceRows, places.endIndex)
    while end < places.endIndex, places[end].device == places[end - 1].device { end += 1 }
    return end
  }

  /// So many are rendered while the server reads those before.
  private static let pieceRows = 1_000

  /// Renders these places as `rows`: all, or a piece of them.
  /// - Returns: those that cannot be rendered, and are left out.
  mutating func render(
    _ places: ArraySlice<Place>, isFirst: Bool, isLast: Bool, _ columns: Columns, _ bytes: Span<UInt8>,
    _ names: PostgresNames
  ) -> [Place] {
    var unreadable: [Place] = []
    var newest: (device: Int32, position: LatestPosition, flag: Int)?
    rows.begin(signed: isFirst)
    for place in places {
      let record = PendingRecords.record(bytes, place.entry.at)
      guard let flag = append(record, place, columns, bytes, names) else {
        unreadable.append(place)
        continue
      }
      guard let position = LatestPosition(record) else { continue }
      if let known = newest, known.device == place.device {
        if position.isNewer(than: known.position) { newest = (place.device, position, flag) }
      } else {
        if let newest { rows.set(flagAt: newest.flag) }
        newest = (place.device, position, flag)
      }
    }
    if let newest { rows.set(flagAt: newest.flag) }
    if isLast { rows.end() }
    return unreadable
  }

  /// - Returns: where the row's flag stands; `nil` if its texts cannot be stored.
  private mutating func append(
    _ record: Record, _ place: Place, _ columns: Columns, _ bytes: Span<UInt8>, _ names: PostgresNames
  ) -> Int? {
    let hasText = !record.fix.work.isEmpty || !record.fix.attributes.isEmpty || record.originalCount > 0
    if hasText {
      guard (try? text.render(record, from: bytes)) != nil, FixRows.isUTF8(text) else { return nil }
    }
    let shape = columns.shape
    let present = record.fix.present
    rows.beginRow(fields: columns.count + 1, textBytes: hasText ? text.bytes.count : 0)
    let flag = rows.append(flag: false)
    rows.append(place.device)
    rows.append(Int64(record.stream))
    rows.append(Int64(record.fix.sequence))
    rows.append(place.tenant)
    rows.append(record.receiveTimeMs)
    rows.append(Int32(record.code))
    rows.append(Int32(record.lane))
    rows.append(Int32(record.transport))
    if shape.fields.contains(.time) {
      if present.contains(.time) { rows.append(record.fix.fixTimeMs) } else { rows.appendNull() }
    }
    if shape.fields.contains(.position) {
      if present.contains(.position) {
        rows.append(record.fix.latitudeE7)
        rows.append(record.fix.longitudeE7)
      } else {
        rows.appendNull()
        rows.appendNull()
      }
    }
    var bits = shape.fields.intersection(.columns).rawValue
    while bits != 0 {
      let bit = bits & (0 &- bits)
      let value = record.fix.values[bits.trailingZeroBitCount]
      if present.rawValue & bit == 0 {
        rows.appendNull()
      } else if Column.unsigned.rawValue & bit != 0 {
        rows.append(Int64(UInt32(bitPattern: value)))
      } else {
        rows.append(value)
      }
      bits &= bits &- 1
    }
    if shape.fields.contains(.monotonic) {
      if present.contains(.monotonic) { rows.append(Int64(clamping: record.fix.monotonicMs)) } else { rows.appendNull() }
    }
    if shape.extras.contains(.subject) {
      if let subject = names.subject(record.subject) { rows.append(subject) } else { rows.appendNull() }
    }
    if shape.extras.contains(.policyVersion) {
      let policy = record.policyVersion != 0 ? record.policyVersion : hasText ? text.policyVersion ?? 0 : 0
      if policy != 0 { rows.append(Int64(policy)) } else { rows.appendNull() }
    }
    let rendered = text.bytes
    let ranges: InlineArray<5, Range<Int>?> = [text.workSubject, text.task, text.stop, text.originals, text.attributes]
    let kinds: InlineArray<5, RowShape.Extras> = [.workSubject, .task, .stop, .originals, .attributes]
    for i in 0..<5 where shape.extras.contains(kinds[i]) {
      // `text` may still be that of an earlier row.
      if hasText, let range = ranges[i] {
        let source = rendered.span.extracting(range)
        if i < 3 { rows.append(source) } else { rows.append(json: source) }
      } else {
        rows.appendNull()
      }
    }
    return flag
  }

  /// Each text by itself: what is cut in one must not go on in the next.
  private static func isUTF8(_ text: RowText) -> Bool {
    let bytes = text.bytes
    for range in [text.workSubject, text.task, text.stop, text.attributes] {
      guard let range else { continue }
      if (try? UTF8Span(validating: bytes.span.extracting(range))) == nil { return false }
    }
    return true
  }
}

/// Held and refused fixes, and gaps, on their way into tables of their own.
enum OtherRows {
  static let copyText = "COPY staged_other FROM STDIN (FORMAT binary)"

  static let heldText = """
    INSERT INTO fixgate.quarantine(tenant, device, stream, sequence, code, receive_time_ms, record)
    SELECT tenant, device, stream, sequence, code, receive_time_ms, record FROM staged_other
    WHERE kind = \(RecordKind.held.rawValue) ORDER BY tenant, device, stream, sequence ON CONFLICT DO NOTHING
    """
  static let refusedText = """
    INSERT INTO fixgate.refused(tenant, device, stream, sequence, code, receive_time_ms)
    SELECT tenant, device, stream, sequence, code, receive_time_ms FROM staged_other
    WHERE kind = \(RecordKind.refused.rawValue) ORDER BY tenant, device, stream, sequence ON CONFLICT DO NOTHING
    """
  static let gapText = """
    INSERT INTO fixgate.gap(tenant, device, stream, first, count, reason, receive_time_ms)
    SELECT tenant, device, stream, sequence, count, code, receive_time_ms FROM staged_other
    WHERE kind = \(RecordKind.gap.rawValue) ORDER BY tenant, device, stream, sequence ON CONFLICT DO NOTHING
    """

  /// - Returns: the rows, and how many of them are of fixes; `nil` = there are none.
  static func render(
    _ pending: borrowing PendingRecords, _ names: PostgresNames, _ asides: inout [PendingRecords.Aside]
  ) -> (rows: CopyRows, fixes: Int)? {
    if pending.others.isEmpty { return nil }
    let bytes = pending.bytes
    var rows = CopyRows()
    var fixes = 0
    rows.begin()
    for entry in pending.others {
      guard let known = names.device(entry.device) else {
        asides.append(
          PendingRecords.Aside(lsn: entry.lsn, count: 1, reason: "device unknown to the registry", range: pending.range(of: entry)))
        continue
      }
      let record = PendingRecords.record(bytes.span, entry.at)
      let range = pending.range(of: entry)
      rows.beginRow(fields: 9, textBytes: range.count)
      rows.append(Int16(record.kind.rawValue))
      rows.append(known.tenant)
      rows.append(known.device)
      rows.append(Int64(record.stream))
      rows.append(Int64(record.fix.sequence))
      rows.append(Int32(record.code))
      rows.append(record.receiveTimeMs)
      rows.append(record.kind == .gap ? record.fix.fixTimeMs : 1)
      if record.kind == .held { rows.append(bytes.span.extracting(range)) } else { rows.appendNull() }
      if record.kind != .gap { fixes += 1 }
    }
    rows.end()
    return (rows, fixes)
  }
}
#endif
