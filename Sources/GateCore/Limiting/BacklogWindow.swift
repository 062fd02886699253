/// How much backlog a device may have unacked: all of the configured window while the journal has room, halved step by step as
/// it fills, so that a full one is met by devices that send little.
package enum BacklogWindow {
  /// The window never becomes smaller than a batch.
  package static let fixesMin = 60

  /// - Parameters:
  ///   - full: fixes, as configured.
  ///   - used, limit: bytes of the journal, and how many it may have.
  package static func fixes(full: Int, used: Int, limit: Int) -> Int {
    guard used > limit / 2 else { return full }
    // Sixteenths of the upper half that are used: every three halve the window.
    let sixteenths = min((used - limit / 2) / max(limit / 32, 1), 16)
    return max(full >> (sixteenths / 3 + 1), min(fixesMin, full))
  }
}
