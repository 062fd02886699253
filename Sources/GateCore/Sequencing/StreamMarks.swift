/// What the gateway knows of one stream's sequences: which are durable or closed, and what the device has told beyond them.
package struct StreamMarks: Equatable, Sendable, Codable {
  /// Consecutive sequences.
  package struct Run: Equatable, Hashable, Sendable, Codable {
    package var first: UInt64
    package var count: UInt64
    package init(first: UInt64, count: UInt64) {
      self.first = first
      self.count = count
    }
    package var last: UInt64 { first + count - 1 }
  }

  package var stream: UInt32
  package var through: UInt64
  /// Ascending, each apart from the one before.
  package var above: [Run]
  /// The sequence that the device will give to its next fix, as it said with its last hello of this run; `nil` = not heard.
  package var next: UInt64?
  /// Where the limiter refused fixes last, and when by the gateway's clock.
  package var limited: Run?
  package var limitedMs: Int64?

  package init(_ state: StreamState) {
    stream = state.stream
    through = state.durable.through
    above = state.durable.above.map { Run(first: $0.first, count: $0.count) }
  }

  /// Highest sequence that is durable or closed.
  package var highest: UInt64 { above.last?.last ?? through }

  /// What is missing, ascending. `isTail`: nothing above it has come either.
  package var holes: [(run: Run, isTail: Bool)] {
    var holes: [(run: Run, isTail: Bool)] = []
    var at = through + 1
    for run in above {
      holes.append((Run(first: at, count: run.first - at), false))
      at = run.last + 1
    }
    if let next, next > at { holes.append((Run(first: at, count: next - at), true)) }
    return holes
  }
}

extension DeviceTable {
  package func marks(of device: Int) -> [StreamMarks] {
    (0..<streamCount(of: device)).map { StreamMarks(self[device, $0]) }
  }
}
