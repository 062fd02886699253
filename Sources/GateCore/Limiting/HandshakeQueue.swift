/// Which ClientHellos a worker answers, and when. A handshake costs a signature and some 40 KB until it is done, a thousand
/// times what a fix costs, so they are metered and wait in a bounded queue while live sessions are served.
///
/// Those that offer a ticket go first and are not charged to the rate: they cost no signature. The claim is checked when the
/// handshake has begun, by `proved` and `wasFull`. What waits or stays half-open is named by its session; the owner knows
/// whether it still lives and tells by `forget`.
package struct HandshakeQueue: Sendable {
  package struct Settings: Equatable, Sendable {
    /// Full handshakes.
    package var rate: GCRA
    /// Handshakes under way. Full ones may have three quarters of it, so that resumptions always find room.
    package var halfOpenMax: Int
    package var waitingMax: Int
    /// A stranger's handshake under way for longer gives its place to one that waits.
    package var patienceNs: UInt64

    package init(rate: GCRA, halfOpenMax: Int, waitingMax: Int, patienceNs: UInt64) {
      precondition(halfOpenMax > 0 && waitingMax > 0)
      self.rate = rate
      self.halfOpenMax = halfOpenMax
      self.waitingMax = waitingMax
      self.patienceNs = patienceNs
    }
  }

  package enum Offer: Equatable, Sendable {
    case waits
    /// The queue is full: close it.
    case refused
    /// It waits, and in its stead that one is to be closed: it came last of those without a ticket.
    case displaces(SessionID)
  }

  private struct Entry: Equatable {
    var id: SessionID
    var at: Instant
  }

  package let settings: Settings
  private var word: UInt64 = 0
  /// As it was before the last `next`.
  private var wordBefore: UInt64 = 0
  private var resumed = Line()
  private var full = Line()
  /// Full ones whose source has come to nothing often of late.
  private var suspect = Line()
  /// Under way, oldest first: those of whom nothing is known, and those whose ticket was good. These have shown that they are
  /// devices, and a storm is when devices are slow: they keep their place for as long as any handshake may take.
  private var strangers = Line()
  private var proven = Line()

  package init(_ settings: Settings) { self.settings = settings }

  package var waiting: Int { resumed.count + full.count + suspect.count }
  package var halfOpen: Int { strangers.count + proven.count }
  package var isIdle: Bool { waiting == 0 && halfOpen == 0 }

  /// A whole ClientHello is there.
  package mutating func offer(_ id: SessionID, resumes: Bool, at now: Instant) -> Offer {
    if waiting >= settings.waitingMax {
      guard resumes, let last = suspect.removeLast() ?? full.removeLast() else { return .refused }
      resumed.append(Entry(id: id, at: now))
      return .displaces(last.id)
    }
    if resumes {
      resumed.append(Entry(id: id, at: now))
    } else {
      full.append(Entry(id: id, at: now))
    }
    return .waits
  }

  /// The next whose handshake may begin now; it counts as under way until `forget`.
  package mutating func next(at now: Instant) -> SessionID? {
    guard !isBlocked else { return nil }
    wordBefore = word
    if let entry = resumed.removeFirst() {
      strangers.append(Entry(id: entry.id, at: now))
      return entry.id
    }
    guard full.count + suspect.count > 0,
      case .granted(let next) = settings.rate.charge(word, units: 1, at: now),
      let entry = full.removeFirst() ?? suspect.removeFirst()
    else { return nil }
    word = next
    strangers.append(Entry(id: entry.id, at: now))
    return entry.id
  }

  /// The ticket of a handshake under way was good.
  package mutating func proved(_ id: SessionID, at now: Instant) {
    if strangers.remove(id) { proven.append(Entry(id: id, at: now)) }
  }

  /// What `next` has just named goes behind all others after all, since its source is suspect. Only while others wait.
  /// - Returns: false if none do: begin it.
  package mutating func demote(_ id: SessionID, at now: Instant) -> Bool {
    guard full.count > 0, strangers.remove(id) else { return false }
    word = wordBefore
    suspect.append(Entry(id: id, at: now))
    return true
  }

  /// A handshake under way that has to give its place to one that waits: close it and `forget` it, unless its answer has come
  /// meanwhile.
  package func overdue(at now: Instant) -> SessionID? {
    guard waiting > 0, isBlocked, let oldest = strangers.first, now.since(oldest.at) >= settings.patienceNs else { return nil }
    return oldest.id
  }

  /// When it is worth asking `next` again although nothing ends; `nil` if nothing waits for time to pass.
  package func deadline(at now: Instant) -> Instant? {
    guard waiting > 0 else { return nil }
    if isBlocked { return strangers.first.map { $0.at.advanced(byNs: settings.patienceNs) } }
    if resumed.count > 0 { return now }
    guard case .limited(let waitNs) = settings.rate.charge(word, units: 1, at: now) else { return now }
    return waitNs.map { now.advanced(byNs: $0) }
  }

  /// A handshake begun as a resumption took a signature after all: the ticket was old, or a lie.
  package mutating func wasFull(at now: Instant) {
    if case .granted(let next) = settings.rate.charge(word, units: 1, at: now) { word = next }
  }

  /// Charges a full handshake that does not wait here.
  /// - Returns: false if none may begin now.
  package mutating func charge(at now: Instant) -> Bool {
    guard case .granted(let next) = settings.rate.charge(word, units: 1, at: now) else { return false }
    word = next
    return true
  }

  /// The handshake is done, or its connection has ended.
  package mutating func forget(_ id: SessionID) {
    _ = strangers.remove(id) || proven.remove(id) || resumed.remove(id) || full.remove(id) || suspect.remove(id)
  }

  /// No place is free for the next that waits.
  private var isBlocked: Bool {
    halfOpen >= settings.halfOpenMax || resumed.count == 0 && strangers.count >= max(settings.halfOpenMax * 3 / 4, 1)
  }

  /// First in, first out, with removal by name in constant time on average: what is removed leaves a hole, and holes are
  /// squeezed out when they outnumber the rest. The front is never a hole.
  private struct Line {
    private var entries: [Entry?] = []
    private var head = 0
    /// `entries[0]` has this place.
    private var base = 0
    private var places: [SessionID: Int] = [:]

    var count: Int { places.count }
    var first: Entry? { head < entries.count ? entries[head] : nil }

    mutating func append(_ entry: Entry) {
      places[entry.id] = base + entries.count
      entries.append(entry)
    }

    @discardableResult mutating func removeFirst() -> Entry? {
      guard let entry = first else { return nil }
      _ = remove(entry.id)
      return entry
    }

    mutating func removeLast() -> Entry? {
      for index in stride(from: entries.count - 1, through: head, by: -1) {
        guard let entry = entries[index] else { continue }
        _ = remove(entry.id)
        return entry
      }
      return nil
    }

    mutating func remove(_ id: SessionID) -> Bool {
      guard let place = places.removeValue(forKey: id) else { return false }
      entries[place - base] = nil
      while head < entries.count, entries[head] == nil { head += 1 }
      if entries.count > 2 * places.count + 64 { squeeze() }
      return true
    }

    private mutating func squeeze() {
      base += entries.count
      entries = entries.filter { $0 != nil }
      head = 0
      for (index, entry) in entries.enumerated() {
        if let entry { places[entry.id] = base + index }
      }
    }
  }
}
