import GateCore
import GateDevice
import GateProto

/// A device and its owner: the session is `GateDevice`'s own, all around it can fail.
struct SimDevice {
  /// What a fix is known by whatever becomes of it: whose it is and its place in the recording.
  struct FixName: Hashable {
    var owner: Int
    var place: UInt64
  }

  /// Index in the registry: a clone has the one of its original.
  let device: UInt32
  /// One who records: clones and wiped devices are new owners.
  let owner: Int
  let token: [UInt8]
  var session: DeviceSession
  var fixes: [Fix] = []
  /// `fixes[i]` was recorded by this owner.
  var owners: [Int] = []
  var toRecord: Int
  var link: Int?
  /// Over UDP, with `client` instead of a link.
  var usesDatagrams = false
  var client: SimClient?
  /// The conversation as written to flash with the number of its key, and whether the gateway has welcomed it.
  var savedSession: (bytes: [UInt8], key: Int)?
  var isGreeted = false
  /// No connection is tried before.
  var reconnectAt = Instant(ns: 0)
  var connectFailures = 0
  var clockOffsetMs: Int64 = 0
  /// As written to flash, now and then.
  var saved: [UInt8] = []
  /// Gone: wiped, its next life is another entry.
  var isGone = false

  init(
    device: UInt32, owner: Int, token: [UInt8], stream: UInt32, toRecord: Int, options: DeviceOptions
  ) {
    self.device = device
    self.owner = owner
    self.token = token
    self.toRecord = toRecord
    session = DeviceSession(log: UploadLog(stream: stream), token: token, options: options)
    save()
  }

  /// A copy of all that the original remembers.
  init(clone original: SimDevice, owner: Int, toRecord: Int) {
    device = original.device
    self.owner = owner
    token = original.token
    self.toRecord = toRecord
    session = DeviceSession(log: original.session.log, token: token, options: original.session.options)
    fixes = original.fixes
    owners = original.owners
    save()
  }

  var isSettled: Bool { isGone || session.fatal != nil || (toRecord == 0 && session.log.isSettled) }

  mutating func save() { saved = StateFile.encode(session.log) }

  /// The process of the device starts anew, with the log as it was last saved and all fixes.
  mutating func restart() {
    guard var log = try? StateFile.decode(saved.span) else { preconditionFailure("a state file that was just written") }
    let recorded = session.log.recorded
    if recorded > log.recorded { log.record(recorded - log.recorded) }
    session = DeviceSession(log: log, token: token, options: session.options)
    link = nil
    client = nil
  }

  /// Latitude and longitude name owner and place, so that every fix is known wherever it turns up.
  mutating func record(count: Int, at now: Instant, clockMs: Int64, odd: Bool, _ random: inout SeededRandom) {
    for _ in 0..<count {
      var fix = Fix()
      fix.fixTimeMs = clockMs + Int64(fixes.count)
      fix.latitudeE7 = Int32(owner + 1) * 1_000_000
      fix.longitudeE7 = Int32(fixes.count + 1)
      fix.monotonicMs = now.ns / 1_000_000
      fix.present = [.position, .time, .monotonic]
      if Bool.random(using: &random) { fix[.speedCmPerS] = Int32(random.next() % 3_000) }
      if odd {
        switch random.next() % 8 {
        case 0: fix.fixTimeMs += 86_400_000
        case 1: fix.present.remove(.time)
        case 2: fix[.batteryPercent] = 200
        case 3: fix[.courseCdeg] = 40_000
        default: break
        }
      }
      fixes.append(fix)
      owners.append(owner)
    }
    session.record(UInt64(count), at: now, panic: odd && random.next() % 16 == 0)
  }
}
