import BenchHarness
package import GateCore
import GateDevice
import GateNet
import GateTLS
import Gateway

/// The gateway dies; when it is there again all devices come back in the same moment, each with a backlog and one new fix
/// (emqx #14145).
package struct Storm {
  package var devices: Int
  /// Fixes that each device has recorded meanwhile.
  package var backlog: UInt64
  package var workers: Int
  /// One device in so many has lost its ticket.
  package var fullOneIn: Int

  package init(devices: Int, backlog: UInt64, workers: Int, fullOneIn: Int = 4) {
    self.devices = devices
    self.backlog = backlog
    self.workers = workers
    self.fullOneIn = fullOneIn
  }

  private static let tickNs: UInt64 = 50_000_000

  /// Times since all began to connect, in ns.
  package struct Result {
    package var handshakes: Int
    package var resumed: Int
    /// Of each device: until its handshake was done, its newest fix acked, all of its fixes acked.
    package var establishedNs: [UInt64] = []
    package var newestNs: [UInt64] = []
    package var allNs: [UInt64] = []
    /// Times that a device was told to come again, a moment later.
    package var refusals = 0
    /// The gateway's CPU time meanwhile.
    package var cpuNs: UInt64 = 0
  }

  package func run(in folder: String, track: [Fix]) throws -> Result {
    try OpenFiles.raiseLimit()
    let gateway = try GatewayProcess(
      in: folder, devices: devices, workers: workers, counting: false,
      settings: ["FIXGATE_LIMITS_CONNECTIONS_MAX": "\(2 * devices + 100)"])
    let context = try TLSClientContext(authorityPEM: gateway.authorityPEM)
    var options = DeviceOptions()
    options.lanes = .liveFirst
    var scratch = Device.Scratch()
    var sessions: [DeviceSession] = []
    var tickets: [[UInt8]?] = []
    for token in gateway.tokens {
      let device = try Device(
        to: gateway.address, context, DeviceSession(log: Device.log(), token: token, options: options))
      device.session.record(1, at: SystemClock.now())
      try device.run(&scratch, from: track) { $0.session.log.isSettled && $0.engine.isEstablished }
      device.session.disconnected()
      sessions.append(device.session)
      tickets.append(device.engine.sessionTicket)
    }
    try gateway.crashAndRestart()
    for i in sessions.indices {
      sessions[i].record(backlog + 1, at: SystemClock.now())
      if i % fullOneIn == 0 { tickets[i] = nil }
    }
    let result = try comeBack(gateway, context, sessions, tickets, track, &scratch)
    let status = try gateway.status()
    guard status.network.closed.isEmpty, status.fixes.isBalanced else {
      throw PathError.conversation("\(status.network.closed)")
    }
    try gateway.stop()
    return result
  }

  private func comeBack(
    _ gateway: GatewayProcess, _ context: TLSClientContext, _ sessions: [DeviceSession], _ tickets: [[UInt8]?],
    _ track: [Fix], _ scratch: inout Device.Scratch
  ) throws -> Result {
    var result = Result(handshakes: sessions.count, resumed: tickets.count { $0 != nil })
    var poller = try Poller(capacity: 512)
    var devices: [Device] = []
    var phases = [Int](repeating: 0, count: sessions.count)
    let cpuNs = ProcessThreads.cpuNs(of: gateway.id).values.reduce(0, +)
    let start = SystemClock.now()
    for (i, session) in sessions.enumerated() {
      let device = try Device(to: gateway.address, context, session, ticket: tickets[i], isPatient: true)
      try device.send(&scratch, from: track)
      try poller.add(device.stream.descriptor, token: UInt64(i), for: .read)
      devices.append(device)
    }
    while result.allNs.count < devices.count {
      let ready = try poller.wait(timeoutNs: Storm.tickNs)
      guard SystemClock.now().since(start) < Device.patienceNs else { throw PathError.conversation("not all came back") }
      if ready == 0 {
        // Nothing comes: some may have been told to wait.
        for device in devices { try device.send(&scratch, from: track) }
      }
      for k in 0..<ready {
        let i = Int(poller.event(at: k).token)
        let device = devices[i]
        try device.receive(&scratch)
        try device.send(&scratch, from: track)
        let log = device.session.log
        let ns = SystemClock.now().since(start)
        if phases[i] == 0, device.engine.isEstablished {
          phases[i] = 1
          result.establishedNs.append(ns)
        }
        if phases[i] == 1, log.acked.contains(log.recorded) {
          phases[i] = 2
          result.newestNs.append(ns)
        }
        if phases[i] == 2, log.isSettled {
          phases[i] = 3
          result.allNs.append(ns)
        }
      }
    }
    result.refusals = devices.reduce(0) { $0 + $1.refusals }
    result.cpuNs = ProcessThreads.cpuNs(of: gateway.id).values.reduce(0, +) - cpuNs
    return result
  }
}
