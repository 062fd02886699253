import GateCore
import GateNet

/// Where devices were last seen, by the gateway itself: no sink has to have stored it.
struct LivePlaces: Sendable {
  let registry: RegistryHolder
  let sequencer: SequencerLink
  let sinks: Sinks

  /// Devices of one answer: it is a line of the control socket, and the sequencer stops for it.
  private static let devicesMax = 5_000
  private static let patienceNs: UInt64 = 10_000_000_000

  /// To `.places`.
  func answer(_ request: ControlRequest) -> ControlAnswer {
    guard case .places(let tenant, let from, let alone) = request else { preconditionFailure("another request") }
    var places = ControlAnswer.Places()
    // Readers see what the embedded store may have, and nothing else.
    guard let store = sinks.embedded, store.fields.isEmpty || store.fields.contains(FieldMask.position) else {
      return ControlAnswer(places: places)
    }
    let names = registry.snapshot
    var devices: [UInt32] = []
    for device in from...max(from, alone ? from : names.maxDeviceIndex)
    where names.knows(device: device) && names.tenantName(names.tenant(ofDevice: device)) == tenant {
      if devices.count == LivePlaces.devicesMax {
        places.next = device
        break
      }
      devices.append(device)
    }
    let box = AnswerBox<[LatestPosition?]>()
    sequencer.request(.places(devices) { box.put($0) })
    guard let seen = box.wait(until: SystemClock.now().advanced(byNs: LivePlaces.patienceNs)) else {
      return ControlAnswer(problem: "the gateway did not answer in time; it may wait for its disk")
    }
    for (device, position) in zip(devices, seen) { places.seen[names.externalID(ofDevice: device)] = position }
    return ControlAnswer(places: places)
  }
}
