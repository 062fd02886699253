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
  package init(file: String) throws(ServerError) {
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
