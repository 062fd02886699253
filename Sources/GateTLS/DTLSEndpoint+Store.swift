package import GateCore

/// What an endpoint needs to keep its sessions in the session file.
///
/// Sendable: it is one endpoint's, which goes to another thread with it.
package final class SessionShelf: @unchecked Sendable {
  var seal: SessionSeal
  /// Of this run, see `WriteReservation`.
  let base: UInt64
  let reservation: WriteReservation
  private var free: [UInt32]
  /// Of sessions that ended: overwritten, then free.
  fileprivate var ended: [UInt32] = []
  /// Sessions whose slots wait to be written.
  fileprivate var dirty: [UInt64] = []
  /// What was written and is not durable yet, by ticket.
  fileprivate var unsettled: [Unsettled] = []

  fileprivate struct Unsettled {
    let session: UInt64
    let writeLimit: UInt64
    let ticket: UInt64
  }

  /// - Parameter free: slots that are this endpoint's and hold nothing.
  package init(
    seal: consuming SessionSeal, base: UInt64, free: [UInt32], reservation: WriteReservation = .standard
  ) {
    self.seal = seal
    self.base = base
    self.reservation = reservation
    self.free = free
  }

  func takeSlot() -> UInt32? { free.popLast() }

  func release(_ slot: UInt32) {
    if slot != LiveSession.noSlot { ended.append(slot) }
  }

  func putBack(_ slot: UInt32) { free.append(slot) }
}

/// Sessions that outlive the process.
///
/// Order is all: a worker that has received a batch calls `store`, and only then `drain` and `seal`. So what leaves the gateway
/// was handed to the kernel before, and kill -9 loses no session that its device knows of. The file is synced behind the
/// worker's back, without its waiting: nothing that must not happen twice depends on a write that is not durable.
/// - A record number: a new session uses the block that its slot names. Should the slot be lost, the session is gone with it,
///   and its keys are never used again. Later blocks are used only when `settle` has said that their reservation is durable.
/// - An old slot that comes back from the dead was a good session once: its numbers go on above its reservation, and its
///   device is judged anew.
///
/// What a power cut may undo: sessions of the last moments, whose devices shake hands again, and records that the window has
/// seen, which may then be replayed. A fix that comes twice is a duplicate.
extension DTLSEndpoint {
  /// How old `heardS` in a slot may get.
  static let heardStepS: UInt32 = 3_600

  /// Takes over a session of the file, with no word to its device. Before the first `receive`.
  /// - Parameters:
  ///   - bytes: a whole slot.
  ///   - number: its own.
  /// - Returns: `nil` if it holds none that can go on; the slot is then free.
  package mutating func restore(_ bytes: Span<UInt8>, number: UInt32) -> (session: UInt64, slot: Int, facts: SessionFacts)? {
    guard case .session(let slot) = SessionSlot.read(bytes), let live = revive(bytes, slot, number: number) else {
      shelf?.release(number)
      return nil
    }
    let (id, address) = (live.id, live.address)
    guard let place = sessions.insert(live) else {
      shelf?.release(number)
      return nil
    }
    if let address { classic[address] = id }
    counters.restored += 1
    return (id, place, slot.facts)
  }

  private func revive(_ bytes: Span<UInt8>, _ slot: SessionSlot, number: UInt32) -> LiveSession? {
    guard let shelf, let next = shelf.reservation.resume(slot, base: shelf.base), next < DTLSSession.sequencesMax,
      var session = shelf.seal.open(bytes, slot, number: number, writeSequence: next)
    else { return nil }
    session.writeLimit = min(next + shelf.reservation.block, DTLSSession.sequencesMax)
    var live = LiveSession(
      session, id: slot.connectionID, address: slot.address, heardS: slot.heardS, fileSlot: number)
    live.isSealed = true
    live.storedS = slot.heardS
    return live
  }

  /// What the session's conversation knows has changed, so its slot is written with the next `store`.
  package mutating func factsChanged(of session: UInt64) {
    if let place = sessions.place(of: session) { markDirty(place) }
  }

