import GateMemory

/// What the sequencer sees of a worker, whatever its transport.
protocol SimPort: AnyObject {
  var toSequencer: ByteRing { get }
  var toWorker: ByteRing { get }
  /// Fixes of backlog that a device may have unacked, as the sequencer says.
  var window: UInt32 { get set }
  /// Messages that the sequencer has not answered yet.
  var unanswered: Int { get }
  var hasWork: Bool { get }
}
