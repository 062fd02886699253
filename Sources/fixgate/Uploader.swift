import Foundation
import GateCore
import GateDevice
import GateNet
import GateProto
import GateTLS

/// Called often: shows progress, releases places, saves state. Returns when to be called again at the latest.
typealias Turn = (inout DeviceSession, Instant) throws -> Instant

/// A way to a gateway.
protocol Link {
  /// One connection, from its handshake to its end, or until all is acked.
  /// - Throws: why it ended. Whether another one is worth trying, `Uploader` says.
  mutating func converse(_ upload: inout Upload, _ turn: Turn) throws
  /// What it took, in a few words.
  var summary: String { get }
}

/// What is sent and how far it has come, whatever way it takes.
struct Upload {
  let fixes: [Fix]
  var session: DeviceSession
  var lastProblem = "none"
  fileprivate var lastAck = SystemClock.now()
  private let patienceNs: UInt64
  private var events: [DeviceEvent] = []

  private var isWaitTold = false

  private static let turnNs: UInt64 = 100_000_000
  private static let silenceToldNs: UInt64 = 10_000_000_000

  /// - Parameter patienceNs: without an ack for so long, it gives up.
  init(fixes: [Fix], session: DeviceSession, patienceNs: UInt64 = 120_000_000_000) {
    self.fixes = fixes
    self.session = session
    self.patienceNs = patienceNs
  }

  mutating func nextFrame(into frames: inout [UInt8], at now: Instant) -> Bool {
    session.nextFrame(
      into: &frames, at: now, clockMs: SystemClock.wallMs(), monotonicMs: now.ns / 1_000_000, from: fixes)
  }

  /// Frames that may go out before the connection stands.
  mutating func earlyData(bytesMax: Int) -> [UInt8] {
    var frames: [UInt8] = []
    let now = SystemClock.now()
    let fixes = fixes
    session.earlyData(
      into: &frames, at: now, clockMs: SystemClock.wallMs(), monotonicMs: now.ns / 1_000_000, bytesMax: bytesMax
    ) { places, into in into.append(contentsOf: fixes[Int(places.lowerBound) - 1...Int(places.upperBound) - 1]) }
    return frames
  }

  /// Hands what has come to the session.
  mutating func hear(
    _ receive: (inout DeviceSession, Instant, inout [DeviceEvent]) throws(DeviceError) -> Void
  ) throws(DeviceError) {
    events.removeAll(keepingCapacity: true)
    let now = SystemClock.now()
    try receive(&session, now, &events)
    for event in events {
      switch event {
      case .acked(let count) where count > 0: lastAck = now
      case .refused(let refusal): lastProblem = "the gateway refused: \(refusal.code)"
      case .settings(let settings) where settings.stop == true:
        lastProblem = "the gateway has told this device to stop: it is off duty"
      default: break
      }
    }
  }

  /// When something is to be done even if nothing comes.
  func nextWake(_ wake: Instant, at now: Instant) -> Instant {
    min(wake, session.deadline ?? wake, now.advanced(byNs: Upload.turnNs))
  }

  /// Says once that it waits, and ends when it has waited long enough.
  mutating func checkPatience() throws(UploadFailure) {
    // Fixes that are not released yet cannot be acked.
    guard session.released >= session.log.recorded else { return }
    let waitedNs = SystemClock.now().since(lastAck)
    if waitedNs > patienceNs { throw .outOfPatience(last: lastProblem) }
    guard waitedNs > Upload.silenceToldNs, !isWaitTold else { return }
    isWaitTold = true
    FileHandle.standardError.write(Data("no ack for a while, trying on; last problem: \(lastProblem)\n".utf8))
  }
}

/// What keeps a connection from standing and may pass.
struct PassingProblem: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

enum UploadFailure: Error, CustomStringConvertible {
  case refusedForGood(RefusalCode)
  case outOfPatience(last: String)

  var description: String {
    switch self {
    case .refusedForGood(.revoked): "the gateway refuses this device: it is revoked. Ask for a new bundle"
    case .refusedForGood(.unknownCredential):
      "the gateway does not know this device's credential. Is this the bundle's gateway? Ask its operator for a new bundle"
    case .refusedForGood(.credentialExpired):
      "the credential in this bundle has ended: use the newer bundle of this device, from 'fixgate device rotate'"
    case .refusedForGood(let code): "the gateway refuses this device for good: \(code)"
    case .outOfPatience(let last):
      "no fix was acked for a while, so this run ends; run it again to go on. Last problem: \(last)"
    }
  }
}

/// Carries a device's recorded fixes to its gateway: one connection after another, until all is acked.
///
/// The conversation is `DeviceSession`'s, the socket the link's; this is the patience around them.
struct Uploader<L: Link> {
  private(set) var link: L
  private var upload: Upload

  private let backOffMinNs: UInt64 = 50_000_000
  private let backOffMaxNs: UInt64 = 3_000_000_000

  init(_ upload: Upload, over link: L) {
    self.upload = upload
    self.link = link
  }

  var session: DeviceSession { upload.session }

  /// Runs until every fix is acked or given up.
  mutating func run(_ turn: Turn) throws {
    var backOffNs = backOffMinNs
    upload.lastAck = SystemClock.now()
    while !session.isDone {
      let ackedBefore = session.log.ackedCount
      do {
        try link.converse(&upload, turn)
      } catch let error as NetError {
        upload.lastProblem = "\(error)"
      } catch let error as TLSError {
        try note(error)
      } catch let error as DTLSError {
        if case .handshake(let reason) = error { try note(reason) } else { upload.lastProblem = "\(error)" }
      } catch let error as PassingProblem {
        upload.lastProblem = "\(error)"
      } catch let error as DeviceError {
        upload.lastProblem = "\(error)"
      }
      upload.session.disconnected()
      if let fatal = session.fatal { throw UploadFailure.refusedForGood(fatal) }
      if session.isDone { break }
      backOffNs = session.log.ackedCount > ackedBefore ? backOffMinNs : min(backOffNs * 2, backOffMaxNs)
      try rest(backOffNs + UInt64.random(in: 0...backOffNs / 2), turn)
    }
    _ = try turn(&upload.session, SystemClock.now())
  }

  /// Goes on after what may pass.
  private mutating func note(_ error: TLSError) throws(TLSError) {
    switch error {
    case .certificateRefused, .nameMismatch: throw error
    default: upload.lastProblem = "\(error)"
    }
  }

  /// Waits between two connections, and longer if the gateway said so.
  private mutating func rest(_ ns: UInt64, _ turn: Turn) throws {
    let until = max(SystemClock.now().advanced(byNs: ns), session.pausedUntil)
    let never = try EventFD()
    while SystemClock.now() < until {
      try upload.checkPatience()
      let wake = min(until, upload.nextWake(try turn(&upload.session, SystemClock.now()), at: SystemClock.now()))
      do throws(NetError) {
        try never.descriptor.wait(readable: true, writable: false, until: wake)
      } catch .timedOut {
      }
    }
  }
}
