import CBench
import GateCore
import GateNet
import Glibc

/// Which CPUs the server runs on and which one the generator has for itself.
package struct Cores: Sendable {
  package let generator: [Int32]
  package let server: [Int32]

  /// The last CPU generates, the others serve. With one CPU both share it, which the results say.
  package static var split: Cores {
    var all = [Int32](repeating: 0, count: 1_024)
    let count = unsafe Int(bench_cpus(&all, 1_024))
    guard count > 1 else { return Cores(generator: [0], server: [0]) }
    return Cores(generator: [all[count - 1]], server: Array(all[0..<count - 1]))
  }

  package var isShared: Bool { !Set(generator).isDisjoint(with: server) }

  /// Keeps this thread, and what it starts meanwhile, on `cpus`.
  /// - Throws: `.notPinned`.
  package static func pin(to cpus: [Int32]) throws(FleetError) {
    guard unsafe bench_pin(cpus, Int32(cpus.count)) == 0 else { throw .notPinned }
  }

  /// CPU time that this thread has used, ns.
  package static var threadCPUNs: UInt64 { bench_thread_cpu_ns() }
}

/// Wakes the generator's poller at a moment, to some microseconds.
struct WakeTimer: ~Copyable {
  let descriptor: FileDescriptor
  private var armed: Instant?

  init() throws(FleetError) {
    let raw = bench_timer()
    guard raw >= 0 else { throw .system(errno) }
    descriptor = FileDescriptor(taking: raw)
  }

  mutating func arm(at moment: Instant?) {
    guard moment != armed else { return }
    armed = moment
    // A moment of 0 would disarm it.
    precondition(bench_timer_arm(descriptor.raw, moment.map { max($0.ns, 1) } ?? 0) == 0)
  }
}

package enum FleetError: Error, Equatable, CustomStringConvertible {
  case notPinned
  case system(Int32)
  case tooFewDescriptors(have: Int, need: Int)
  /// The conversation went wrong: this run measures nothing.
  case conversation(String)
  case noAnswer(seconds: Int, waiting: Int)

  package var description: String {
    switch self {
    case .notPinned: "the generator could not be kept on its CPU: is this container allowed sched_setaffinity?"
    case .system(let code): "a system call failed: errno \(code)"
    case .tooFewDescriptors(let have, let need):
      "\(need) open files are needed, the limit is \(have): run 'ulimit -n \(need)' first (as root 'ulimit -Hn' too), or ask for fewer devices"
    case .conversation(let what): "this run measures nothing: \(what)"
    case .noAnswer(let seconds, let waiting): "the server was silent for \(seconds) s while \(waiting) devices waited for it"
    }
  }
}
