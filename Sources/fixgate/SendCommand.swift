import ArgumentParser
import Foundation
import GateCore
import GateDevice
import GateNet
import GateProto
import GateStore
import GateTLS
import GateTrack
import Gateway

struct SendCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "send",
    abstract: "Send a recorded track as a device would, and exit 0 once every fix is acked.",
    discussion: """
      Its state lies beside the bundle, and the stream follows from the file's content and the selection: run it again to go on \
      after any interruption, and nothing is stored twice.
      """)

  enum Transport: String, ExpressibleByArgument, CaseIterable { case tls, dtls }

  @Option(help: "The device's bundle, from 'fixgate device add'.")
  var bundle: String

  @Option(help: "Gateway to use instead of the bundle's, host:port.")
  var to: String?

  @Option(help: "tls, or dtls over UDP, whose session lies beside the bundle too: the next run needs no handshake.")
  var transport = Transport.tls

  @Flag(help: "Make a full handshake though the last run has left a session or a ticket.")
  var fresh = false

  @Option(help: "Only rows whose column has this value: uid=001.")
  var select: String?

  @Option(help: "Times the recorded speed, or max.")
  var speed = "max"

  @Flag(name: .customLong("skip-bad"), help: "Leave out rows that cannot be read, instead of ending.")
  var skipBad = false

  @Option(name: .customLong("batch"), help: "Fixes in a frame at most.")
  var batch = 60

  @Option(name: .customLong("patience"), help: "Seconds without an ack after which it gives up.")
  var patience = 120

  @Argument(help: "CSV with a header (lat, lng, time, ...) or GPX; plain or .gz.")
  var track: String

  func run() throws {
    guard (1...Limits.fixesPerFrameMax).contains(batch) else {
      throw Complaint("--batch must be from 1 to \(Limits.fixesPerFrameMax)")
    }
    Signals.ignoreWriteSignals()
    let bundle = try SendCommand.readBundle(self.bundle)
    let pace = try Pace(speed)
    var selection: TrackSelection?
    if let select {
      guard let parsed = TrackSelection(select) else { throw Complaint("--select must be COLUMN=VALUE, not '\(select)'") }
      selection = parsed
    }
    let recorded = try Track.read(path: track, selection: selection, skipBad: skipBad)
    guard !recorded.fixes.isEmpty else {
      throw Complaint("\(track) has no fix" + (select.map { " with \($0)" } ?? "") + ": nothing to send")
    }
    if select == nil, recorded.deviceValues.count > 1 {
      FileHandle.standardError.write(
        Data("\(track) holds several devices (\(recorded.deviceValues.prefix(3).joined(separator: ", "))); --select COLUMN=VALUE sends one\n".utf8))
    }
    let stream = try SendCommand.stream(of: track, select: select)
    let state = SendState(bundlePath: self.bundle, stream: stream)
    var log = try state.read() ?? UploadLog(stream: stream)
    if log.recorded < UInt64(recorded.fixes.count) { log.record(UInt64(recorded.fixes.count) - log.recorded) }

    var options = DeviceOptions()
    options.batchFixes = batch
    options.lanes = .liveFirst
    options.device = DeviceInfo(app: "fixgate send \(fixgateVersion)")
    let upload = Upload(
      fixes: recorded.fixes, session: DeviceSession(log: log, token: bundle.token, options: options),
      patienceNs: UInt64(max(patience, 1)) * 1_000_000_000)
    switch transport {
    case .tls:
      var settings = try bundle.streamSettings(to: to)
      settings.tickets = SavedTicketFile(beside: self.bundle, owner: bundle.text)
      if fresh { try settings.tickets?.forget() }
      try send(upload, over: StreamLink(settings), at: pace, keeping: state)
    case .dtls:
      var settings = try bundle.datagramSettings(to: to)
      settings.saved = try savedSession(of: bundle, settings.gateways)
      try send(upload, over: DatagramLink(settings), at: pace, keeping: state)
    }
  }

  private func savedSession(of bundle: GateDevice.Bundle, _ gateways: [HostPort]) throws -> SavedSessionFile? {
    let owner = bundle.text + gateways.map { "\($0.host):\($0.port)" }.joined(separator: " ")
    guard let saved = try SavedSessionFile(beside: self.bundle, owner: owner) else {
      FileHandle.standardError.write(
        Data("another 'fixgate send' uses the saved session of this bundle: this run makes its own\n".utf8))
      return nil
    }
    if fresh { try saved.forget() }
    return saved
  }

  private func send<L: Link>(_ upload: Upload, over link: L, at pace: Pace, keeping state: SendState) throws {
    let fixes = upload.fixes
    let before = upload.session.log.ackedCount
    var uploader = Uploader(upload, over: link)
    let started = SystemClock.now()
    var progress = ProgressBar(total: UInt64(fixes.count))
    var nextSave = started
    defer { progress.end() }
    do {
      try uploader.run { session, now in
        session.released = pace.released(fixes, since: started, now: now)
        if now >= nextSave {
          nextSave = now.advanced(byNs: 1_000_000_000)
          try state.write(session.log)
        }
        progress.show(acked: session.log.ackedCount, at: now)
        return pace.next(fixes, since: started, after: session.released)
      }
    } catch {
      try? state.write(uploader.session.log)
      throw error
    }
    try state.write(uploader.session.log)
    progress.end()
    let result = uploader.session.log
    let seconds = Double(SystemClock.now().since(started)) / 1e9
    print(
      "\(result.ackedCount) of \(fixes.count) fixes acked (\(result.ackedCount - before) in this run, "
        + "\(uploader.link.summary), \(String(format: "%.1f", seconds)) s)")
    guard result.isSettled, result.givenUpCount == 0 else {
      throw Complaint(
        "\(result.givenUpCount) fixes were refused for good and \(result.unsettledCount) are not acked: see 'fixgate status'")
    }
  }

  static func readBundle(_ path: String) throws -> GateDevice.Bundle {
    guard let bytes = FileManager.default.contents(atPath: path) else {
      throw Complaint("cannot read \(path); 'fixgate device add --out \(path)' makes a bundle")
    }
    guard bytes.count <= GateDevice.Bundle.bytesMax else { throw Complaint("\(path) is too long to be a bundle") }
    do {
      return try GateDevice.Bundle(parsing: String(decoding: bytes, as: UTF8.self))
    } catch {
      throw Complaint("\(path) is not a bundle that can be used: \(error)")
    }
  }

  /// The stream follows from what is sent: the same file and selection are the same recording, whatever the file is called.
  static func stream(of path: String, select: String?) throws -> UInt32 {
    guard let content = FileManager.default.contents(atPath: path) else { throw Complaint("cannot read \(path)") }
    let name = Digest.sha256(Array(content).span) + Array((select ?? "").utf8)
    return max(Digest.sha256(name.span).span.load32(at: 0), 1)
  }
}

