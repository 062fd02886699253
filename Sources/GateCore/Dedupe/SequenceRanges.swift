/// The set of sequence numbers that one stream has used: everything through a mark, and ranges above it.
///
/// The usual stream is one mark and no ranges. Ranges lie in ascending order, apart from each other and from the mark by
/// at least one missing number, and there are at most `Limits.rangesPerStreamMax` of them.
package struct SequenceRanges: Equatable, Sendable {
  package struct Range: Equatable, Sendable, BitwiseCopyable {
    package var first: UInt64
    package var last: UInt64
    package init(first: UInt64, last: UInt64) {
      self.first = first
      self.last = last
    }
    package var count: UInt64 { last - first + 1 }
  }

  /// Every number from 1 through this one is in the set.
  package private(set) var through: UInt64 = 0
  package private(set) var above: [Range] = []

  package init() {}

  /// A set read back from a checkpoint.
  /// - Returns: `nil` if the parts break the invariant.
  package init?(through: UInt64, above: [Range]) {
    var last = through
    for range in above {
      guard range.first > last, range.first - last >= 2, range.last >= range.first,
        range.last <= Limits.sequenceMax
      else { return nil }
      last = range.last
    }
    guard through <= Limits.sequenceMax, above.count <= Limits.rangesPerStreamMax else { return nil }
    self.through = through
    self.above = above
  }

  /// The highest number in the set; 0 if it is empty.
  package var highest: UInt64 { above.last?.last ?? through }

  package enum Insertion: Equatable, Sendable {
    case new
    case duplicate
    /// A range more than the bound would be needed; the set is unchanged.
    case tooManyRanges
  }

  package func contains(_ sequence: UInt64) -> Bool {
    if sequence <= through { return sequence > 0 }
    let i = firstRange(endingAtOrAfter: sequence)
    return i < above.count && above[i].first <= sequence
  }

  /// Adds one number, 1 to `Limits.sequenceMax`.
  package mutating func insert(_ sequence: UInt64) -> Insertion {
    precondition(sequence >= 1 && sequence <= Limits.sequenceMax)
    if sequence == through &+ 1 {
      through = sequence
      absorb()
      return .new
    }
    if sequence <= through { return .duplicate }
    let i = firstRange(endingAtOrAfter: sequence &- 1)
    // Range i is the first that ends at sequence - 1 or later: it holds the number, touches it, or lies above.
    if i == above.count {
      return add(Range(first: sequence, last: sequence), at: i)
    }
    if above[i].last == sequence - 1 {
      above[i].last = sequence
      if i + 1 < above.count, above[i + 1].first == sequence + 1 {
        above[i].last = above[i + 1].last
        above.remove(at: i + 1)
      }
      return .new
    }
    if above[i].first <= sequence { return .duplicate }
    if above[i].first == sequence + 1 {
      above[i].first = sequence
      return .new
    }
    return add(Range(first: sequence, last: sequence), at: i)
  }

  /// Adds every number below `sequence`.
  package mutating func close(below sequence: UInt64) {
    precondition(sequence <= Limits.sequenceMax)
    guard sequence > 0, sequence - 1 > through else { return }
    through = sequence - 1
    absorb()
  }

  /// Adds `range`.
  /// - Returns: `.duplicate` if all of it was there already.
  package mutating func insert(_ range: Range) -> Insertion {
    precondition(range.first >= 1 && range.first <= range.last && range.last <= Limits.sequenceMax)
    if range.first <= through &+ 1 {
      if range.last <= through { return .duplicate }
      through = range.last
      absorb()
      return .new
    }
    var merged = range
    let from = firstRange(endingAtOrAfter: range.first - 1)
    var to = from
    while to < above.count, above[to].first <= range.last + 1 { to += 1 }
    if to == from { return add(merged, at: from) }
    if to == from + 1, above[from].first <= range.first, above[from].last >= range.last { return .duplicate }
    merged.first = min(merged.first, above[from].first)
    merged.last = max(merged.last, above[to - 1].last)
    above.replaceSubrange(from..<to, with: CollectionOfOne(merged))
    return .new
  }

  /// The missing ranges below `limit`, ascending.
  package func holes(below limit: UInt64) -> [Range] {
    var result: [Range] = []
    var next = through + 1
    for range in above {
      if range.first >= limit { break }
      result.append(Range(first: next, last: range.first - 1))
      next = range.last + 1
    }
    if next < limit { result.append(Range(first: next, last: limit - 1)) }
    return result
  }

  private mutating func add(_ range: Range, at i: Int) -> Insertion {
    if above.count == Limits.rangesPerStreamMax { return .tooManyRanges }
    above.insert(range, at: i)
    return .new
  }

  /// Lets the mark swallow the ranges it has reached.
  private mutating func absorb() {
    var reached = 0
    while reached < above.count, above[reached].first <= through &+ 1 {
      through = max(through, above[reached].last)
      reached += 1
    }
    if reached > 0 { above.removeFirst(reached) }
  }

  private func firstRange(endingAtOrAfter sequence: UInt64) -> Int {
    // New fixes land at the end: look there first.
    if let last = above.last, last.last < sequence { return above.count }
    var low = 0
    var high = above.count
    while low < high {
      let middle = (low + high) / 2
      if above[middle].last < sequence { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
