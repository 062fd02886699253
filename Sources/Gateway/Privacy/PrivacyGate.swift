package import GateCore
package import GateMemory
import GateProto

/// What a worker needs to keep what tenants have promised: shared by all of them.
package struct PrivacyContext: Sendable {
  package var steering: Steering
  /// Fields and attributes left out, by tenant.
  package var dropped: AtomicWords
  /// Where shift events of devices go; `nil` = nowhere, and shifts are the dispatcher's alone.
  package var shifts: ShiftKeeper?

  /// - Parameters:
  ///   - devices, tenants: highest index of each.
  package init(devices: Int, tenants: Int, shifts: ShiftKeeper? = nil) {
    steering = Steering(devices: devices)
    dropped = AtomicWords(count: tenants + 1)
    self.shifts = shifts
  }

  func count(_ fields: Int, ofTenant tenant: UInt32) {
    guard fields > 0, Int(tenant) < dropped.count else { return }
    dropped.add(UInt64(fields), to: Int(tenant))
  }
}

extension Intake {
  /// Tells the device of an open session to stop or to go on, when it has not confirmed so already.
  package func steer(_ session: borrowing Session, registry: RegistrySnapshot, wallMs: Int64, into out: inout [UInt8]) {
    guard case .open(let identity, _) = session.state else { return }
    let stop = registry.privacy.mustStop(device: identity.device, tenant: identity.tenant, at: wallMs)
    guard let version = privacy.steering.order(identity.device, stop: stop, wallMs: wallMs) else { return }
    var answer = Downlink()
    var settings = GateProto.Settings(version: version)
    settings.stop = stop
    answer.settings = settings
    let start = out.count
    answer.encode(into: &out)
    Frame.close(from: start, in: &out, over: session.transport)
  }
}
