import CAllocations

/// Times several ways to do the same work beside each other: round after round, one run of each per round in turn, so
/// that a change in the machine's speed hits all of them. Medians over the rounds.
package struct Contest {
  /// One way to do the work. `run` does all of it once and returns something that depends on the result.
  package struct Entry {
    package let name: String
    package let run: () -> UInt64
    package init(_ name: String, run: @escaping () -> UInt64) {
      self.name = name
      self.run = run
    }
  }

  package struct Result {
    package let name: String
    /// Of one run, over the rounds.
    package let medianNs: Double
    package let leastNs: Double
    package let mostNs: Double
    /// Calls of an allocating function in one run, after all rounds.
    package let allocations: UInt64
  }

  /// - Parameter rounds: at least 1; one more, not counted, goes before.
  package static func run(_ entries: [Entry], rounds: Int) -> [Result] {
    let clock = ContinuousClock()
    var times = [[Double]](repeating: [], count: entries.count)
    var sink: UInt64 = 0
    for round in 0...rounds {
      for (i, entry) in entries.enumerated() {
        let start = clock.now
        sink &+= entry.run()
        let (seconds, attoseconds) = (clock.now - start).components
        if round > 0 { times[i].append(Double(seconds) * 1e9 + Double(attoseconds) / 1e9) }
      }
    }
    precondition(sink != 1)  // keeps the results alive
    return entries.indices.map { i in
      let sorted = times[i].sorted()
      let before = allocations_of_this_thread()
      _ = entries[i].run()
      let allocations = allocations_of_this_thread() - before
      return Result(
        name: entries[i].name, medianNs: sorted[sorted.count / 2], leastNs: sorted[0], mostNs: sorted[sorted.count - 1],
        allocations: allocations)
    }
  }

  /// Shows that the counter sees what it is for: an array of this program.
  package static func counterBites() -> Bool {
    let before = allocations_of_this_thread()
    let array = [UInt64](repeating: before, count: 100)
    return array.opaqueCount() == 100 && allocations_of_this_thread() > before
  }
}

extension [UInt64] {
  /// Keeps the array from being optimised away.
  @inline(never)
  fileprivate func opaqueCount() -> Int { count }
}

/// A running hash of numbers: FNV-1a over 64-bit words.
package struct ResultHash: Equatable {
  package private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325
  package init() {}
  package mutating func add(_ number: some BinaryInteger) {
    value = (value ^ UInt64(truncatingIfNeeded: number)) &* 0x100_0000_01b3
  }
}
