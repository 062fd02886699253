package import GateProto

/// Which lane fixes travel in.
package enum LanePolicy: Equatable, Sendable {
  /// All in one, in the order in which they were recorded: the simplest tracker.
  case single(Lane)
  /// Panic at once, whatever else waits; then what is recorded now, the newest batch first; then the backlog.
  case liveFirst
}

/// How a device behaves; what `Settings` from the gateway may change is noted.
package struct DeviceOptions: Sendable {
  /// Most fixes in a frame. Settings change it.
  package var batchFixes = 60
  /// How long a fix may wait for others of its batch; 0 sends at once. The panic lane never waits. Settings change it.
  package var batchWaitNs: UInt64 = 0
  /// Fixes sent with hello, before `Welcome` tells the window.
  package var firstWindow: UInt64 = 120
  /// Window when the gateway tells 0 or none, and the most that is taken from a gateway.
  package var windowMax: UInt64 = 65_536
  package var lanes = LanePolicy.single(.live)
  package var device: DeviceInfo?
  package var work: Work?
  /// A ping goes out after so long without a frame, also while acks are awaited.
  package var pingAfterNs: UInt64 = 15_000_000_000
  /// So long after a ping or a frame without an answer, the connection counts as dead.
  package var silenceNs: UInt64 = 30_000_000_000

  package init() {}
}
