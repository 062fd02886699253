/// Takes less of a fix: leaves out what the policy does not list, and moves positions to the middle of a cell. Runs in the
/// worker, before anything is written.
package struct Minimiser: Equatable, Sendable {
  private let taken: TakenFields
  private let grid: Grid?

  package init(_ taken: TakenFields, gridM: UInt16) {
    self.taken = taken
    grid = Grid(metres: gridM)
  }

  /// What is left of attributes and work: nothing but whole fields of these two, so that no other part of a fix hides between.
  package static let keptBytesMax = Limits.attributeBytesMax + Limits.workBytesMax

  /// - Parameters:
  ///   - bytes: what the record's regions are positions in.
  ///   - kept: at least `keptBytesMax`; what the regions are positions in afterwards.
  /// - Returns: number of fields and attributes that were left out.
  package func minimise(_ record: inout Record, from bytes: Span<UInt8>, keeping kept: inout MutableSpan<UInt8>) -> Int {
    var dropped = 0
    let banned = record.fix.present.intersection(TakenFields.allColumns).subtracting(taken.columns)
    if !banned.isEmpty {
      dropped = banned.rawValue.nonzeroBitCount
      record.fix.drop(banned)
    }
    if record.originalCount > 0 { record.dropOriginals { !taken.takes(field: $0) } }
    if let grid, record.fix.present.contains(.position) { grid.coarsen(&record) }
    dropped += keepAttributes(of: &record, from: bytes, in: &kept)
    dropped += keepWork(of: &record, from: bytes, in: &kept)
    return dropped
  }

  private func keepAttributes(
    of record: inout Record, from bytes: Span<UInt8>, in kept: inout MutableSpan<UInt8>
  ) -> Int {
    if record.fix.attributes.isEmpty { return 0 }
    var reader = AttributeReader(record.fix.attributes)
    var end = 0
    var dropped = 0
    while let (attribute, field) = try? reader.nextField(in: bytes) {
      if taken.attributes.takes(attribute.id), grid == nil || !AttributeRule.positions.contains(attribute.id) {
        kept.copy(bytes, field, to: end)
        end += field.count
      } else {
        dropped += 1
      }
    }
    record.fix.attributes = Region(offset: 0, length: UInt32(end))
    return dropped
  }

  private func keepWork(of record: inout Record, from bytes: Span<UInt8>, in kept: inout MutableSpan<UInt8>) -> Int {
    if record.fix.work.isEmpty { return 0 }
    let start = Int(record.fix.attributes.length)
    var end = start
    if taken.work {
      var fields = WorkReader.Fields(record.fix.work)
      while let field = try? fields.next(in: bytes) {
        kept.copy(bytes, field, to: end)
        end += field.count
      }
    }
    record.fix.work = Region(offset: UInt32(start), length: UInt32(end - start))
    return taken.work ? 0 : 1
  }
}

/// Square cells of the globe, about so many metres wide: rows of one height from the south pole up, and in each row columns
/// from 180 degrees west, whose width fits the row's middle. A position goes to the middle of its cell, always to the same one:
/// a random shift could be averaged away.
struct Grid: Equatable, Sendable {
  private let metres: Int32
  private let rowE7: Int64

  /// - Parameter metres: 0 = no grid.
  init?(metres: UInt16) {
    guard metres > 0 else { return nil }
    self.metres = Int32(metres)
    rowE7 = Int64((Double(metres) / Earth.metresPerE7).rounded(.up))
  }

  func middle(latitudeE7: Int32, longitudeE7: Int32) -> (latitudeE7: Int32, longitudeE7: Int32) {
    let (quarter, half): (Int64, Int64) = (900_000_000, 1_800_000_000)
    var latitude = floorDivide(Int64(latitudeE7) + quarter, rowE7) * rowE7 + rowE7 / 2 - quarter
    // What is out of range stays so, to be found out; the row at the north pole may be cut.
    if Int64(latitudeE7) <= quarter { latitude = min(latitude, quarter) }
    let shrink = Earth.cosine(Double(min(max(latitude, -quarter), quarter)) * .pi / 180 / 1e7)
    let columnE7 = shrink * 2 * Double(half) <= Double(rowE7) ? 2 * half : Int64((Double(rowE7) / shrink).rounded(.up))
    let longitude = floorDivide(Int64(longitudeE7) + half, columnE7) * columnE7 + columnE7 / 2 - half
    return (Int32(clamping: latitude), Int32(min(longitude, half - 1)))
  }

  /// The record says how coarse it is: its accuracy reaches to the corners of the cell.
  func coarsen(_ record: inout Record) {
    let (latitudeE7, longitudeE7) = middle(
      latitudeE7: record.fix.latitudeE7, longitudeE7: record.fix.longitudeE7)
    record.moveOriginal(field: 4, by: Int64(longitudeE7) - Int64(record.fix.longitudeE7))
    record.fix.latitudeE7 = latitudeE7
    record.fix.longitudeE7 = longitudeE7
    record.gridM = UInt16(metres)
    let cornerDm = metres * 71 / 10 + 1
    record.fix[.horizontalAccuracyDm] = max(record.fix[.horizontalAccuracyDm] ?? 0, cornerDm)
  }
}

extension TakenFields {
  /// - Parameter field: number in `Fix`; time and position are always taken.
  fileprivate func takes(field: UInt32) -> Bool {
    guard field >= Column.first, field < Column.first + Column.count else { return true }
    return columns.contains(FixFields(rawValue: 1 &<< (field - UInt32(Column.first))))
  }
}

extension Fix {
  /// Makes columns, or the monotonic time, unknown.
  fileprivate mutating func drop(_ fields: FixFields) {
    var bits = fields.intersection(.columns).rawValue
    while bits != 0 {
      values[bits.trailingZeroBitCount] = 0
      bits &= bits &- 1
    }
    if fields.contains(.monotonic) { monotonicMs = 0 }
    present.subtract(fields)
  }
}

extension Record {
  fileprivate mutating func dropOriginals(where isDropped: (UInt32) -> Bool) {
    var kept = 0
    for i in 0..<originalCount where !isDropped(originals[i].field) {
      originals[kept] = originals[i]
      kept += 1
    }
    originalCount = kept
  }

  fileprivate mutating func moveOriginal(field: UInt32, by difference: Int64) {
    for i in 0..<originalCount where originals[i].field == field { originals[i].value += difference }
  }

  /// What is left of a fix that is refused for good: whose it was, its sequence, and why. Nothing says where or when.
  package mutating func refuse(_ verdict: Verdict) {
    kind = .refused
    code = verdict.rawValue
    originalCount = 0
    let sequence = fix.sequence
    fix = Fix()
    fix.sequence = sequence
  }
}
