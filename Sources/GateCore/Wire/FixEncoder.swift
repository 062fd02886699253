/// Writes fixes as a device does (proto/fixgate.proto): the device's side of `FixDecoder`. Off the gateway's hot path.
package enum FixEncoder {
  /// Appends one row, as field 2 of `Uplink`.
  /// - Parameter source: the bytes that the fix's `attributes` and `work` are regions of.
  package static func row(_ fix: Fix, from source: Span<UInt8>, into out: inout [UInt8]) {
    let start = out.count
    WireWriter.field(1, fix.sequence, into: &out)
    if fix.present.contains(.time) { WireWriter.field(2, UInt64(bitPattern: fix.fixTimeMs), into: &out) }
    if fix.present.contains(.position) {
      WireWriter.fixed32(3, UInt32(bitPattern: fix.latitudeE7), into: &out)
      WireWriter.fixed32(4, UInt32(bitPattern: fix.longitudeE7), into: &out)
    }
    for column in Column.allCases {
      if let value = fix[column] { WireWriter.field(UInt32(column.rawValue), rowValue(value, column), into: &out) }
    }
    if fix.present.contains(.monotonic) { WireWriter.field(29, fix.monotonicMs, into: &out) }
    entries(30, of: fix.work, from: source, into: &out)
    entries(31, of: fix.attributes, from: source, into: &out)
    WireWriter.enclose(2, from: start, in: &out)
  }

  private static func rowValue(_ value: Int32, _ column: Column) -> UInt64 {
    switch column {
    case .altitudeEllipsoidDm, .altitudeMslDm, .signalDbm: WireWriter.zigzag32(UInt32(bitPattern: value))
    case .fixMode, .source, .trigger, .event, .priority, .activity, .charging, .connectivity:
      UInt64(bitPattern: Int64(value))  // int32: a negative number takes ten bytes
    default: UInt64(UInt32(bitPattern: value))
    }
  }

  /// Copies the fields of one number from a region, and not what lies between them: there the same numbers may mean
  /// something else.
  private static func entries(
    _ number: UInt32, of region: Region, from source: Span<UInt8>, into out: inout [UInt8]
  ) {
    let source = source.extracting(first: region.range.upperBound)
    var at = region.range.lowerBound
    while at < source.count {
      let tagAt = at
      guard let tag = try? WireReader.tag(source, &at),
        (try? WireReader.skip(tag, source, &at, tagAt: tagAt)) != nil
      else { preconditionFailure("a region holds whole fields") }
      if tag == number &<< 3 | 2 { for i in tagAt..<at { out.append(source[i]) } }
    }
  }

  /// Appends consecutive fixes without attributes as one batch. See `batch(_:work:from:into:)`.
  package static func batch(_ fixes: ArraySlice<Fix>, work: [UInt8], into out: inout [UInt8]) {
    let nothing: [UInt8] = []
    batch(fixes, work: work, from: nothing.span, into: &out)
  }

  /// Appends consecutive fixes in column form, as field 3 of `Uplink`, in as few bytes as the form allows: the time unit,
  /// masks, and columns cut off where their last difference goes on.
  /// - Parameters:
  ///   - fixes: 1 to `Limits.fixesPerFrameMax`, each with the sequence after the one before.
  ///   - work: body of one `Work` message, of every fix; empty for none. The fixes' own `work` is not looked at.
  ///   - source: the bytes that the fixes' `attributes` are regions of.
  package static func batch(
    _ fixes: ArraySlice<Fix>, work: [UInt8], from source: Span<UInt8>, into out: inout [UInt8]
  ) {
    precondition(!fixes.isEmpty && fixes.count <= Limits.fixesPerFrameMax)
    let first = fixes[fixes.startIndex].sequence
    let start = out.count
    WireWriter.field(1, first, into: &out)
    var masks: [UInt8] = []
    let unit = timeUnit(fixes)
    column(2, of: fixes, has: .time, wide: true, masks: &masks, into: &out) {
      UInt64(bitPattern: $0.fixTimeMs / Int64(unit))
    }
    column(3, of: fixes, has: .position, masks: &masks, into: &out) { UInt64(bitPattern: Int64($0.latitudeE7)) }
    var sharedMask: [UInt8] = []
    column(4, of: fixes, has: .position, masks: &sharedMask, into: &out) { UInt64(bitPattern: Int64($0.longitudeE7)) }
    for each in Column.allCases {
      column(UInt32(each.rawValue), of: fixes, has: FixFields(each), masks: &masks, into: &out) {
        UInt64(bitPattern: Int64($0.values[each.index]))
      }
    }
    column(29, of: fixes, has: .monotonic, wide: true, masks: &masks, into: &out) { $0.monotonicMs }
    if !work.isEmpty {
      WireWriter.header(30, bytes: work.count, into: &out)
      out += work
    }
    for (index, fix) in fixes.enumerated() {
      precondition(fix.sequence == first &+ UInt64(index))
      if fix.attributes.isEmpty { continue }
      let bodyAt = out.count
      WireWriter.field(1, UInt64(index), into: &out)
      entries(31, of: fix.attributes, from: source, into: &out)
      WireWriter.enclose(31, from: bodyAt, in: &out)
    }
    WireWriter.field(32, UInt64(fixes.count), into: &out)
    if unit > 1 { WireWriter.field(33, unit, into: &out) }
    out += masks
    WireWriter.enclose(3, from: start, in: &out)
  }

  /// Appends one column, and its mask to `masks` if only some fixes have it.
  private static func column(
    _ number: UInt32, of fixes: ArraySlice<Fix>, has bit: FixFields, wide: Bool = false, masks: inout [UInt8],
    into out: inout [UInt8], _ value: (Fix) -> UInt64
  ) {
    let values = differences(fixes, has: bit, wide: wide, value)
    if values.isEmpty { return }
    WireWriter.header(number, bytes: values.reduce(0) { $0 + WireWriter.varintBytes($1) }, into: &out)
    for each in values { WireWriter.varint(each, into: &out) }
    if fixes.allSatisfy({ $0.present.contains(bit) }) { return }
    var present = [UInt8](repeating: 0, count: (fixes.count + 7) / 8)
    for (i, fix) in fixes.enumerated() where fix.present.contains(bit) { present[i / 8] |= 1 << UInt8(i % 8) }
    while present.last == 0 { present.removeLast() }
    let start = masks.count
    WireWriter.field(1, UInt64(number), into: &masks)
    WireWriter.header(2, bytes: present.count, into: &masks)
    masks += present
    WireWriter.enclose(34, from: start, in: &masks)
  }

  /// Zigzag-encoded first value and differences, without those at the end that only repeat.
  private static func differences(
    _ fixes: ArraySlice<Fix>, has bit: FixFields, wide: Bool, _ value: (Fix) -> UInt64
  ) -> [UInt64] {
    var values: [UInt64] = []
    var before: UInt64 = 0
    for fix in fixes where fix.present.contains(bit) {
      let now = value(fix)
      let difference = now &- before
      values.append(
        wide ? WireWriter.zigzag64(difference) : WireWriter.zigzag32(UInt32(truncatingIfNeeded: difference)))
      before = now
    }
    while values.count >= 2, values[values.count - 1] == (values.count == 2 ? 0 : values[values.count - 2]) {
      values.removeLast()
    }
    return values
  }

  /// The greatest common divisor of all times where that saves bytes, else 1.
  private static func timeUnit(_ fixes: ArraySlice<Fix>) -> UInt64 {
    var divisor: UInt64 = 0
    for fix in fixes where fix.present.contains(.time) {
      var rest = fix.fixTimeMs.magnitude
      while rest != 0 { (divisor, rest) = (rest, divisor % rest) }
      if divisor == 1 { return 1 }
    }
    guard divisor > 1, divisor <= UInt64(UInt32.max) else { return 1 }
    func bytes(_ unit: UInt64) -> Int {
      differences(fixes, has: .time, wide: true) { UInt64(bitPattern: $0.fixTimeMs / Int64(unit)) }
        .reduce(0) { $0 + WireWriter.varintBytes($1) }
    }
    return bytes(divisor) + 2 + WireWriter.varintBytes(divisor) < bytes(1) ? divisor : 1
  }
}
