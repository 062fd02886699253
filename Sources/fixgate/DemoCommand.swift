import ArgumentParser
import Foundation
import GateConfiguration
import GateCore
import GateDevice
import GateNet
import GateProto
import GateStore
import GateTrack
import Gateway
import Glibc

struct DemoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo",
    abstract: "Watch a courier's ride arrive while the gateway is killed in the middle of it, and a tracker that sleeps.",
    discussion: "Everything happens in a temporary folder and on loopback; nothing is left behind unless --keep is given.")

  @Option(help: "Fixes in the ride.")
  var fixes = 900

  @Option(help: "Times real speed.")
  var speed = 90.0

  @Flag(help: "Keep the folder, to look around in it.")
  var keep = false

  func run() throws {
    guard fixes >= 10, speed > 0, speed.isFinite else { throw Complaint("--fixes must be at least 10, --speed above 0") }
    Signals.ignoreWriteSignals()
    let folder = NSTemporaryDirectory() + "fixgate-demo-" + UUID().uuidString.prefix(8)
    defer {
      if keep { print("kept: \(folder)") } else { try? FileManager.default.removeItem(atPath: folder) }
    }
    let port = try DemoCommand.freePort()
    try Installation.make(folder, hosts: [], port: port)
    let file = folder + "/fixgate.yaml"
    let environment = [
      "FIXGATE_LISTEN_TLS": "127.0.0.1:\(port)", "FIXGATE_LISTEN_DTLS": "127.0.0.1:\(port)", "FIXGATE_LOG_LEVEL": "error",
    ]
    let setup = Setup(
      configuration: try ConfigurationFile.load(file, environment: environment), folder: folder)
    print("1. a gateway in \(folder), on 127.0.0.1:\(port), TLS 1.3 and DTLS 1.2")
    var gateway = try GatewayChild(configuration: file, environment: environment)
    defer { gateway.kill() }

    let bundle = try enrol("courier-1", by: .token, at: "localhost:\(port)", setup)
    print("2. courier-1 of tenant \(Installation.tenant) is enrolled; the running gateway knows it")

    let ride = CourierRide.fixes(
      count: fixes, seed: 7, startMs: Clock.nowMs - Int64(fixes) * 1_000, stepMs: 1_000)
    print("3. a ride of \(fixes) fixes, \(Int(speed)) times as fast as life; at half of it: kill -9")
    var options = DeviceOptions()
    options.batchFixes = 10
    options.lanes = .liveFirst
    var uploader = Uploader(
      Upload(
        fixes: ride,
        session: DeviceSession(
          log: UploadLog(stream: 1, recorded: UInt64(fixes)), token: bundle.token, options: options)),
      over: try StreamLink(bundle.streamSettings()))
    let pace = try Pace("\(speed)")
    let started = SystemClock.now()
    var progress = ProgressBar(total: UInt64(fixes))
    var killedAt: UInt64?
    try uploader.run { session, now in
      session.released = pace.released(ride, since: started, now: now)
      progress.show(acked: session.log.ackedCount, at: now)
      if killedAt == nil, session.log.ackedCount >= UInt64(fixes) / 2 {
        killedAt = session.log.ackedCount
        gateway.kill()
        progress.end()
        print("   kill -9 with \(session.log.ackedCount) fixes acked; the courier rides on")
        gateway = try GatewayChild(configuration: file, environment: environment)
        print("   the gateway is back; the device connects again and goes on by itself")
      }
      return min(pace.next(ride, since: started, after: session.released), now.advanced(byNs: 50_000_000))
    }
    progress.end()
    let acked = uploader.session.log.ackedCount
    print("4. \(acked) of \(fixes) fixes acked over \(uploader.link.connections) connections (\(uploader.link.handshakesResumed) resumed by ticket)")

    let status = try DemoCommand.settled(setup)
    var rows = 0
    var lines: [String] = []
    try HistoryReader(path: setup.storePath).read(tenant: Installation.tenant, device: "courier-1") { point in
      rows += 1
      guard let position = point.position, rows % max(fixes / 5, 1) == 1 else { return true }
      let time = Date(timeIntervalSince1970: Double(point.timeMs) / 1_000).ISO8601Format()
      let speed = point[.speedCmPerS].map { String(format: "%4.1f m/s", Double($0) / 100) } ?? ""
      lines.append(
        String(
          format: "   %@  %.7f  %.7f  %@", time, Double(position.latitudeE7) / 1e7, Double(position.longitudeE7) / 1e7,
          speed))
      return true
    }
    print("5. stored in SQLite: \(rows) fixes, for instance\n" + lines.joined(separator: "\n"))
    print("6. since the restart: " + StatusText.lines(status).split(separator: "\n")[1])
    guard acked == UInt64(fixes), rows == fixes, status.balanced else {
      throw Complaint("the ride did not arrive as it should: \(rows) rows for \(fixes) fixes")
    }
    print("   every fix is there, once.")
    try track(setup) {
      gateway.kill()
      gateway = try GatewayChild(configuration: file, environment: environment)
    }
  }

  private func enrol(_ id: String, by kind: ProofKind, at gateway: String, _ setup: Setup) throws -> GateDevice.Bundle {
    let path = "\(setup.folder)/\(id).bundle"
    let device = try DeviceName.parse([id, "--tenant", Installation.tenant])
    try setup.issue(
      kind, to: device, BundleOptions.parse(["--out", path, "--gateway", gateway]), authority: AuthorityOptions.parse([])
    ) { registry, credential in
      _ = try registry.addDevice(tenant: device.tenant, id: device.id, credential: credential, nowMs: Clock.nowMs)
    }
    try setup.tellGateway()
    return try SendCommand.readBundle(path)
  }

  /// A tracker wakes now and then behind a NAT that has forgotten it, sends a fix, hears its ack and sleeps on.
  private func track(_ setup: Setup, killingGateway: () throws -> Void) throws {
    let wakes = 6
    let sleepNs: UInt64 = 700_000_000
    let bundle = try enrol("tracker-1", by: .psk, at: setup.configuration.listen.tls[0], setup)
    print(
      "7. tracker-1, over DTLS with a pre-shared key: \(wakes) fixes, asleep in between, from ever new source ports; "
        + "at half of them: kill -9")
    var settings = try bundle.datagramSettings()
    settings.portLifeNs = sleepNs - 50_000_000
    var uploader = Uploader(
      Upload(
        fixes: CourierRide.fixes(count: wakes, seed: 8, startMs: Clock.nowMs - Int64(wakes) * 3_600_000, stepMs: 3_600_000),
        session: DeviceSession(log: UploadLog(stream: 1, recorded: UInt64(wakes)), token: [])),
      over: try DatagramLink(settings))
    let started = SystemClock.now()
    var isKilled = false
    try uploader.run { session, now in
      if !isKilled, session.log.ackedCount == UInt64(wakes / 2) {
        isKilled = true
        try killingGateway()
      }
      session.released = min(1 + now.since(started) / sleepNs, UInt64(wakes))
      return started.advanced(byNs: session.released * sleepNs)
    }
    print("   \(uploader.link.summary); \(uploader.link.ports) ports")
    _ = try DemoCommand.settled(setup)
    var rows = 0
    try HistoryReader(path: setup.storePath).read(tenant: Installation.tenant, device: "tracker-1") { _ in
      rows += 1
      return true
    }
    guard rows == wakes else { throw Complaint("\(rows) rows for the tracker's \(wakes) fixes") }
    print("   every fix is there, once.")
  }

  /// Waits until the store has caught up.
  private static func settled(_ setup: Setup) throws -> Status {
    let deadline = SystemClock.now().advanced(byNs: 20_000_000_000)
    while SystemClock.now() < deadline {
      if let status = try ControlClient.ask(.status, directory: setup.dataDirectory)?.status,
        status.fixes.queued == 0, status.fixes.pending == 0
      {
        return status
      }
    }
    throw Complaint("the store did not catch up in 20 s; is the disk very slow?")
  }

  private static func freePort() throws -> UInt16 {
    try TCPListener(on: .loopback(port: 0), sharesPort: false).boundPort
  }
}

/// `fixgate serve` as a process of its own, so that it can be killed.
struct GatewayChild {
  private let process = Process()

  /// Starts it and waits for its line 'ready'.
  init(configuration: String, environment: [String: String]) throws {
    process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    process.arguments = ["serve", "--config", configuration]
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    var line = Data()
    while !line.contains(0x0A) {
      let more = output.fileHandleForReading.availableData
      guard !more.isEmpty else { throw Complaint("the gateway did not start; its message stands above") }
      line.append(more)
    }
  }

  /// kill -9: no chance to tidy up.
  func kill() {
    guard process.isRunning else { return }
    Glibc.kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
  }
}