extension GateDevice.Bundle {
  private var key: ExternalKey? {
    psk.map { ExternalKey(identity: Array($0.identity.utf8), secret: $0.secret) }
  }

  private var tlsIdentity: TLSIdentity? {
    identity.map { TLSIdentity(certificatePEM: Array($0.certificatePEM.utf8), keyPEM: Array($0.keyPEM.utf8)) }
  }

  /// - Parameter gateway: instead of the bundle's own.
  func streamSettings(to gateway: String? = nil) throws -> StreamLink.Settings {
    var settings = StreamLink.Settings(
      gateways: try gateway.map { [try HostPort($0)] } ?? gateways.map { HostPort(host: $0.host, port: $0.port) },
      serverName: serverName, authorityPEM: Array(certificates.utf8))
    settings.key = key
    settings.identity = tlsIdentity
    return settings
  }

  func datagramSettings(to gateway: String? = nil) throws -> DatagramLink.Settings {
    let gateways = try gateway.map { [try HostPort($0)] } ?? gatewaysUDP.map { HostPort(host: $0.host, port: $0.port) }
    guard !gateways.isEmpty else {
      throw Complaint(
        "this bundle names no way over UDP: use --to host:port, or a new bundle from a gateway with listen.dtls")
    }
    var settings = DatagramLink.Settings(
      gateways: gateways, serverName: serverName, authorityPEM: Array(certificates.utf8))
    settings.key = key
    settings.identity = tlsIdentity
    return settings
  }
}

