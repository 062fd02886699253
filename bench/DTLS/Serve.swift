import BenchFleet
import Foundation
package import GateCore
import GateNet
import GateProto
package import GateTLS

/// The real `fixgate serve` on a folder with many stored sessions: from its start to the ack of one of their devices, which sends
/// every 20 ms until it hears something.
package enum Serve {
  package struct Result {
    /// From exec. The first start of this version on the folder also makes the keys of all subjects.
    package var ackS = 0.0
    /// Of the start behind it, which finds them.
    package var secondAckS = 0.0
    /// Anonymous memory of the process then, and how much less it is without the session file.
    package var bytes = 0
    package var sessionBytes = 0.0
  }

  private static let sendNs: UInt64 = 20_000_000
  private static let patienceNs: UInt64 = 60_000_000_000

  /// - Parameter fix: what the device sends.
  package static func run(_ count: Int, _ suite: DTLSSuite, fix: Fix, in folder: String) throws -> Result {
    let fleet = try StoredFleet(count, suite, in: folder)
    try fleet.makeRegistry()
    try fleet.makeCheckpoint()
    let settings = fleet.folder + ".settings"
    defer { try? FileManager.default.removeItem(atPath: settings) }
    try GatewayProcess.run(try GatewayProcess.beside("fixgate"), ["init", settings, "--port", "7443"])
    try Data(StoredFleet.registryKey).write(to: URL(filePath: settings + "/registry.key"))
    let port = try UDPSocket(on: .loopback(port: 0), sharesPort: false).boundPort
    var environment = ProcessInfo.processInfo.environment
    environment["FIXGATE_DATA_DIRECTORY"] = fleet.folder
    environment["FIXGATE_DATA_DEVICES_MAX"] = "\(count)"
    environment["FIXGATE_DTLS_SESSIONS_MAX"] = "\(count)"
    environment["FIXGATE_LISTEN_TLS"] = "127.0.0.1:0"
    environment["FIXGATE_LISTEN_DTLS"] = "127.0.0.1:\(port)"
    environment["FIXGATE_LOG_LEVEL"] = "warning"
    var result = Result()

    let gateway = try Server(settings, environment)
    result.ackS = Double(try firstAck(of: fleet, count / 2, fix, port).since(gateway.started)) / 1e9
    try gateway.awaitReady()
    try gateway.end()
    let second = try Server(settings, environment)
    result.secondAckS = Double(try firstAck(of: fleet, count / 2 + 1, fix, port).since(second.started)) / 1e9
    try second.awaitReady()
    result.bytes = second.bytes
    try second.end()

    for name in ["sessions", "starts"] { try FileManager.default.removeItem(atPath: fleet.folder + "/" + name) }
    let empty = try Server(settings, environment)
    try empty.awaitReady()
    result.sessionBytes = Double(result.bytes - empty.bytes) / Double(count)
    try empty.end()
    return result
  }

  private final class Server {
    let started: Instant
    private let process = Process()
    private let output = Pipe()

    init(_ settings: String, _ environment: [String: String]) throws {
      process.executableURL = URL(filePath: try GatewayProcess.beside("fixgate"))
      process.arguments = ["serve", "--config", settings + "/fixgate.yaml"]
      process.environment = environment
      process.standardOutput = output
      started = SystemClock.now()
      try process.run()
    }

    deinit { if process.isRunning { process.terminate() } }

    /// The first byte that it says is of its line 'ready ...'.
    func awaitReady() throws {
      guard try output.fileHandleForReading.read(upToCount: 1)?.isEmpty == false else { throw ServerError.notReady }
    }

    var bytes: Int { ProcessProbe.anonymousBytes(of: process.processIdentifier) }

    func end() throws {
      process.terminate()
      process.waitUntilExit()
      guard process.terminationStatus == 0 else { throw ServerError.exit(process.terminationStatus) }
    }
  }

  /// - Returns: when the ack came.
  private static func firstAck(
    of fleet: borrowing StoredFleet, _ index: Int, _ fix: Fix, _ port: UInt16
  ) throws -> Instant {
    var fix = fix
    fix.sequence = fleet.durable(index) + 1
    var message: [UInt8] = []
    FixEncoder.row(fix, from: Span(), into: &message)
    let device = try Sleeper(fleet.session(index, .client), port: port)
    let deadline = SystemClock.now().advanced(byNs: patienceNs)
    while SystemClock.now() < deadline {
      try device.send(message)
      guard let answer = try device.hear(forNs: sendNs) else { continue }
      if let refusal = answer.refusals.first { throw FleetError.conversation("refused: \(refusal.code)") }
      if answer.ack?.through == fix.sequence { return SystemClock.now() }
    }
    throw ServerError.notReady
  }
}

/// A device that has a session and wakes.
private final class Sleeper {
  private var session: DTLSSession
  private var socket: UDPClient
  private let cipher: RecordCipher

  init(_ session: consuming DTLSSession, port: UInt16) throws {
    self.session = session
    socket = try UDPClient(to: .loopback(port: port))
    cipher = try RecordCipher()
  }

  func send(_ message: [UInt8]) throws {
    var datagram = [UInt8](repeating: 0, count: session.recordBytes(plaintextBytes: message.count))
    var at = 0
    var room = datagram.mutableSpan
    try session.seal(.applicationData, message.span, into: &room, at: &at, with: cipher)
    _ = try socket.send(datagram.span)
  }

  /// - Returns: `nil` if nothing has come by then.
  func hear(forNs ns: UInt64) throws -> Downlink? {
    do throws(NetError) {
      try socket.descriptor.wait(readable: true, writable: false, until: SystemClock.now().advanced(byNs: ns))
    } catch .timedOut { return nil }
    var datagram = [UInt8](repeating: 0, count: UDPClient.datagramBytesMax)
    var room = datagram.mutableSpan
    guard let count = try socket.receive(into: &room) else { return nil }
    let bytes = datagram.span.extracting(..<count)
    var plain = [UInt8](repeating: 0, count: count)
    var end = 0
    var space = plain.mutableSpan
    let record = try DTLSRecord.next(in: bytes, from: 0)
    guard case .applicationData = try session.open(record, of: bytes, into: &space, at: &end, with: cipher).content else {
      return nil
    }
    return try Downlink.decode(plain.span, 0..<end)
  }
}
