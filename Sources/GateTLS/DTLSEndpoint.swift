package import GateCore

/// What a datagram brought, or the time. `slot` is the session's place among the live ones: below `sessionsMax`, and another's
/// once it is closed, so the owner may keep what it knows of a session in an array.
package enum DTLSEvent: Equatable, Sendable {
  /// A handshake is done: make a conversation for `session`.
  case opened(session: UInt64, slot: Int, peer: DTLSPeer)
  /// Plaintext of one record lies in this range of the room. `moved` = the device has a new address.
  case data(session: UInt64, slot: Int, range: Range<Int>, moved: Bool)
  /// The device said goodbye, ended with a fatal alert, or was silent for too long: its session is gone.
  case closed(session: UInt64, slot: Int)
}

/// What one endpoint has refused, for the operator.
package struct DTLSCounters: Equatable, Sendable {
  package var recordsOpened = 0
  /// Malformed, unknown connection ID, or of no session: never answered.
  package var unknown = 0
  package var forged = 0
  /// Seen before, or below the window.
  package var replayed = 0
  package var cookiesSent = 0
  package var handshakesStarted = 0
  package var handshakesDone = 0
  package var handshakesFailed = 0
  /// Not begun, because the owner would not.
  package var handshakesRefused = 0
  /// Half-open handshakes that gave way to newer ones.
  package var handshakesEvicted = 0
  /// Handshakes that were not begun, or were done for nothing, because no session was left.
  package var sessionsRefused = 0
  package var addressChanges = 0
  /// Sessions taken over from the session file.
  package var restored = 0
  /// Slots that could not be written: their sessions may not outlive the process.
  package var slotsFailed = 0
}

