/// A figure of a run. Raw values are the names in JSON.
package enum Metric: String, Codable, CodingKeyRepresentable, CaseIterable, Sendable {
  case fixesPerSecond = "acked_fixes_per_s"
  case cpuPerMillion = "cpu_s_per_million_acked"
  case cpuPerMillionStored = "cpu_s_per_million_stored"
  case cpuWorker = "cpu_s_per_million_worker"
  case cpuSequencer = "cpu_s_per_million_sequencer"
  case cpuSink = "cpu_s_per_million_sink"
  case cpuOther = "cpu_s_per_million_other"
  case fixesPerCommit = "fixes_per_commit"
  case p50 = "ack_ms_p50"
  case p90 = "ack_ms_p90"
  case p99 = "ack_ms_p99"
  case p999 = "ack_ms_p99.9"
  case p9999 = "ack_ms_p99.99"
  case most = "ack_ms_max"
  case unanswered = "messages_unanswered"
  case wireUp = "wire_bytes_up_per_fix"
  case wireDown = "wire_bytes_down_per_fix"
  case packets = "packets_per_fix"
  case roundTrips = "round_trips_to_first_ack"
  case openingUp = "wire_bytes_up_to_first_ack"
  case openingDown = "wire_bytes_down_to_first_ack"
  case openingsPerSecond = "openings_per_s"
  case openingCPU = "server_cpu_us_per_opening"
  case openingGeneratorBusy = "generator_busy_opening"
  case idleUser = "idle_user_bytes_per_connection"
  case idleKernel = "idle_kernel_bytes_per_connection"
  case moves = "addresses_changed"
  case reconnects = "reconnects"
  case reconnectP50 = "reconnect_ms_p50"
  case reconnectP99 = "reconnect_ms_p99"
  case reconnectMost = "reconnect_ms_max"
  case resumedShare = "reconnects_resumed_share"
  case refused = "fixes_refused"
  case calls = "worker_calls_per_message"
  case allocations = "worker_allocations_per_fix"
  case allocationsTLS = "worker_libssl_allocations_per_fix"
  case locks = "worker_locks_per_fix"
  case generatorBusy = "generator_busy"
  case lagP50 = "generator_lag_ms_p50"
  case lagP99 = "generator_lag_ms_p99"
  case stageNs = "ns_per_item"
  case stageInstructions = "instructions_per_item"
  case stageAllocations = "allocations_per_item"

  package enum Better { case lower, higher, neither }

  package var title: String {
    switch self {
    case .fixesPerSecond: "acked fixes"
    case .cpuPerMillion: "server CPU, a million acked fixes"
    case .cpuPerMillionStored: "the same until all is in the store"
    case .cpuWorker: "  worker"
    case .cpuSequencer: "  sequencer and journal"
    case .cpuSink: "  sink"
    case .cpuOther: "  other threads"
    case .fixesPerCommit: "fixes a commit"
    case .p50: "ack latency, median"
    case .p90: "ack latency, 90 %"
    case .p99: "ack latency, 99 %"
    case .p999: "ack latency, 99.9 %"
    case .p9999: "ack latency, 99.99 %"
    case .most: "ack latency, longest"
    case .unanswered: "messages never answered"
    case .wireUp: "bytes up on the wire, a fix"
    case .wireDown: "bytes down on the wire, a fix"
    case .packets: "packets a fix"
    case .roundTrips: "round trips to the first durable ack"
    case .openingUp: "bytes up to the first durable ack"
    case .openingDown: "bytes down to the first durable ack"
    case .openingsPerSecond: "openings to the first ack"
    case .openingCPU: "server CPU an opening"
    case .openingGeneratorBusy: "generator busy meanwhile"
    case .idleUser: "memory of an idle connection, user space"
    case .idleKernel: "memory of an idle connection, kernel, both ends"
    case .moves: "devices that went on from another address"
    case .reconnects: "connections lost and made anew"
    case .reconnectP50: "reconnection, median"
    case .reconnectP99: "reconnection, 99 %"
    case .reconnectMost: "reconnection, longest"
    case .resumedShare: "reconnections by ticket"
    case .refused: "fixes refused and sent again"
    case .calls: "system calls of the worker, a message"
    case .allocations: "allocations of the worker, a fix"
    case .allocationsTLS: "allocations of libssl, a fix"
    case .locks: "locks of the worker, a fix"
    case .generatorBusy: "generator busy"
    case .lagP50: "generator behind its schedule, median"
    case .lagP99: "generator behind its schedule, 99 %"
    case .stageNs: "time of an item"
    case .stageInstructions: "instructions of an item"
    case .stageAllocations: "allocations of an item"
    }
  }

  package var unit: String {
    switch self {
    case .fixesPerSecond, .openingsPerSecond: "/s"
    case .cpuPerMillion, .cpuPerMillionStored, .cpuWorker, .cpuSequencer, .cpuSink, .cpuOther: "s"
    case .p50, .p90, .p99, .p999, .p9999, .most, .lagP50, .lagP99, .reconnectP50, .reconnectP99, .reconnectMost: "ms"
    case .openingCPU: "us"
    case .stageNs: "ns"
    case .wireUp, .wireDown, .openingUp, .openingDown, .idleUser, .idleKernel: "B"
    case .generatorBusy, .openingGeneratorBusy, .resumedShare: "%"
    default: ""
    }
  }

  /// Figures about the generator or the run itself are neither.
  package var better: Better {
    switch self {
    case .fixesPerSecond, .openingsPerSecond: .higher
    case .fixesPerCommit, .generatorBusy, .openingGeneratorBusy, .lagP50, .lagP99, .moves, .reconnects,
      .resumedShare: .neither
    default: .lower
    }
  }

  /// As text, with its unit. Shares are given as percentages.
  package func text(_ value: Double) -> String {
    let number = Metric.number(unit == "%" ? value * 100 : value)
    return unit.isEmpty ? number : unit == "/s" ? number + "/s" : number + " " + unit
  }

  /// Three or four significant digits, thousands apart.
  package static func number(_ value: Double) -> String {
    guard value.isFinite else { return "-" }
    let size = abs(value)
    if size >= 1_000 { return grouped(Int(value.rounded())) }
    let places = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size == 0 ? 0 : 3
    return fixed(value, places)
  }

  /// Thousands apart.
  static func grouped(_ value: Int) -> String {
    var digits = String(value.magnitude)
    var at = digits.count - 3
    while at > 0 {
      digits.insert(",", at: digits.index(digits.startIndex, offsetBy: at))
      at -= 3
    }
    return (value < 0 ? "-" : "") + digits
  }

  /// - Parameter places: behind the point.
  static func fixed(_ value: Double, _ places: Int) -> String {
    var scale = 1.0
    for _ in 0..<places { scale *= 10 }
    let whole = Int64((value.magnitude * scale).rounded())
    guard places > 0 else { return (value < 0 && whole > 0 ? "-" : "") + "\(whole)" }
    let (integer, fraction) = whole.quotientAndRemainder(dividingBy: Int64(scale))
    let tail = String(repeating: "0", count: places - "\(fraction)".count) + "\(fraction)"
    return (value < 0 && whole > 0 ? "-" : "") + "\(integer).\(tail)"
  }
}
