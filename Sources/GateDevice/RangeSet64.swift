/// A set of whole numbers as ascending ranges, none empty, no two of them touching. Few ranges are the usual case.
package struct RangeSet64: Equatable, Sendable {
  package private(set) var ranges: [ClosedRange<UInt64>] = []

  package init() {}

  package var isEmpty: Bool { ranges.isEmpty }
  /// How many numbers.
  package var count: UInt64 { ranges.reduce(0) { $0 + ($1.upperBound - $1.lowerBound) + 1 } }

  /// Members up to and including `limit`.
  package func count(through limit: UInt64) -> UInt64 {
    ranges.reduce(0) { sum, range in
      range.lowerBound > limit ? sum : sum + min(range.upperBound, limit) - range.lowerBound + 1
    }
  }

  package func contains(_ value: UInt64) -> Bool {
    let i = position(endingAtOrAfter: value)
    return i < ranges.count && ranges[i].lowerBound <= value
  }

  package func overlaps(_ other: ClosedRange<UInt64>) -> Bool {
    range(atOrAfter: other.lowerBound).map { $0.lowerBound <= other.upperBound } ?? false
  }

  /// The range that holds `value`, or the next one above it.
  package func range(atOrAfter value: UInt64) -> ClosedRange<UInt64>? {
    let i = position(endingAtOrAfter: value)
    return i < ranges.count ? ranges[i] : nil
  }

  package mutating func insert(_ new: ClosedRange<UInt64>) {
    var low = new.lowerBound
    var high = new.upperBound
    let first = position(endingAtOrAfter: low == 0 ? 0 : low - 1)
    var last = first
    while last < ranges.count, high == .max || ranges[last].lowerBound <= high + 1 {
      low = min(low, ranges[last].lowerBound)
      high = max(high, ranges[last].upperBound)
      last += 1
    }
    ranges.replaceSubrange(first..<last, with: CollectionOfOne(low...high))
  }

  package mutating func remove(_ gone: ClosedRange<UInt64>) {
    let first = position(endingAtOrAfter: gone.lowerBound)
    var last = first
    var kept: [ClosedRange<UInt64>] = []
    while last < ranges.count, ranges[last].lowerBound <= gone.upperBound {
      let range = ranges[last]
      if range.lowerBound < gone.lowerBound { kept.append(range.lowerBound...gone.lowerBound - 1) }
      if range.upperBound > gone.upperBound { kept.append(gone.upperBound + 1...range.upperBound) }
      last += 1
    }
    ranges.replaceSubrange(first..<last, with: kept)
  }

  package mutating func removeAll() { ranges.removeAll(keepingCapacity: true) }

  private func position(endingAtOrAfter value: UInt64) -> Int {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound < value { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
