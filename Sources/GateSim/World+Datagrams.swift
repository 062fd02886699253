import GateCore
import GateDevice
import GateMemory
import GateProto
import GateTLS
import Gateway

/// Devices over UDP: datagrams are lost, doubled, overtake each other, and their senders move.
extension World {
  // MARK: - The network

  mutating func sendDatagram(_ bytes: [UInt8], _ address: PeerAddress, isUp: Bool) {
    note(UInt64(bytes.count))
    if chance(plan.datagrams.lost) { return }
    for _ in 0..<(chance(plan.datagrams.doubled) ? 2 : 1) {
      let place = freeDatagrams.popLast() ?? datagrams.count
      let datagram = SimDatagram(bytes: bytes, address: address, isUp: isUp)
      if place == datagrams.count { datagrams.append(datagram) } else { datagrams[place] = datagram }
      push(.datagram(place), after: chance(plan.datagrams.late) ? upTo(10_000_000_000) : latencyNs())
    }
  }

  mutating func arriveDatagram(_ place: Int) {
    let datagram = datagrams[place]
    datagrams[place].bytes = []
    freeDatagrams.append(place)
    if datagram.bytes.isEmpty { return }
    if datagram.isUp {
      guard let worker = gateway?.datagrams else { return }
      if mayEndHandshake(datagram), chance(plan.datagrams.crashesInHandshake) {
        cutsPowerInCall = false
        disk.crash(inCalls: 1)
      }
      worker.arrived(datagram.bytes, from: datagram.address)
      wakeWorker(plan.workers)
    } else if let owner = addresses[datagram.address], devices[owner.device].client?.address == datagram.address {
      // Who has moved hears nothing at the old address.
      receiveDatagram(datagram.bytes, owner.device)
    }
  }

  /// Its device waits for the gateway's last flight.
  private func mayEndHandshake(_ datagram: SimDatagram) -> Bool {
    guard let owner = addresses[datagram.address], let client = devices[owner.device].client else { return false }
    return client.key == owner.key && client.session != nil && !client.dtls.isEstablished
  }

  /// All that is under way to this address comes at once.
  private mutating func hurry(to address: PeerAddress, _ device: Int) {
    for place in datagrams.indices where !datagrams[place].isUp && datagrams[place].address == address {
      let bytes = datagrams[place].bytes
      // Its place is free when its time has come.
      datagrams[place].bytes = []
      if !bytes.isEmpty { receiveDatagram(bytes, device) }
    }
  }

  mutating func datagramWorkerStep() {
    guard let worker = gateway?.datagrams else { return }
    let (moves, handshakes) = (worker.counters.addressChanges, worker.counters.handshakesDone)
    for each in worker.step(registry: registry, version: registryVersion, at: now, wallMs: wallMs) {
      if let owner = addresses[each.to], checkNumbers(of: each.datagram, key: owner.key, isUp: false).isSealed,
        let client = devices[owner.device].client, client.key == owner.key
      {
        client.isAnswered = true
      }
      sendDatagram(each.datagram, each.to, isUp: false)
    }
    tally.moves += worker.counters.addressChanges - moves
    tally.datagramHandshakes += worker.counters.handshakesDone - handshakes
    if worker.sessionCount > SimDatagrams.sessionsMax { violation = .overLimit("sessions over UDP") }
    if disk.isDown {
      if worker.counters.handshakesDone > handshakes { tally.crashesInHandshake += 1 }
      die(powerCut: cutsPowerInCall)
      return
    }
    if worker.hasUnsynced, keeperWake == nil {
      let at = now.advanced(byNs: upTo(plan.datagrams.keeperNs))
      keeperWake = at
      push(.keeper(run: life), at: at)
      if chance(plan.datagrams.crashesUnsynced) {
        let cutsPower = plan.datagrams.clockIsLost || random.next() % 2 == 0
        push(.fault(cutsPower ? .powerCut : .kill), after: upTo(at.since(now)))
      }
    }
    if !worker.toSequencer.isEmpty { wakeSequencer(at: now.advanced(byNs: upTo(300_000))) }
    if worker.hasWork {
      wakeWorker(plan.workers)
    } else if let deadline = worker.deadline {
      wakeWorker(plan.workers, at: max(deadline, now.advanced(byNs: 1_000_000)))
    }
  }

  private mutating func newAddress(_ index: Int, key: Int) -> PeerAddress {
    addressesGiven += 1
    let address = PeerAddress(
      high: 0, low: UInt64(addressesGiven >> 16), port: UInt16(truncatingIfNeeded: addressesGiven), scope: 0, isIPv6: false)
    addresses[address] = (index, key)
    return address
  }

  // MARK: - The device

