import Foundation
import GateCore
import GateStore
import Testing

/// Aggregates against somebody who collects all outputs and holds them against each other.
@Suite struct AggregateTests {
  private struct Sample {
    var device: UInt32
    var subject: UInt32?
    var timeMs: Int64
    var latitudeE7: Int64
    var longitudeE7: Int64

    var owner: AggregateOwner { subject.map { .subject($0) } ?? .device(device) }
  }

  private static let slotMs: Int64 = 3_600_000

  private final class Place {
    let path = FileManager.default.temporaryDirectory.path + "/fixgate-aggregates-" + UUID().uuidString + ".db"
    deinit { for end in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + end) } }
  }

  /// Late fixes, erasures and overlapping ranges at random. Whatever is told of a group stays as it is, comes from k subjects at
  /// least, and no difference of two outputs is a smaller group.
  @Test(arguments: 0..<200) func noDifferenceIsASmallGroup(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let place = Place()
    let store = try AggregateStore(path: place.path)
    let grid = AggregateGrid(cellLength: 5, slotMs: Self.slotMs, k: Int.random(in: 3...5, using: &random), delayMs: Self.slotMs)
    var samples: [Sample] = []
    var nowMs: Int64 = 100 * Self.slotMs
    /// Who was in each group when it was made, by slot and cell; and what was told of it.
    var told: [String: (owners: Set<AggregateOwner>, row: AggregateRow)] = [:]
    var outputs: [[String: AggregateRow]] = []
    /// What was told of a slot when it was made.
    var slots: [Int64: Set<String>] = [:]
    for _ in 0..<30 {
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<5:
        for _ in 0..<Int.random(in: 1...12, using: &random) {
          let device = UInt32.random(in: 1...9, using: &random)
          samples.append(
            Sample(
              device: device, subject: device % 3 == 0 ? nil : device / 2 + 1,
              timeMs: nowMs - Int64.random(in: 0..<6 * Self.slotMs, using: &random),
              latitudeE7: Int64.random(in: 0..<2, using: &random) * 5_000_000, longitudeE7: 768_512_000))
        }
      case 5:
        let gone = UInt32.random(in: 1...5, using: &random)
        samples.removeAll { $0.subject == gone }
      case 6: nowMs += Self.slotMs / 2
      default:
        let from = nowMs - Int64.random(in: 1...8, using: &random) * Self.slotMs - Int64.random(in: 0..<9, using: &random)
        let to = from + Int64.random(in: 1...8, using: &random) * Self.slotMs
        let held = samples.sorted { ($0.device, $0.timeMs) < ($1.device, $1.timeMs) }
        let rows = try store.rows(tenant: 1, grid: grid, fromMs: from, toMs: to, nowMs: nowMs) { times, aggregator in
          for each in held where times.contains(each.timeMs) {
            _ = aggregator.add(
              device: each.device, subject: each.subject, timeMs: each.timeMs, latitudeE7: each.latitudeE7,
              longitudeE7: each.longitudeE7, speedCmPerS: nil)
          }
        }
        var output: [String: AggregateRow] = [:]
        for row in rows {
          let name = "\(row.slotMs) \(row.cell)"
          output[name] = row
          #expect(row.slotMs >= from && row.slotMs + Self.slotMs <= min(to, nowMs - grid.delayMs))
          if let known = told[name] {
            #expect(known.row == row, "seed \(seed): a group that was told of has changed")
          } else {
            let owners = Set(
              held.filter {
                grid.slot(of: $0.timeMs) == row.slotMs
                  && Geohash.cell(latitudeE7: $0.latitudeE7, longitudeE7: $0.longitudeE7, length: 5) == row.cell
              }.map(\.owner))
            #expect(owners.count == row.subjects && owners.count >= grid.k, "seed \(seed)")
            told[name] = (owners, row)
          }
        }
        for slot in grid.slots(fromMs: from, toMs: to, nowMs: nowMs) {
          let here = Set(output.filter { $0.value.slotMs == slot }.keys)
          #expect(slots[slot, default: here] == here, "seed \(seed): a group has come or gone")
          slots[slot] = here
        }
        outputs.append(output)
      }
    }
    // Each output less each other: what is left of a group is nothing, or all of it.
    for one in outputs {
      for other in outputs {
        for (name, row) in one where other[name] != row {
          #expect(other[name] == nil && told[name].map { $0.owners.count >= grid.k } == true, "seed \(seed)")
        }
      }
    }
  }

  /// The same slots by another cell, slot, k or delay would be another cut of the same people.
  @Test func theCutStays() throws {
    let place = Place()
    let store = try AggregateStore(path: place.path)
    let grid = AggregateGrid()
    _ = try store.rows(tenant: 1, grid: grid, fromMs: 0, toMs: 1, nowMs: 0) { _, _ in }
    let others: [(inout AggregateGrid) -> Void] = [{ $0.cellLength = 7 }, { $0.slotMs *= 2 }, { $0.k = 3 }, { $0.delayMs = 0 }]
    for change in others {
      var other = grid
      change(&other)
      #expect(throws: AggregateError.otherGrid(grid)) {
        try store.rows(tenant: 1, grid: other, fromMs: 0, toMs: 1, nowMs: 0) { _, _ in }
      }
      // Another tenant has its own.
    }
    var other = grid
    other.k = 9
    _ = try store.rows(tenant: 2, grid: other, fromMs: 0, toMs: 1, nowMs: 0) { _, _ in }
    #expect(try store.grid(tenant: 1) == grid && store.grid(tenant: 2) == other)
  }

  @Test func slotsAreWholeAndOldEnough() {
    let grid = AggregateGrid(cellLength: 5, slotMs: 1_000, k: 3, delayMs: 5_000)
    #expect(Array(grid.slots(fromMs: 0, toMs: 3_000, nowMs: 100_000)) == [0, 1_000, 2_000])
    #expect(Array(grid.slots(fromMs: 1, toMs: 2_999, nowMs: 100_000)) == [1_000])
    #expect(Array(grid.slots(fromMs: -1_500, toMs: 0, nowMs: 100_000)) == [-1_000])
    #expect(Array(grid.slots(fromMs: 0, toMs: 100_000, nowMs: 7_999)) == [0, 1_000])
    #expect(Array(grid.slots(fromMs: 0, toMs: 100_000, nowMs: 5_000)).isEmpty)
    #expect(Array(grid.slots(fromMs: 5_000, toMs: 0, nowMs: 100_000)).isEmpty)
    #expect(grid.slot(of: -1) == -1_000 && grid.slot(of: 999) == 0)
  }

  /// Names as the published examples have them (ezs42: geohash.org; u4pruydqqvj: Wikipedia).
  @Test func cellsHaveTheirNames() {
    func name(_ latitude: Double, _ longitude: Double, _ length: Int) -> String {
      let cell = Geohash.cell(latitudeE7: Int64(latitude * 1e7), longitudeE7: Int64(longitude * 1e7), length: length)
      return Geohash.name(cell, length: length)
    }
    #expect(name(42.6, -5.6, 5) == "ezs42")
    #expect(name(57.64911, 10.40744, 9) == "u4pruydqq")
    #expect(name(0, 0, 1) == "s" && name(-90, -180, 2) == "00" && name(90, 180, 2) == "zz")
  }

  /// What is told of a group, from fixes that are known.
  @Test func countsSpeedsAndDwell() {
    var aggregator = Aggregator(AggregateGrid(cellLength: 5, slotMs: Self.slotMs, k: 3, delayMs: 0))
    for device in UInt32(1)...4 {
      for minute in 0..<5 {
        // The fourth device is the third subject's second.
        _ = aggregator.add(
          device: device, subject: min(device, 3), timeMs: Int64(minute) * 60_000, latitudeE7: 432_220_000,
          longitudeE7: 768_512_000, speedCmPerS: Int64(device) * 100)
      }
      // Alone in a cell far away.
      if device == 1 {
        _ = aggregator.add(
          device: device, subject: 1, timeMs: 600_000, latitudeE7: 0, longitudeE7: 0, speedCmPerS: nil)
      }
    }
    let rows = aggregator.rows()
    // Means 1, 2 and 3.5 m/s: 2.16 m/s are 7.8 km/h. Four devices were there for four minutes each.
    #expect(rows.count == 1 && rows[0].subjects == 3 && rows[0].fixes == 20)
    #expect(rows[0].speedKmH == 8 && rows[0].dwellMinutes == 16)
  }
}
