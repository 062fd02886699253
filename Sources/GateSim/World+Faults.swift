import GateCore
import GateDevice
import GateMemory
import GateProto
import GateStore
import GateTLS
import Gateway

/// What goes wrong, and when.
extension World {
  mutating func strike(_ kind: FaultKind) {
    let index = Int(upTo(UInt64(devices.count - 1)))
    switch kind {
    case .kill: die(powerCut: false)
    case .powerCut: die(powerCut: true)
    case .killInCall, .powerCutInCall:
      cutsPowerInCall = kind == .powerCutInCall
      disk.crash(inCalls: 1 + upTo(12))
    case .diskFull: disk.set(full: true)
    case .diskBroken: disk.set(broken: true)
    case .diskHealed: disk.set(full: false, broken: false)
    case .gatewayClockStep:
      clocksAreTrue = false
      wallOffsetMs += Int64(upTo(7_200_000)) - 3_600_000
    case .deviceClockStep:
      clocksAreTrue = false
      devices[index].clockOffsetMs += Int64(upTo(7_200_000)) - 3_600_000
    case .deviceRestart:
      guard !devices[index].isGone else { return }
      let fatal = devices[index].session.fatal
      if let link = devices[index].link { cut(link) }
      dropClient(index)
      if fatal == nil { devices[index].restart() }
      wakeDevice(index, at: now.advanced(byNs: upTo(3_000_000_000)))
    case .deviceWiped: wipe(index, sameStream: false)
    case .deviceWipedSameStream: wipe(index, sameStream: true)
    case .deviceCloned:
      guard !devices[index].isGone, devices.count < 8 else { return }
      sharedDevices.insert(devices[index].device)
      let usesDatagrams = devices[index].usesDatagrams
      add(SimDevice(clone: devices[index], owner: owners, toRecord: Int(upTo(20))))
      if plan.datagrams.twinsAndKills > 0 { devices[devices.count - 1].usesDatagrams = !usesDatagrams }
    case .revoked:
      guard random.next() % 2 == 0, revoked.count + 1 < Int(deviceCount) else { return }
      revoked.insert(devices[index].device)
      publishRegistry()
      guard let gateway else { return }
      for worker in gateway.workers { perform(worker.closeRevoked(registry)) }
    case .linksBroken:
      for link in links.indices where links[link].run == life { cut(link) }
    }
  }

  /// The flash is gone: what was not acked is lost with it, and counting begins anew.
  mutating func wipe(_ index: Int, sameStream: Bool) {
    guard !devices[index].isGone, devices.count < 8 else { return }
    let old = devices[index]
    if let link = old.link { cut(link) }
    dropClient(index)
    devices[index].isGone = true
    devices[index].link = nil
    if sameStream { sharedDevices.insert(old.device) }
    add(
      SimDevice(
        device: old.device, owner: owners, token: old.token,
        stream: sameStream ? old.session.log.stream : UInt32(truncatingIfNeeded: random.next()) | 1,
        toRecord: Int(upTo(20)), options: deviceOptions()))
  }
}
