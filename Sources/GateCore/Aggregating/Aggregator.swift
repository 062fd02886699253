/// How a tenant's aggregates are cut. It is chosen once: two cuts of the same data could be held against each other, and the
/// difference be a few people.
package struct AggregateGrid: Equatable, Sendable {
  /// Characters of the geohash.
  package var cellLength: Int
  /// Slots begin at multiples of it since 1970-01-01 UTC, in ms.
  package var slotMs: Int64
  /// Fewest subjects in a group that is told of.
  package var k: Int
  /// How long after its end a slot is made, in ms: what comes later is in no aggregate.
  package var delayMs: Int64

  package init(cellLength: Int = 6, slotMs: Int64 = 3_600_000, k: Int = 5, delayMs: Int64 = 86_400_000) {
    self.cellLength = cellLength
    self.slotMs = slotMs
    self.k = k
    self.delayMs = delayMs
  }

  /// Of those that lie wholly between the two times and are old enough at `nowMs`, the starts.
  package func slots(fromMs: Int64, toMs: Int64, nowMs: Int64) -> StrideTo<Int64> {
    let end = min(toMs, nowMs - delayMs)
    // Rounded up, below zero too.
    let quotient = fromMs / slotMs
    let first = (fromMs % slotMs > 0 ? quotient + 1 : quotient) * slotMs
    return stride(from: first, to: max(first, end - slotMs + 1), by: Int(slotMs))
  }

  package func slot(of timeMs: Int64) -> Int64 {
    let rest = timeMs % slotMs
    return timeMs - (rest < 0 ? rest + slotMs : rest)
  }
}

/// What is told of a group: at least k subjects in one cell during one slot.
package struct AggregateRow: Equatable, Sendable {
  package var slotMs: Int64
  package var cell: UInt64
  package var subjects: Int
  package var fixes: Int
  /// Mean of the subjects' means, so that none outweighs the others; `nil` where none tells its speed.
  package var speedKmH: Int?
  /// Of all subjects together.
  package var dwellMinutes: Int

  package init(slotMs: Int64, cell: UInt64, subjects: Int, fixes: Int, speedKmH: Int?, dwellMinutes: Int) {
    self.slotMs = slotMs
    self.cell = cell
    self.subjects = subjects
    self.fixes = fixes
    self.speedKmH = speedKmH
    self.dwellMinutes = dwellMinutes
  }
}

/// Who has a fix: a subject; or a device that nobody is known to carry, which counts as one.
package enum AggregateOwner: Hashable, Sendable {
  case subject(UInt32)
  case device(UInt32)
}

/// Gathers fixes into groups. Give it those of one device after the other, each by time.
package struct Aggregator {
  private struct Place: Hashable {
    var slotMs: Int64
    var cell: UInt64
  }

  /// Of one owner in one group.
  private struct Share {
    var fixes = 0
    var speedSum: Int64 = 0
    var speeds: Int64 = 0
    var dwellMs: Int64 = 0
  }

  /// Between two fixes that lie further apart a device may have been anywhere.
  private static let dwellGapMs: Int64 = 600_000

  private let grid: AggregateGrid
  private var groups: [Place: [AggregateOwner: Share]] = [:]
  private var shares = 0
  private var last: (device: UInt32, owner: AggregateOwner, place: Place, timeMs: Int64)?

  package init(_ grid: AggregateGrid) { self.grid = grid }

  /// - Returns: false once there are more groups and subjects than fit (`Limits.aggregateSharesMax`).
  package mutating func add(
    device: UInt32, subject: UInt32?, timeMs: Int64, latitudeE7: Int64, longitudeE7: Int64, speedCmPerS: Int64?
  ) -> Bool {
    let owner = subject.map { AggregateOwner.subject($0) } ?? .device(device)
    let cell = Geohash.cell(latitudeE7: latitudeE7, longitudeE7: longitudeE7, length: grid.cellLength)
    let place = Place(slotMs: grid.slot(of: timeMs), cell: cell)
    var group = groups.removeValue(forKey: place) ?? [:]
    if group[owner] == nil { shares += 1 }
    var share = group.removeValue(forKey: owner) ?? Share()
    share.fixes += 1
    if let speedCmPerS {
      share.speedSum += speedCmPerS
      share.speeds += 1
    }
    if let last, last.device == device, last.owner == owner, last.place == place {
      let gap = timeMs - last.timeMs
      if gap > 0, gap <= Aggregator.dwellGapMs { share.dwellMs += gap }
    }
    group[owner] = share
    groups[place] = group
    last = (device, owner, place, timeMs)
    return !isFull
  }

  package var isFull: Bool { shares > Limits.aggregateSharesMax }

  /// The groups that may be told of, by slot and cell.
  package func rows() -> [AggregateRow] {
    groups.compactMap { place, shares in
      guard shares.count >= grid.k else { return nil }
      let means = shares.values.filter { $0.speeds > 0 }.map { $0.speedSum / $0.speeds }
      let mean = means.isEmpty ? nil : means.reduce(0, +) / Int64(means.count)
      return AggregateRow(
        slotMs: place.slotMs, cell: place.cell, subjects: shares.count, fixes: shares.values.reduce(0) { $0 + $1.fixes },
        // A speed that fewer than k tell of would be a smaller group's.
        speedKmH: means.count >= grid.k ? mean.map { Int(($0 * 36 + 500) / 1_000) } : nil,
        dwellMinutes: Int(shares.values.reduce(0) { $0 + $1.dwellMs } / 60_000))
    }.sorted { ($0.slotMs, $0.cell) < ($1.slotMs, $1.cell) }
  }
}