/// How fast a track is played.
struct Pace {
  /// `nil`: as fast as acks come.
  private let factor: Double?

  init(_ text: String) throws {
    if text == "max" {
      factor = nil
    } else {
      guard let value = Double(text), value > 0, value.isFinite else {
        throw Complaint("--speed must be a number above 0, or max, not '\(text)'")
      }
      factor = value
    }
  }

  /// Places that are due by now.
  func released(_ fixes: [Fix], since start: Instant, now: Instant) -> UInt64 {
    guard let factor, let first = fixes.first else { return .max }
    let playedMs = Double(now.since(start)) / 1e6 * factor
    // A track may have steps back in time: a place is due when its predecessors are.
    var low = 0
    var high = fixes.count
    while low < high {
      let middle = (low + high) / 2
      if Double(fixes[middle].fixTimeMs - first.fixTimeMs) <= playedMs { low = middle + 1 } else { high = middle }
    }
    return UInt64(low)
  }

  /// When the place behind `released` is due.
  func next(_ fixes: [Fix], since start: Instant, after released: UInt64) -> Instant {
    guard let factor, let first = fixes.first, released < UInt64(fixes.count) else { return Instant(ns: .max) }
    let ms = Double(fixes[Int(released)].fixTimeMs - first.fixTimeMs) / factor
    return start.advanced(byNs: UInt64(max(ms, 0) * 1e6))
  }
}

/// The upload's state, beside the bundle, so that a later run goes on.
struct SendState {
  private let folder: String
  private let name: String

  init(bundlePath: String, stream: UInt32) {
    let url = URL(fileURLWithPath: bundlePath).standardizedFileURL
    folder = url.deletingLastPathComponent().path
    name = url.lastPathComponent + "." + String(stream, radix: 16) + ".state"
  }

  func read() throws -> UploadLog? {
    guard let bytes = try DurableFile.read(name, in: try Directory(folder), bytesMax: 1 << 28) else { return nil }
    do {
      return try StateFile.decode(bytes.span)
    } catch {
      throw Complaint("\(folder)/\(name): \(error). Remove it: all is sent again, and what the gateway has is not stored twice")
    }
  }

  func write(_ log: UploadLog) throws {
    try DurableFile.replace(name, in: try Directory(folder), with: StateFile.encode(log).span)
  }
}

/// One line on standard error that is drawn over; nothing when that is no terminal.
struct ProgressBar {
  private let total: UInt64
  private let isTerminal = isatty(2) == 1
  private var next = Instant(ns: 0)
  private var isShown = false
  private static let everyNs: UInt64 = 100_000_000

  init(total: UInt64) { self.total = total }

  mutating func show(acked: UInt64, at now: Instant) {
    guard isTerminal, now >= next || acked == total else { return }
    next = now.advanced(byNs: ProgressBar.everyNs)
    isShown = true
    let width = 40
    let done = Int(acked * UInt64(width) / max(total, 1))
    let bar = String(repeating: "#", count: done) + String(repeating: ".", count: width - done)
    FileHandle.standardError.write(Data("\r[\(bar)] \(acked) of \(total) acked ".utf8))
  }

  mutating func end() {
    guard isShown else { return }
    isShown = false
    FileHandle.standardError.write(Data("\n".utf8))
  }
}