/// All DTLS of a worker's UDP sockets: tells cookies, handshakes and sessions apart, and keeps both within bounds. Datagrams, addresses
/// and time in; events and datagrams out; no descriptor, no clock. One for all sockets of a
/// worker, so that a session follows its device from IPv4 to IPv6 as well.
///
/// A session is named by a number: its connection ID's, also if the device knows none. Records of type 25 find their session
/// by connection ID and nothing else; classic ones by address (RFC 9146 section 4), which such a session cannot change.
///
/// With a `SessionShelf` its sessions outlive the process, see DTLSEndpoint+Store.swift.
///
/// Sendable: there is one owner, which may hand it to another thread.
@safe package struct DTLSEndpoint: ~Copyable, @unchecked Sendable {
  /// How often `expire` looks at half-open handshakes.
  static let sweepNs: UInt64 = 100_000_000
  /// After a change of address, until a second record has come from there: send at most so many times what came.
  static let unprovenFactor = 3
  private static let randomNumbersKept = 64

  private var context: DTLSServerContext
  private let gate: CookieGate
  private let cipher: RecordCipher
  private let node: UInt8
  private let shards: [UInt8]
  private let handshakesMax: Int
  /// Seconds since 1970 at `Instant` 0, so that what is kept on disk outlives a reboot.
  private let epochS: Int64

  var sessions: DTLSSessionTable
  var classic: [PeerAddress: UInt64] = [:]
  let shelf: SessionShelf?
  /// Last flights of handshakes that have just been done.
  private var lastFlights: [UInt64: DTLSLastFlight] = [:]
  private var handshakes: [PeerAddress: HalfOpen] = [:]
  /// Addresses in the order in which their handshakes began; those before `oldest` are gone.
  private var order: [(address: PeerAddress, serial: UInt64)] = []
  private var oldest = 0
  private var serial: UInt64 = 0
  private var lingering: [(session: UInt64, until: Instant)] = []
  private var swept: Instant? = nil
  /// For connection IDs to come, each used once.
  private var randomNumbers: [UInt64] = []
  private var outbox: [(datagram: [UInt8], to: PeerAddress)] = []

  /// Of the last `receive` or `forgetSilent`.
  package private(set) var events: [DTLSEvent] = []
  package internal(set) var counters = DTLSCounters()

  /// - Parameters:
  ///   - cookieKey: the same for all endpoints of a gateway.
  ///   - shards: this worker's virtual shards, one at least; see `UDPSocket.routeByShard`.
  ///   - shelf: where sessions are kept on disk; `nil` = nowhere.
  ///   - epochS: seconds from 1970-01-01 UTC to `Instant` 0.
  /// - Throws: `.library`: stop.
  package init(
    context: DTLSServerContext, cookieKey: [UInt8], node: UInt8, shards: [UInt8], sessionsMax: Int, handshakesMax: Int,
    shelf: SessionShelf? = nil, epochS: Int64 = 0
  ) throws(DTLSError) {
    precondition(!shards.isEmpty && sessionsMax > 0 && handshakesMax > 0)
    let gate = try CookieGate(key: cookieKey)
    let cipher = try RecordCipher()
    self.gate = gate
    self.cipher = cipher
    self.context = context
    self.node = node
    self.shards = shards
    self.handshakesMax = handshakesMax
    self.epochS = epochS
    self.shelf = shelf
    sessions = DTLSSessionTable(capacity: sessionsMax)
  }

  /// Seconds since 1970, as the clock went since the start.
  func seconds(at now: Instant) -> UInt32 { UInt32(clamping: epochS + Int64(now.ns / 1_000_000_000)) }

  /// Handshakes that begin from now on use this one.
  package mutating func use(_ context: DTLSServerContext) { self.context = context }

  package var sessionCount: Int { sessions.count }
  package var handshakeCount: Int { handshakes.count }

  // MARK: Receiving

  /// Takes one datagram. `events` then says what it brought; datagrams may wait for `drain`.
  /// - Parameters:
  ///   - plaintext: has room for a datagram's length and `DTLSHandshake.earlyBytesMax` behind `start`.
  ///   - mayBegin: asked before a handshake costs anything, when the device has shown that it receives at its address. A hello
  ///     that is turned down is not answered; its device sends it again.
  package mutating func receive(
    _ datagram: Span<UInt8>, from address: PeerAddress, at now: Instant, plaintext: inout MutableSpan<UInt8>,
    behind start: Int = 0, mayBegin: () -> Bool = { true }
  ) {
    events.removeAll(keepingCapacity: true)
    var offset = start
    var at = 0
    while at < datagram.count {
      guard let record = try? DTLSRecord.next(in: datagram, from: at) else {
        counters.unknown += 1
        return
      }
      at = record.whole.upperBound
      if record.type == .tls12CID {
        guard let id = ConnectionID(datagram.extracting(record.connectionID)) else { continue }
        if let place = sessions.place(of: id.word), sessions[place].usesConnectionID {
          take(record, of: datagram, by: place, from: address, at: now, into: &plaintext, at: &offset)
          continue
        }
      } else if record.epoch > 0, handshakes[address] == nil {
        if let session = classic[address], let place = sessions.place(of: session) {
          take(record, of: datagram, by: place, from: address, at: now, into: &plaintext, at: &offset)
        } else {
          counters.unknown += 1
        }
        continue
      }
      handshake(
        datagram.extracting(record.whole), record, from: address, at: now, into: &plaintext, at: &offset, mayBegin)
    }
  }

  private mutating func take(
    _ record: DTLSRecord, of datagram: Span<UInt8>, by place: Int, from address: PeerAddress, at now: Instant,
    into plaintext: inout MutableSpan<UInt8>, at offset: inout Int
  ) {
    let start = offset
    let opened: DTLSOpened
    do throws(DTLSError) {
      opened = try sessions[place].session.open(record, of: datagram, into: &plaintext, at: &offset, with: cipher)
    } catch {
      switch error {
      case .replayed, .tooOld: counters.replayed += 1
      case .forged: counters.forged += 1
      default: counters.unknown += 1
      }
      return
    }
    counters.recordsOpened += 1
    noteHeard(at: place, seconds(at: now))
    let moved = noteAddress(address, of: place, isNewest: opened.isNewest, bytes: record.whole.count)
    let session = sessions[place].id
    switch opened.content {
    case .applicationData:
      if !lastFlights.isEmpty { lastFlights[session] = nil }
      events.append(.data(session: session, slot: place, range: start..<offset, moved: moved))
    case .alert(let level, let description):
      guard level == 2 || description == 0 else { return }
      if description == 0 { answer(.alert, [1, 0], by: place, to: address) }
      remove(session)
      events.append(.closed(session: session, slot: place))
    case .finished:
      guard var last = lastFlights[session], let again = try? last.again(in: &sessions[place].session, with: cipher) else {
        return
      }
      lastFlights[session] = last
      for datagram in again { outbox.append((datagram, address)) }
    case .renegotiation: answer(.alert, [1, 100], by: place, to: address)
    }
  }

  /// RFC 9146 section 6: only an authentic record that is newer than all before moves the address.
  /// - Returns: whether it moved.
  private mutating func noteAddress(_ address: PeerAddress, of place: Int, isNewest: Bool, bytes: Int) -> Bool {
    if address == sessions[place].address {
      sessions[place].unprovenCredit = nil
      if isNewest { sessions[place].address = address }
      return false
    }
    guard isNewest, sessions[place].usesConnectionID else { return false }
    sessions[place].address = address
    sessions[place].unprovenCredit = Int32(clamping: DTLSEndpoint.unprovenFactor * bytes)
    counters.addressChanges += 1
    return true
  }

  private mutating func answer(_ type: DTLSContentType, _ bytes: [UInt8], by place: Int, to address: PeerAddress) {
    var datagram = [UInt8](repeating: 0, count: sessions[place].session.recordBytes(plaintextBytes: bytes.count))
    var offset = 0
    var room = datagram.mutableSpan
    guard (try? sessions[place].session.seal(type, bytes.span, into: &room, at: &offset, with: cipher)) != nil else { return }
    outbox.append((datagram, address))
  }

  // MARK: Handshakes

  private mutating func handshake(
    _ bytes: Span<UInt8>, _ record: DTLSRecord, from address: PeerAddress, at now: Instant,
    into plaintext: inout MutableSpan<UInt8>, at offset: inout Int, _ mayBegin: () -> Bool
  ) {
    if let half = handshakes[address] {
      let isOtherHello = record.epoch == 0 && DTLSHandshake.isClientHello(bytes) && half.handshake?.answers(bytes) == false
      guard isOtherHello else {
        _ = try? half.handshake?.receive(bytes, at: now, with: cipher)
        settle(half, at: now, into: &plaintext, at: &offset)
        return
      }
      guard proven(bytes, from: address, at: now, mayBegin) else { return }
      // The device has started anew from the same address: its old flights would only confuse it.
      handshakes[address] = nil
      counters.handshakesFailed += 1
    } else {
      guard record.epoch == 0 else {
        counters.unknown += 1
        return
      }
      guard proven(bytes, from: address, at: now, mayBegin) else { return }
    }
    begin(bytes, from: address, at: now, into: &plaintext, at: &offset)
  }

  /// Whether this is a ClientHello with a good cookie whose handshake may begin. One without is answered by a
  /// HelloVerifyRequest.
  private mutating func proven(
    _ bytes: Span<UInt8>, from address: PeerAddress, at now: Instant, _ mayBegin: () -> Bool
  ) -> Bool {
    var reply = [UInt8](repeating: 0, count: CookieGate.replyBytes)
    var room = reply.mutableSpan
    let from = address.bytes
    switch gate.examine(bytes, from: from.span, at: now, reply: &room) {
    case .proven:
      if mayBegin() { return true }
      counters.handshakesRefused += 1
    case .refused: counters.unknown += 1
    case .verify:
      counters.cookiesSent += 1
      outbox.append((reply, address))
    }
    return false
  }

  private mutating func begin(
    _ hello: Span<UInt8>, from address: PeerAddress, at now: Instant, into plaintext: inout MutableSpan<UInt8>,
    at offset: inout Int
  ) {
    guard sessions.count < sessions.capacity else {
      counters.sessionsRefused += 1
      return
    }
    forgetEnded()
    if handshakes.count >= handshakesMax { evictOldest() }
    guard let id = newID() else {
      counters.handshakesFailed += 1
      return
    }
    serial += 1
    let half = HalfOpen(id: id.word, address: address, serial: serial)
    do throws(DTLSError) {
      half.handshake = try DTLSHandshake(server: context, hello: hello, connectionID: id, at: now, with: cipher)
    } catch {
      counters.handshakesFailed += 1
      return
    }
    counters.handshakesStarted += 1
    if handshakes.isEmpty { swept = now }
    handshakes[address] = half
    order.append((address, serial))
    settle(half, at: now, into: &plaintext, at: &offset)
  }

  /// An unguessable connection ID that no session has. (Two handshakes at one time share 48 random bits too rarely; `settle`
  /// refuses the second.)
  private mutating func newID() -> ConnectionID? {
    for _ in 0..<4 {
      // Taken many at a time: to ask the generator takes longer than its answer.
      if randomNumbers.isEmpty {
        guard let bytes = try? randomBytes(8 * DTLSEndpoint.randomNumbersKept) else { return nil }
        for at in stride(from: 0, to: bytes.count, by: 8) { randomNumbers.append(bytes.span.load64(at: at)) }
      }
      let number = randomNumbers.removeLast()
      let shard = shards[Int((number >> 48) % UInt64(shards.count))]
      let id = ConnectionID(node: node, shard: shard, random: number)
      if sessions.place(of: id.word) == nil { return id }
    }
    return nil
  }

  private mutating func evictOldest() {
    guard oldest < order.count else { return }
    handshakes[order[oldest].address] = nil
    counters.handshakesEvicted += 1
  }

  /// Makes `order[oldest]` a handshake that is still there. One that stays moves on within `DTLSHandshake.lifeNs`.
  private mutating func forgetEnded() {
    while oldest < order.count, handshakes[order[oldest].address]?.serial != order[oldest].serial { oldest += 1 }
    guard oldest > 256, oldest > order.count / 2 else { return }
    order.removeFirst(oldest)
    oldest = 0
  }

  /// Sends what a handshake has to say; makes its session if it is done, and ends it if it failed.
  private mutating func settle(
    _ half: HalfOpen, at now: Instant, into plaintext: inout MutableSpan<UInt8>, at offset: inout Int
  ) {
    guard sendOutput(of: half), half.handshake?.isDone == true else { return }
    handshakes[half.address] = nil
    guard let established = half.handshake.take()?.finish() else { return }
    let (peer, last, early) = (established.peer, established.lastFlight, established.early)
    let live = LiveSession(
      established.takeSession(), id: half.id, address: half.address, heardS: seconds(at: now),
      fileSlot: shelf?.takeSlot() ?? LiveSession.noSlot)
    guard let place = add(live) else {
      counters.sessionsRefused += 1
      return
    }
    counters.handshakesDone += 1
    if !sessions[place].usesConnectionID, let old = classic.updateValue(half.id, forKey: half.address) {
      // A classic session behind the same address is dead: its device has made this one.
      if let dead = remove(old) { events.append(.closed(session: old, slot: dead)) }
    }
    lastFlights[half.id] = last
    lingering.append((half.id, now.advanced(byNs: DTLSLastFlight.keptNs)))
    events.append(.opened(session: half.id, slot: place, peer: peer))
    for bytes in early {
      guard let record = try? DTLSRecord.next(in: bytes.span, from: 0) else { continue }
      take(record, of: bytes.span, by: place, from: half.address, at: now, into: &plaintext, at: &offset)
    }
  }

  /// - Returns: false if the handshake has failed; it is then gone, its alert on the way.
  private mutating func sendOutput(of half: HalfOpen) -> Bool {
    for datagram in half.handshake?.takeOutput() ?? [] { outbox.append((datagram, half.address)) }
    guard half.handshake?.error != nil else { return true }
    handshakes[half.address] = nil
    counters.handshakesFailed += 1
    return false
  }

  // MARK: Sending

  /// Where the session's datagrams go now; `nil` if there is no such session, or it has not sent since the start.
  package func address(of session: UInt64) -> PeerAddress? {
    guard let place = sessions.place(of: session) else { return nil }
    return sessions[place].address
  }

  /// Seals `plaintext` for a session into `datagram` at `offset`.
  /// - Returns: where to send it; `nil` if there is no such session, or it may not be sent this now: its address is new, or
  ///   the next block of its record numbers is not durable yet.
  /// - Throws: `.noRoom`; `.sequenceExhausted`: `close` the session.
  package mutating func seal(
    _ plaintext: Span<UInt8>, for session: UInt64, into datagram: inout MutableSpan<UInt8>, at offset: inout Int
  ) throws(DTLSError) -> PeerAddress? {
    guard let place = sessions.place(of: session), let address = sessions[place].address, mayWrite(at: place) else {
      return nil
    }
    let bytes = sessions[place].session.recordBytes(plaintextBytes: plaintext.count)
    if let credit = sessions[place].unprovenCredit {
      guard bytes <= credit else { return nil }
      sessions[place].unprovenCredit = credit - Int32(bytes)
    }
    try sessions[place].session.seal(.applicationData, plaintext, into: &datagram, at: &offset, with: cipher)
    return address
  }

  /// Forgets a session, with close_notify to its device: for a revoked one, or one that has a newer session.
  package mutating func close(_ session: UInt64) {
    guard let place = sessions.place(of: session) else { return }
    if sessions[place].unprovenCredit == nil, let address = sessions[place].address {
      answer(.alert, [1, 0], by: place, to: address)
    }
    remove(session)
  }

  /// Forgets sessions that have been silent for so long, without a word to their devices. Looks at all of them: call it now
  /// and then. A classic session is worth keeping for minutes, since its address is soon another's; one with a connection ID
  /// for weeks. `events` names those forgotten.
  package mutating func forgetSilent(at now: Instant, classicForS: Int, withConnectionIDForS: Int) {
    events.removeAll(keepingCapacity: true)
    let nowS = Int(seconds(at: now))
    sessions.forEach { place in
      let limit = sessions[place].usesConnectionID ? withConnectionIDForS : classicForS
      guard nowS - Int(sessions[place].heardS) > limit else { return }
      events.append(.closed(session: sessions[place].id, slot: place))
    }
    for case .closed(let session, _) in events { remove(session) }
  }

  /// - Returns: its place.
  @discardableResult
  private mutating func remove(_ session: UInt64) -> Int? {
    guard let place = sessions.place(of: session) else { return nil }
    if let address = sessions[place].address, classic[address] == session { classic[address] = nil }
    shelf?.release(sessions[place].fileSlot)
    lastFlights[session] = nil
    sessions.remove(at: place)
    return place
  }

  package var hasOutput: Bool { !outbox.isEmpty }

  /// Hands each waiting datagram to `send`, which says whether it took it.
  /// - Returns: true when nothing waits any more.
  package mutating func drain<E: Error>(_ send: (Span<UInt8>, PeerAddress) throws(E) -> Bool) throws(E) -> Bool {
    var sent = 0
    defer { outbox.removeFirst(sent) }
    for (datagram, address) in outbox {
      guard try send(datagram.span, address) else { return false }
      sent += 1
    }
    return true
  }

  // MARK: Time

  /// When `expire` is due; `nil` while nothing waits for time.
  package var deadline: Instant? {
    guard let swept, !handshakes.isEmpty || !lingering.isEmpty else { return nil }
    return handshakes.isEmpty ? lingering.first?.until : swept.advanced(byNs: DTLSEndpoint.sweepNs)
  }

  /// Sends flights again, and drops handshakes and last flights whose time is over.
  package mutating func expire(at now: Instant) {
    guard let deadline, now >= deadline else { return }
    swept = now
    for half in Array(handshakes.values) {
      guard let due = half.handshake?.deadline, now >= due else { continue }
      try? half.handshake?.expire(at: now, with: cipher)
      _ = sendOutput(of: half)
    }
    var over = 0
    while over < lingering.count, lingering[over].until <= now {
      lastFlights[lingering[over].session] = nil
      over += 1
    }
    lingering.removeFirst(over)
  }
}

/// One handshake of an endpoint.
final class HalfOpen {
  var handshake: DTLSHandshake? = nil
  let id: UInt64
  let address: PeerAddress
  let serial: UInt64

  init(id: UInt64, address: PeerAddress, serial: UInt64) {
    self.id = id
    self.address = address
    self.serial = serial
  }
}