  /// Writes the slots of sessions that are new, have changed or are gone.
  /// - Parameters:
  ///   - facts: of the session's conversation; `slot` as in `DTLSEvent`.
  ///   - write: puts the bytes to the front of the slot with this number, and returns the ticket by which `settle` will say
  ///     that they are durable; tickets never fall. `nil` = it failed: a later change tries again.
  package mutating func store(facts: (UInt64, _ slot: Int) -> SessionFacts, write: (UInt32, Span<UInt8>) -> UInt64?) {
    guard let shelf, hasUnstored else { return }
    let (dirty, ended) = (shelf.dirty, shelf.ended)
    (shelf.dirty, shelf.ended) = ([], [])
    var bytes = [UInt8](repeating: 0, count: SessionSlot.bytes)
    for slot in ended {
      if write(slot, bytes.span) == nil {
        counters.slotsFailed += 1
        shelf.ended.append(slot)
      } else {
        shelf.putBack(slot)
      }
    }
    for session in dirty {
      guard let place = sessions.place(of: session), sessions[place].isDirty else { continue }
      sessions[place].isDirty = false
      let limit = min(shelf.reservation.ahead(of: sessions[place].session.writeSequence), DTLSSession.sequencesMax)
      var room = bytes.mutableSpan
      let isWhole = !sessions[place].isSealed
      guard writeSlot(at: place, facts: facts(session, place), reserving: limit, isWhole: isWhole, into: &room),
        let ticket = write(
          sessions[place].fileSlot, bytes.span.extracting(0..<(isWhole ? SessionSlot.bytes : SessionSlot.changingBytes)))
      else {
        counters.slotsFailed += 1
        continue
      }
      sessions[place].isSealed = true
      sessions[place].storedS = sessions[place].heardS
      sessions[place].isHeardSince = false
      if limit > sessions[place].session.writeLimit {
        shelf.unsettled.append(SessionShelf.Unsettled(session: session, writeLimit: limit, ticket: ticket))
      }
    }
  }

  /// Whether the session has a slot in the file, so that it is to outlive the process.
  package func isKept(_ session: UInt64) -> Bool {
    sessions.place(of: session).map { sessions[$0].fileSlot != LiveSession.noSlot } ?? false
  }

  /// Has the next `store` write every session that was heard since its slot was written: for a clean stop, after which nothing
  /// can be replayed.
  package mutating func storeAll() {
    var heard: [Int] = []
    sessions.forEach { if sessions[$0].isHeardSince { heard.append($0) } }
    for place in heard { markDirty(place) }
  }

  private func writeSlot(
    at place: Int, facts: SessionFacts, reserving limit: UInt64, isWhole: Bool, into bytes: inout MutableSpan<UInt8>
  ) -> Bool {
    guard let shelf else { return false }
    SessionSlot(
      connectionID: sessions[place].id, facts: facts, writeBase: shelf.base, writeReserved: limit,
      readNext: sessions[place].session.window.next, heardS: sessions[place].heardS,
      address: sessions[place].usesConnectionID ? nil : sessions[place].address
    ).write(into: &bytes)
    guard isWhole else { return true }
    let (id, slot) = (sessions[place].id, sessions[place].fileSlot)
    return (try? shelf.seal.close(sessions[place].session, connectionID: id, slot: slot, into: &bytes)) != nil
  }

  /// All writes up to this ticket are durable.
  package mutating func settle(through ticket: UInt64) {
    guard let shelf, case let unsettled = shelf.unsettled, let first = unsettled.first, first.ticket <= ticket else { return }
    let count = unsettled.firstIndex { $0.ticket > ticket } ?? unsettled.count
    for entry in unsettled[..<count] {
      guard let place = sessions.place(of: entry.session) else { continue }
      let limit = sessions[place].session.writeLimit
      sessions[place].session.writeLimit = max(limit, entry.writeLimit)
    }
    shelf.unsettled.removeFirst(count)
  }

  /// Whether `store` has something to write.
  package var hasUnstored: Bool { !(shelf?.dirty.isEmpty ?? true) || !(shelf?.ended.isEmpty ?? true) }
  /// Whether something waits for `settle`.
  package var isUnsettled: Bool { !(shelf?.unsettled.isEmpty ?? true) }

  // MARK: What the rest of the endpoint tells

  /// - Returns: its place; `nil` if there is no room.
  mutating func add(_ live: consuming LiveSession) -> Int? {
    let slot = live.fileSlot
    if let shelf, slot != LiveSession.noSlot {
      live.session.writeLimit = shelf.reservation.ahead(of: live.session.writeSequence)
    }
    guard let place = sessions.insert(live) else {
      if slot != LiveSession.noSlot { shelf?.putBack(slot) }
      return nil
    }
    markDirty(place)
    return place
  }

  mutating func noteHeard(at place: Int, _ nowS: UInt32) {
    sessions[place].heardS = nowS
    sessions[place].isHeardSince = true
    if nowS &- sessions[place].storedS >= DTLSEndpoint.heardStepS { markDirty(place) }
  }

  /// Whether a record may be sealed now. Asks for the next block when half of this one is used.
  mutating func mayWrite(at place: Int) -> Bool {
    guard let shelf, sessions[place].fileSlot != LiveSession.noSlot else { return true }
    let (next, limit) = (sessions[place].session.writeSequence, sessions[place].session.writeLimit)
    if shelf.reservation.ahead(of: next) > limit, limit < DTLSSession.sequencesMax { markDirty(place) }
    return next < limit || limit == DTLSSession.sequencesMax
  }

  private mutating func markDirty(_ place: Int) {
    guard sessions[place].fileSlot != LiveSession.noSlot, !sessions[place].isDirty else { return }
    sessions[place].isDirty = true
    shelf?.dirty.append(sessions[place].id)
  }
}
