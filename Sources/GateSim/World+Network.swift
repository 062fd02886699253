import GateCore
import GateDevice
import GateMemory
import GateProto
import GateStore
import GateTLS
import Gateway

/// Links between devices and workers: delay, cuts, bytes in pieces.
extension World {
  mutating func pieces(of bytes: [UInt8]) -> [[UInt8]] {
    guard plan.pieces, bytes.count > 1 else { return [bytes] }
    var pieces: [[UInt8]] = []
    var at = 0
    while at < bytes.count {
      let end = min(bytes.count, at + 1 + Int(upTo(UInt64(bytes.count))))
      pieces.append(Array(bytes[at..<end]))
      at = end
    }
    return pieces
  }

  mutating func latencyNs() -> UInt64 { 100_000 + upTo(plan.latencyMs * 1_000_000) }

  mutating func queueUp(_ index: Int, _ arrival: SimLink.Arrival) {
    guard !links[index].isBroken else { return }
    links[index].up.append(arrival)
    links[index].upAt = max(links[index].upAt, now.advanced(byNs: latencyNs()))
    push(.up(link: index), at: links[index].upAt)
    if chance(plan.linkBreaks) { cut(index) }
  }

  mutating func queueDown(_ index: Int, _ arrival: SimLink.Arrival) {
    guard !links[index].isBroken else { return }
    if case .bytes(let bytes) = arrival { links[index].downBytes += bytes.count }
    links[index].down.append(arrival)
    var delay = latencyNs()
    if plan.slowReaders, !isQuiet, links[index].device % 2 == 0 { delay += upTo(10_000_000_000) }
    links[index].downAt = max(links[index].downAt, now.advanced(byNs: delay))
    push(.down(link: index), at: links[index].downAt)
    if chance(plan.linkBreaks) { cut(index) }
  }

  /// One call is one frame, and no arrival holds bytes of two: a device's acks can then be told apart.
  mutating func sendDown(_ index: Int, _ bytes: [UInt8]) {
    for piece in pieces(of: bytes) { queueDown(index, .bytes(piece)) }
    if links[index].downBytes > 65_536, !links[index].isBroken {
      gateway?.workers[links[index].worker].drop(links[index].session)
      cut(index)
    }
  }

  /// Breaks a link: either side hears of it some time after what was under way.
  mutating func cut(_ index: Int) {
    guard !links[index].isBroken else { return }
    links[index].cut(&random)
    links[index].up.append(.end)
    links[index].down.append(.end)
    push(.up(link: index), at: max(links[index].upAt, now.advanced(byNs: upTo(20_000_000_000))))
    push(.down(link: index), at: max(links[index].downAt, now.advanced(byNs: upTo(isQuiet ? 10_000_000 : 20_000_000_000))))
  }

  mutating func arriveUp(_ index: Int) {
    guard !links[index].up.isEmpty else { return }
    let arrival = links[index].up.removeFirst()
    guard let gateway, links[index].run == life else { return }
    gateway.workers[links[index].worker].arrived(arrival, for: links[index].session)
    wakeWorker(links[index].worker)
  }

  mutating func arriveDown(_ index: Int) {
    guard !links[index].down.isEmpty else { return }
    let arrival = links[index].down.removeFirst()
    if case .bytes(let bytes) = arrival { links[index].downBytes -= bytes.count }
    let device = links[index].device
    guard devices[device].link == index else { return }
    switch arrival {
    case .end: hangUp(device)
    case .bytes(let bytes): receive(bytes, device)
    }
  }
}
