import CAllocations
import Glibc

/// Times several ways to do the same work beside each other: round after round, one run of each per round in turn, so
/// that a change in the machine's speed hits all of them. Medians over the rounds.
package struct Contest {
  /// One way to do the work.
  package struct Entry {
    package let name: String
    /// What `run` needs anew each time; not timed.
    package let prepare: () -> Void
    /// What it found, to be held against what the others found; `nil` says nothing.
    package let outcome: (() -> UInt64)?
    /// Does all of it once and returns something that depends on the result.
    package let run: () -> UInt64

    package init(
      _ name: String, prepare: @escaping () -> Void = {}, outcome: (() -> UInt64)? = nil, run: @escaping () -> UInt64
    ) {
      (self.name, self.prepare, self.outcome, self.run) = (name, prepare, outcome, run)
    }
  }

  package enum Clock {
    /// CPU time of the thread: what else runs on the machine is not in it.
    case cpu
    /// For work that waits, or has threads of its own.
    case wall

    fileprivate var ns: Double {
      var time = timespec()
      unsafe clock_gettime(self == .cpu ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time)
      return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
    }
  }

  package struct Result {
    package let name: String
    /// Of one run, a figure a round.
    package let ns: [Double]
    package let medianNs: Double
    package let leastNs: Double
    package let mostNs: Double
    /// Of this thread in one run, after all rounds; `nil` where the machine does not count them.
    package let instructions: UInt64?
    /// Calls of an allocating function by this thread in the same run.
    package let allocations: UInt64

    fileprivate init(name: String, ns: [Double], instructions: UInt64?, allocations: UInt64) {
      (self.name, self.ns, self.instructions, self.allocations) = (name, ns, instructions, allocations)
      let sorted = ns.sorted()
      (leastNs, medianNs, mostNs) = (sorted[0], sorted[sorted.count / 2], sorted[sorted.count - 1])
    }
  }

  /// - Parameter rounds: at least 1; one more, not counted, goes before.
  package static func run(_ entries: [Entry], rounds: Int, clock: Clock = .wall) -> [Result] {
    var times = [[Double]](repeating: [], count: entries.count)
    var sink: UInt64 = 0
    for round in 0...rounds {
      for (i, entry) in entries.enumerated() {
        entry.prepare()
        let start = clock.ns
        sink &+= entry.run()
        let end = clock.ns
        if round > 0 { times[i].append(end - start) }
      }
    }
    precondition(sink != 1)  // keeps the results alive
    return zip(entries, times).map { entry, times in
      entry.prepare()
      let counter = InstructionCounter()
      let before = allocations_of_this_thread()
      _ = entry.run()
      let allocations = allocations_of_this_thread() - before
      return Result(name: entry.name, ns: times, instructions: counter.count, allocations: allocations)
    }
  }

  /// Shows that the counter sees what it is for: an array of this program.
  package static func counterBites() -> Bool {
    let before = allocations_of_this_thread()
    let array = [UInt64](repeating: before, count: 100)
    return array.opaqueCount() == 100 && allocations_of_this_thread() > before
  }
}

/// Instructions of this thread in user space since it was made, by the CPU's own counter.
package struct InstructionCounter: ~Copyable {
  private let descriptor: Int32

  package init() { descriptor = instructions_open() }

  deinit { if descriptor >= 0 { close(descriptor) } }

  /// `nil` where the machine has no such counter, as many virtual ones, or does not let us look.
  package var count: UInt64? {
    var count: UInt64 = 0
    return unsafe descriptor >= 0 && instructions_read(descriptor, &count) == 0 ? count : nil
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
