/// Where a server stops keeping up.
package enum Knee {
  /// The 99th percentile may be so many times that of the lightest load.
  package static let latencyFactor = 10.0
  /// Share of what was offered that must be acked.
  package static let ackedMin = 0.98

  /// - Returns: the highest offered load, fixes/s, up to which every load was acked in full and in time; `nil` when the
  ///   lightest one was not, or none was offered.
  package static func find(_ cases: [Case]) -> Double? {
    let loads = cases.compactMap { one -> (offered: Double, acked: Double, p99: Double)? in
      guard one.kind == .offered, let offered = one.parameters.offered, let acked = one.spread(.fixesPerSecond),
        let p99 = one.spread(.p99)
      else { return nil }
      return (offered, acked.median, p99.median)
    }.sorted { $0.offered < $1.offered }
    guard let lightest = loads.first else { return nil }
    let kept = loads.prefix { $0.acked >= ackedMin * $0.offered && $0.p99 <= latencyFactor * lightest.p99 }
    return kept.last?.offered
  }
}
