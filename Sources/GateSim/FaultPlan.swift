import GateCore

/// What can go wrong at a moment of its own; rates are in `FaultPlan`.
enum FaultKind: UInt8, CaseIterable {
  /// The process dies, the disk's cache lives on.
  case kill
  /// What was not synced may be gone.
  case powerCut
  /// As a power cut, in the middle of a call to the disk: some calls from now.
  case powerCutInCall
  case killInCall
  case diskFull
  case diskBroken
  case diskHealed
  case gatewayClockStep
  case deviceClockStep
  case deviceRestart
  case deviceWiped
  /// Wiped, and the random number comes out as before.
  case deviceWipedSameStream
  case deviceCloned
  case revoked
  case linksBroken
}

/// What a network does to datagrams. Drawn from numbers of its own, so that the other worlds stay what they are.
struct DatagramFaults {
  /// Two devices of three speak DTLS over UDP.
  let isOn: Bool
  /// Chances in 1,024: per datagram,
  var lost: UInt64 = 0
  var doubled: UInt64 = 0
  /// it takes up to 10 s,
  var late: UInt64 = 0
  /// per turn of a device,
  var moved: UInt64 = 0
  /// per start of the gateway: an earlier session file is put back.
  var restored: UInt64 = 0
  /// Record numbers that a session reserves at a time, few enough that they run out; `nil` = no UDP.
  var reservation: WriteReservation?
  /// Many datagrams of few fixes, few record numbers at a time, slow syncs and many power cuts: what was reserved runs out all
  /// the time, and what was used without is used again.
  var isChatty = false
  /// Hellos bring default work, which no slot holds: after a restart sessions go on with another hello.
  var hasWork = false
  /// More clones, which speak another transport than their originals so that neither displaces the other, and more kills, with
  /// quick starts and slow devices: a session that is open hears that its stream is another's, with acks still under way.
  var twinsAndKills = 0
  /// Chances in 1,024 of a crash when it matters what was done too early: while slots wait for their sync,
  var crashesUnsynced: UInt64 = 0
  /// in the first write of the turn that ends a handshake.
  var crashesInHandshake: UInt64 = 0
  /// Between a slot's write and its sync, at most.
  var keeperNs: UInt64 = 1_000_000_000
  /// The machine has no clock of its own: after each power cut it is a minute before the first start again, so that only what
  /// is in the session file moves record numbers on.
  var clockIsLost = false

  init(seed: UInt64) {
    isOn = [1, 7].contains(seed % 8)
    guard isOn else { return }
    var random = SeededRandom(seed: ~seed)
    lost = FaultPlan.rate(&random, 400)
    doubled = FaultPlan.rate(&random, 300)
    moved = FaultPlan.rate(&random, 200)
    restored = FaultPlan.rate(&random, 300)
    hasWork = Bool.random(using: &random)
    if hasWork, Bool.random(using: &random) { twinsAndKills = Int.random(in: 1...4, using: &random) }
    if twinsAndKills > 0 { late = UInt64.random(in: 50...400, using: &random) }
    crashesUnsynced = FaultPlan.rate(&random, 400)
    crashesInHandshake = FaultPlan.rate(&random, 400)
    clockIsLost = Bool.random(using: &random)
    isChatty = Bool.random(using: &random)
    reservation = (isChatty ? [2, 4] : [8, 64, 1 << 16]).randomElement(using: &random).map(WriteReservation.init)
    guard isChatty else { return }
    clockIsLost = true
    keeperNs = UInt64.random(in: 2...10, using: &random) * 1_000_000_000
    crashesUnsynced = UInt64.random(in: 50...500, using: &random)
  }
}

/// Which faults one seed has, and how often: swarm testing. A random half of them is off, so that one fault does not hide
/// another, and rates reach from rare to absurd.
struct FaultPlan {
  var workers = 1
  var people = 1
  var fixesPerDevice = 20
  var chaosNs: UInt64 = 0
  var faults: [(kind: FaultKind, at: Instant)] = []

