/// Where the sessions of one worker stand with the sequencer, by slot. 12 bytes a session: over UDP there may be a million.
struct SequencerSessions {
  /// What the session's word for its stream is.
  enum Introduction: UInt8, BitwiseCopyable {
    case hello
    /// A ticket, hello still to come. What was sent may be a replay, or of a counter that was reset.
    case ticket
    /// A ticket, and fixes above all that the stream had: no replay, and as good as a hello whose `next_sequence` is.
    case ticketWithNews
    /// Told STREAM_REUSED with its hello: `stream` is the one that it must leave.
    case leaving
  }

  struct Entry: BitwiseCopyable {
    var generation: UInt32
    /// Position among the device's streams, or one of the three below.
    var stream: UInt16
    var introduction = Introduction.hello
    /// Position among those that wait for the commit in hand; -1 = it does not.
    var waiter: Int32

    /// Has said no hello in this run.
    static let unknown = UInt16.max
    /// Told why with its hello; takes nothing until the next one.
    static let refused = UInt16.max - 1
    /// As `refused`, and no other hello is taken.
    static let over = UInt16.max - 2
    static let none = Entry(generation: 0, stream: unknown, waiter: -1)

    var isOpen: Bool { stream < Entry.over && introduction != .leaving }

    /// Whether a hello with this stream was sent before the device heard that it must leave it.
    func leaves(_ other: Int?) -> Bool { introduction == .leaving && other.map { UInt16($0) } == stream }

    /// Whether acks of the stream are for it: an ack of another one would be read as if it were of this.
    func hears(of other: Int) -> Bool { isOpen && Int(stream) == other && introduction != .ticket }
  }

  private var streams: [Entry] = []
  private var datagrams: [Entry] = []

  /// `.none` for a session that the slot has not been set for.
  subscript(session: SessionID) -> Entry {
    get {
      let index = session.index
      let entry =
        switch session.transport {
        case .stream: index < streams.count ? streams[index] : .none
        case .datagram: index < datagrams.count ? datagrams[index] : .none
        }
      return entry.generation == session.generation ? entry : .none
    }
    set {
      let index = session.index
      switch session.transport {
      case .stream: SequencerSessions.set(&streams, index, newValue)
      case .datagram: SequencerSessions.set(&datagrams, index, newValue)
      }
    }
  }

  /// The commit in hand is over.
  mutating func forgetWaiter(of session: SessionID) {
    guard self[session].waiter >= 0 else { return }
    self[session].waiter = -1
  }

  private static func set(_ entries: inout [Entry], _ index: Int, _ entry: Entry) {
    while entries.count <= index { entries.append(.none) }
    entries[index] = entry
  }
}
