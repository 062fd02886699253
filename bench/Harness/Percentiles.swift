/// Of measured times: how many, and how they lie.
package struct Percentiles {
  private let sorted: [UInt64]

  package init(_ ns: [UInt64]) { sorted = ns.sorted() }

  package var count: Int { sorted.count }

  /// The time that `share` of all do not pass, in ns; 0 of none.
  package func ns(_ share: Double) -> UInt64 {
    guard let last = sorted.last else { return 0 }
    let rank = Int((share * Double(sorted.count)).rounded(.up)) - 1
    return rank < sorted.count ? sorted[max(rank, 0)] : last
  }

  /// Count, median, p90, p99, most.
  package var text: String {
    func ms(_ ns: UInt64) -> String { "\(Double(ns / 1_000) / 1_000)" }
    return "\(count): p50 \(ms(ns(0.5))), p90 \(ms(ns(0.9))), p99 \(ms(ns(0.99))), most \(ms(ns(1))) ms"
  }
}
