import GateCore
import GateDevice
import GateMemory
import GateProto
import GateStore
import GateTLS
import Gateway

/// Devices: enrolment, recording, connecting, and what they learn from acks.
extension World {
  mutating func deviceOptions() -> DeviceOptions {
    var options = DeviceOptions()
    options.batchFixes = plan.batchFixes
    if plan.liveFirst { options.lanes = .liveFirst }
    options.firstWindow = 1 + upTo(200)
    if plan.datagrams.hasWork { options.work = Work(task: "t") }
    if random.next() % 4 == 0 { options.batchWaitNs = upTo(3_000_000_000) }
    return options
  }

  mutating func enrol() {
    deviceCount += 1
    var token = [UInt8](repeating: 0, count: Hello.tokenBytes)
    for i in token.indices { token[i] = UInt8(truncatingIfNeeded: random.next()) }
    add(
      SimDevice(
        device: deviceCount, owner: owners, token: token, stream: UInt32(truncatingIfNeeded: random.next()) | 1,
        toRecord: plan.fixesPerDevice, options: deviceOptions()))
  }

  mutating func add(_ device: SimDevice) {
    owners += 1
    devices.append(device)
    devices[devices.count - 1].usesDatagrams = plan.datagrams.isOn && owners % 3 != 0
    deviceWakes.append(nil)
    push(.record(device: devices.count - 1), after: upTo(plan.chaosNs / 4))
    wakeDevice(devices.count - 1, at: now.advanced(byNs: upTo(1_000_000_000)))
  }

  mutating func publishRegistry() {
    var builder = RegistrySnapshot.Builder()
    builder.addTenant(1, name: "t")
    if let calendar = plan.privacy.calendar { builder.addPolicy(calendar.policy, tenant: 1) }
    var known: Set<UInt32> = []
    for device in devices where known.insert(device.device).inserted {
      let subject = subject(of: device.device)
      subjects?.cover(owner(of: device.device))
      if subject != 0 { builder.addSubject(subject, name: "s\(subject)") }
      builder.addDevice(
        device.device, tenant: 1, subject: subject, externalID: "d\(device.device)", revoked: revoked.contains(device.device))
      builder.addToken(
        selector: device.token.span.load64(at: 0), hash: SecretHash(Digest.sha256(device.token.span).span),
        device: device.device, revoked: false)
    }
    registry = RegistrySnapshot(builder, generation: random.next())
    registryVersion += 1
  }

  mutating func record(_ index: Int) {
    guard !devices[index].isGone, devices[index].toRecord > 0 else { return }
    let count = min(devices[index].toRecord, 1 + Int(upTo(12)))
    devices[index].toRecord -= count
    tally.recorded += count
    let clock = World.wallStartMs + Int64(now.ns / 1_000_000) + devices[index].clockOffsetMs
    devices[index].record(count: count, at: now, clockMs: clock, odd: plan.oddFixes, &random)
    wakeDevice(index, at: now)
    push(.record(device: index), after: upTo(plan.chaosNs / 6))
  }

  mutating func deviceStep(_ index: Int) {
    guard !devices[index].isGone, devices[index].session.fatal == nil else { return }
    if devices[index].usesDatagrams {
      datagramDeviceStep(index)
      return
    }
    guard let link = devices[index].link else {
      connect(index)
      return
    }
    if devices[index].session.isSilent(at: now) {
      cut(link)
      hangUp(index)
      return
    }
    var frame: [UInt8] = []
    let clock = World.wallStartMs + Int64(now.ns / 1_000_000) + devices[index].clockOffsetMs
    let fixes = devices[index].fixes
    while devices[index].session.nextFrame(
      into: &frame, at: now, clockMs: clock, monotonicMs: now.ns / 1_000_000, from: fixes)
    {
      tell("device \(index) sends \(frame.count) bytes, stream \(devices[index].session.log.stream)")
      for piece in pieces(of: frame) { queueUp(link, .bytes(piece)) }
      frame.removeAll(keepingCapacity: true)
    }
    if let deadline = devices[index].session.deadline {
      wakeDevice(index, at: max(deadline, now.advanced(byNs: 1_000_000)))
    }
  }

  mutating func connect(_ index: Int) {
    let from = max(devices[index].reconnectAt, devices[index].session.pausedUntil)
    guard now >= from else {
      wakeDevice(index, at: from)
      return
    }
    guard let gateway else {
      devices[index].connectFailures = min(devices[index].connectFailures + 1, 5)
      let backOff: UInt64 = 200_000_000 << UInt64(devices[index].connectFailures)
      wakeDevice(index, at: now.advanced(byNs: backOff + upTo(backOff)))
      return
    }
    devices[index].connectFailures = 0
    let worker = Int(upTo(UInt64(plan.workers - 1)))
    let link = links.count
    links.append(
      SimLink(device: index, worker: worker, run: life, session: gateway.workers[worker].accept(link: link), at: now))
    devices[index].link = link
    devices[index].session.connected(at: now)
    wakeDevice(index, at: now.advanced(byNs: latencyNs()))
  }

  mutating func hangUp(_ index: Int) {
    if let link = devices[index].link, !links[link].isBroken { cut(link) }
    devices[index].link = nil
    devices[index].session.disconnected()
    devices[index].reconnectAt = now.advanced(byNs: upTo(2_000_000_000))
    wakeDevice(index, at: devices[index].reconnectAt)
  }

  mutating func receive(_ bytes: [UInt8], _ index: Int) {
    let before = devices[index].session.log
    var events: [DeviceEvent] = []
    do {
      if devices[index].usesDatagrams {
        try devices[index].session.receive(datagram: bytes.span, at: now, into: &events)
      } else {
        try devices[index].session.receive(bytes.span, at: now, into: &events)
      }
    } catch {
      violation = .gatewayBrokeSpecification("\(error)")
      return
    }
    for event in events {
      tell("device \(index) hears \(event)")
      if case .renumbered = event {
        tally.renumbered += 1
        if devices[index].client?.isWelcome == true { violation = .reusedInOpenSession(device: devices[index].device) }
        devices[index].save()
      }
    }
    if devices[index].session.log.ackedCount != before.ackedCount { noteAcks(index, before: before) }
    if let code = devices[index].session.fatal { checkFatal(code, of: index, revoked: revoked) }
    if !isQuiet, random.next() % 4 == 0 { devices[index].save() }
    if !devices[index].usesDatagrams { wakeDevice(index, at: now) }
  }

  mutating func noteAcks(_ index: Int, before: UploadLog) {
    let log = devices[index].session.log
    var new = log.acked
    for range in before.acked.ranges { new.remove(range) }
    for range in new.ranges {
      for place in range {
        guard let sequence = log.sequence(of: place) else { continue }
        let key = SimTable.Key(device: devices[index].device, stream: log.stream, sequence: sequence)
        note(sequence)
        acked[key] = SimDevice.FixName(owner: devices[index].owners[Int(place) - 1], place: place)
      }
    }
  }
}
