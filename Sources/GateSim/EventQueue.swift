import GateCore

/// What will happen, by time. Events of the same instant come in an order that the seed decides.
struct EventQueue {
  enum Event: Equatable {
    /// The gateway starts.
    case boot
    /// A worker, the sequencer, the sink or the checkpoint's writer goes on. Steps of an earlier run mean nothing.
    case worker(Int, run: Int)
    case sequencer(run: Int)
    case sink(run: Int)
    case checkpointer(run: Int)
    /// Who syncs the session file goes on.
    case keeper(run: Int)
    /// Who erases what subjects want forgotten goes on.
    case subjects(run: Int)
    case asked(PrivacyPlan.Request)
    /// The oldest bytes under way on a link arrive.
    case up(link: Int)
    case down(link: Int)
    /// A datagram arrives.
    case datagram(Int)
    case record(device: Int)
    case device(Int)
    case fault(FaultKind)
    /// Faults end.
    case quiet
  }

  private struct Entry {
    var at: Instant
    var order: UInt64
    var event: Event

    func precedes(_ other: Entry) -> Bool { at != other.at ? at < other.at : order < other.order }
  }

  private var heap: [Entry] = []

  mutating func push(_ event: Event, at: Instant, order: UInt64) {
    heap.append(Entry(at: at, order: order, event: event))
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child].precedes(heap[parent]) else { return }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  mutating func pop() -> (at: Instant, event: Event)? {
    guard let first = heap.first else { return nil }
    let last = heap.removeLast()
    guard !heap.isEmpty else { return (first.at, first.event) }
    heap[0] = last
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && heap[child].precedes(heap[least]) {
        least = child
      }
      if least == parent { return (first.at, first.event) }
      heap.swapAt(parent, least)
      parent = least
    }
  }
}