  /// Chances in 1,024: per call to the disk,
  var syncFails: UInt64 = 0
  var writeFails: UInt64 = 0
  var writesShort: UInt64 = 0
  var namesFail: UInt64 = 0
  /// per transaction of the sink,
  var sinkFails: UInt64 = 0
  /// per piece of bytes on a link.
  var linkBreaks: UInt64 = 0
  /// Bytes are cut into pieces at any place.
  var pieces = false
  var slowReaders = false
  var slowSink = false
  var latencyMs: UInt64 = 20
  /// Fixes out of range, in the future, without position.
  var oddFixes = false
  var tightLimits = false
  var liveFirst = false
  var smallJournal = false
  var segmentBytes = 65_536
  var checkpointS = 30
  var batchFixes = 20

  var datagrams: DatagramFaults
  let privacy: PrivacyPlan

  init(seed: UInt64, _ random: inout SeededRandom) {
    datagrams = DatagramFaults(seed: seed)
    privacy = PrivacyPlan(seed: seed)
    workers = Int.random(in: 1...2, using: &random)
    people = Int.random(in: 1...4, using: &random)
    fixesPerDevice = Int.random(in: 1...80, using: &random)
    chaosNs = UInt64.random(in: 5...60, using: &random) * 1_000_000_000
    var kinds: [FaultKind] = []
    for kind in FaultKind.allCases where Bool.random(using: &random) { kinds.append(kind) }
    for kind in kinds {
      for _ in 0..<Int.random(in: 0...3, using: &random) {
        faults.append((kind, Instant(ns: UInt64.random(in: 0..<chaosNs, using: &random))))
      }
    }
    for kind in [.deviceCloned, .kill, .kill] as [FaultKind] {
      for _ in 0..<datagrams.twinsAndKills { faults.append((kind, Instant(ns: UInt64.random(in: 0..<chaosNs, using: &random)))) }
    }
    syncFails = FaultPlan.rate(&random, 400)
    writeFails = FaultPlan.rate(&random, 300)
    writesShort = FaultPlan.rate(&random, 512)
    namesFail = FaultPlan.rate(&random, 200)
    sinkFails = FaultPlan.rate(&random, 600)
    linkBreaks = FaultPlan.rate(&random, 150)
    pieces = Bool.random(using: &random)
    slowReaders = Bool.random(using: &random)
    slowSink = Bool.random(using: &random)
    latencyMs = UInt64.random(in: 1...2_000, using: &random)
    oddFixes = Bool.random(using: &random)
    tightLimits = Bool.random(using: &random)
    liveFirst = Bool.random(using: &random)
    smallJournal = Bool.random(using: &random)
    segmentBytes = Int.random(in: 2...16, using: &random) * Limits.journalBlockBytes
    checkpointS = Int.random(in: 1...20, using: &random)
    batchFixes = Int.random(in: 1...60, using: &random)
    if datagrams.isChatty {
      batchFixes = min(batchFixes, 3)
      fixesPerDevice = max(fixesPerDevice, 60)
      latencyMs = min(latencyMs, 300)
    }
    if privacy.calendar != nil {
      // By clocks that go wrong a world would be off duty for longer than it lasts. And of twins, who are one device to the gateway,
      // one alone would hear that it may go on.
      faults.removeAll { [.gatewayClockStep, .deviceClockStep, .deviceCloned].contains($0.kind) }
      datagrams.clockIsLost = false
    }
  }

  /// Off for half of the seeds; otherwise from rare to `max` in 1,024.
  static func rate(_ random: inout SeededRandom, _ max: UInt64) -> UInt64 {
    guard Bool.random(using: &random) else { return 0 }
    let top = UInt64.random(in: 1...max, using: &random)
    return UInt64.random(in: 1...top, using: &random)
  }
}