  mutating func datagramDeviceStep(_ index: Int) {
    guard let client = devices[index].client else {
      connectOverUDP(index)
      return
    }
    do throws(DTLSError) {
      try client.dtls.expire(at: now)
    } catch {
      forgetClient(index)
      return
    }
    let session = devices[index].session
    if session.isSilent(at: now) || session.isClosing || client.dtls.isClosed {
      forgetClient(index)
      return
    }
    if client.dtls.isEstablished { talk(index, client) }
    if chance(plan.datagrams.moved) { client.address = newAddress(index, key: client.key) }
    _ = client.dtls.drain { datagram in
      let bytes = datagram.indices.map { datagram[$0] }
      if let session = checkNumbers(of: bytes, key: client.key, isUp: true).session { client.session = session }
      sendDatagram(bytes, client.address, isUp: true)
      return true
    }
    let deadlines = [client.dtls.deadline, client.isConnected ? devices[index].session.deadline : nil].compactMap { $0 }
    if let next = deadlines.min() { wakeDevice(index, at: max(next, now.advanced(byNs: 1_000_000))) }
  }

  private mutating func talk(_ index: Int, _ client: SimClient) {
    if !client.isConnected {
      client.isConnected = true
      devices[index].session.connectedOverUDP(at: now, isResumed: client.isResumed, seed: random.next())
    }
    let clock = World.wallStartMs + Int64(now.ns / 1_000_000) + devices[index].clockOffsetMs
    let fixes = devices[index].fixes
    var message: [UInt8] = []
    while devices[index].session.nextFrame(
      into: &message, at: now, clockMs: clock, monotonicMs: now.ns / 1_000_000, from: fixes)
    {
      if message.count > Limits.datagramBytesMax { violation = .overLimit("a message of \(message.count) bytes") }
      saveSession(index, client)
      tell("device \(index) sends a datagram of \(message.count) bytes, stream \(devices[index].session.log.stream)")
      guard (try? client.dtls.seal(message.span)) != nil else { return }
      message.removeAll(keepingCapacity: true)
    }
  }

  /// To flash, before a number is used that a restart could use again.
  private mutating func saveSession(_ index: Int, _ client: SimClient) {
    guard client.dtls.needsSaving else { return }
    devices[index].savedSession = client.dtls.save(boundTo: World.binding.span).map { ($0, client.key) }
  }

  static let binding = [UInt8](repeating: 1, count: 32)

  private mutating func connectOverUDP(_ index: Int) {
    let from = max(devices[index].reconnectAt, devices[index].session.pausedUntil)
    guard now >= from else {
      wakeDevice(index, at: from)
      return
    }
    let saved = devices[index].savedSession
    devices[index].savedSession = nil
    do {
      if let (bytes, key) = saved, let resumed = try? DTLSClient(resuming: bytes.span, boundTo: World.binding.span) {
        devices[index].client = SimClient(
          resumed, at: newAddress(index, key: key), isResumed: devices[index].isGreeted, key: key)
      } else {
        let fresh = try DTLSClient(context: SimCredentials.client.get(), serverName: "", at: now)
        keysGiven += 1
        devices[index].client = SimClient(
          fresh, at: newAddress(index, key: keysGiven), isResumed: false, key: keysGiven)
        devices[index].isGreeted = false
      }
    } catch {
      fatalError("libssl: \(error)")
    }
    wakeDevice(index, at: now)
  }

  /// A fresh handshake is needed.
  mutating func forgetClient(_ index: Int) {
    dropClient(index)
    devices[index].savedSession = nil
    devices[index].reconnectAt = now.advanced(byNs: upTo(2_000_000_000))
    wakeDevice(index, at: devices[index].reconnectAt)
  }

  mutating func dropClient(_ index: Int) {
    devices[index].client = nil
    devices[index].session.disconnected()
  }

  private mutating func receiveDatagram(_ datagram: [UInt8], _ index: Int) {
    guard let client = devices[index].client else { return }
    var messages: [[UInt8]] = []
    do throws(DTLSError) {
      try client.dtls.receive(datagram.span, at: now) { message in messages.append(message.indices.map { message[$0] }) }
    } catch {
      forgetClient(index)
      return
    }
    let wasClosing = devices[index].session.isClosing
    for message in messages where client.isConnected {
      if devices[index].session.isClosing, (try? Downlink.decode(message.span, message.indices))?.ack != nil {
        tally.lateAcks += 1
      }
      receive(message, index)
    }
    if !wasClosing, devices[index].session.isClosing, chance(512) { hurry(to: client.address, index) }
    if client.isConnected, devices[index].session.welcome != nil {
      devices[index].isGreeted = true
      client.isWelcome = true
    }
    // More may come before it looks at what this has changed.
    wakeDevice(index, at: now.advanced(byNs: upTo(plan.datagrams.twinsAndKills > 0 ? 1_000_000_000 : 100_000_000)))
  }
}
