import Foundation

/// What the hook (CPathHook/pathhook.c) has counted, by thread, at one moment.
package struct Counters {
  package struct Thread {
    package let name: String
    package let id: Int
    package let counts: [String: UInt64]
  }

  package private(set) var threads: [Thread] = []

  private static let headerBytes = 4_096
  private static let slotBytes = 416
  private static let countersAt = 24

  /// Reads the hook's file while the gateway runs: the pages are shared, each number is whole.
  package init(file: String) throws(PathError) {
    guard let data = FileManager.default.contents(atPath: file), data.count > Counters.headerBytes else {
      throw .noCounters
    }
    let header = data.prefix(Counters.headerBytes).prefix { $0 != 0 }
    let names = String(decoding: header, as: UTF8.self).split(separator: "\n").map(String.init)
    var at = Counters.headerBytes
    while at + Counters.slotBytes <= data.count {
      defer { at += Counters.slotBytes }
      let id = Int(Counters.word(data, at + 16))
      guard id > 0 else { continue }
      let name = String(decoding: data[at..<at + 16].prefix { $0 != 0 }, as: UTF8.self)
      var counts: [String: UInt64] = [:]
      for (i, counter) in names.enumerated() { counts[counter] = Counters.word(data, at + Counters.countersAt + 8 * i) }
      threads.append(Thread(name: name, id: id, counts: counts))
    }
  }

  /// What was counted since `before`, summed over the threads whose names begin with `name`.
  package func since(_ before: Counters, threads name: String) -> [String: UInt64] {
    var sum: [String: UInt64] = [:]
    for thread in threads where thread.name.hasPrefix(name) {
      let old = before.threads.first { $0.id == thread.id }
      for (counter, value) in thread.counts { sum[counter, default: 0] += value - (old?.counts[counter] ?? 0) }
    }
    return sum
  }

  /// All that was counted on the threads whose names begin with `name`.
  package func total(threads name: String) -> [String: UInt64] {
    var sum: [String: UInt64] = [:]
    for thread in threads where thread.name.hasPrefix(name) { sum.merge(thread.counts, uniquingKeysWith: +) }
    return sum
  }

  private static func word(_ data: Data, _ at: Int) -> UInt64 {
    (0..<8).reduce(0) { $0 | UInt64(data[at + $1]) << UInt64(8 * $1) }
  }
}

/// CPU time of another process's threads, from /proc.
package enum ProcessThreads {
  /// By thread name.
  package static func cpuNs(of process: Int32) -> [String: UInt64] {
    var times: [String: UInt64] = [:]
    let ids = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/task")) ?? []
    for id in ids.compactMap(Int.init) {
      let name = text("/proc/\(process)/task/\(id)/comm").trimmingCharacters(in: .newlines)
      times[name, default: 0] += cpuNs(process, id)
    }
    return times
  }

  /// User and system time in ns; 0 for a thread that has ended.
  private static func cpuNs(_ process: Int32, _ thread: Int) -> UInt64 {
    text("/proc/\(process)/task/\(thread)/schedstat").split(separator: " ").first.flatMap { UInt64($0) } ?? 0
  }

  /// Resident memory in bytes.
  package static func residentBytes(of process: Int32) -> Int {
    let line = text("/proc/\(process)/status").split(separator: "\n").first { $0.hasPrefix("VmRSS:") } ?? ""
    return (line.split(separator: " ").compactMap { Int($0) }.first ?? 0) * 1_024
  }

  private static func text(_ path: String) -> String {
    String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
  }
}

package enum PathError: Error, Equatable {
  /// The hook wrote no file: it was not built, or not preloaded.
  case noCounters
  /// An executable or library that must lie beside this one is not there: build everything, not one product.
  case notBuilt(String)
  /// The gateway ended or said something else before `ready`.
  case notReady
  /// It did not end with 0 after SIGTERM.
  case exit(Int32)
  /// A connection ended, or a fix was refused: this run measures nothing.
  case conversation(String)
  /// The gateway's own counts do not fit what was sent.
  case unbalanced
  /// A number is over its bound, or the hook does not see what was done.
  case outOfBounds(String)
}
