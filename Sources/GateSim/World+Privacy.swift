import GateCore
import GateStore
import Gateway

/// Subjects who want to be forgotten. The steps are `SubjectKeeper`'s, one an event, so that a crash may come between any two.
extension World {
  /// An erasure under way in this run: what the sequencer said, and whether rows have gone.
  struct Forgetting {
    var lsn: UInt64
    /// Number of the checkpoint that knows their places no more.
    var checkpoint: UInt64
    var erasures: [Int]
    var isDeleted = false
  }

  /// Some devices are carried by somebody.
  func subject(of device: UInt32) -> UInt32 { subjects != nil && device % 3 != 0 ? device : 0 }

  func owner(of device: UInt32) -> KeyOwner { KeyOwner(subject: subject(of: device), device: device) }

  mutating func ask(_ request: PrivacyPlan.Request) {
    guard let gateway, let subjects, !isQuiet else { return }
    let owner = owner(of: 1 + UInt32(upTo(UInt64(deviceCount - 1))))
    tell("asked: \(request) \(owner.raw)")
    switch request {
    case .forgetAll: subjects.ask(SubjectRange(tenant: 1, owner: owner))
    case .forgetTime:
      let from = Bool.random(using: &random) ? .min : wallMs - Int64(upTo(30_000))
      subjects.ask(SubjectRange(tenant: 1, owner: owner, times: from...wallMs))
    case .renewKeys:
      for owner in subjects.owners.sorted(by: { $0.raw < $1.raw }) { subjects.renew(owner) }
      forget([], gateway, subjects)
      afterGatewayStep()
    }
    tally.erasuresAsked += request == .renewKeys ? 0 : 1
    wakeKeeperOfSubjects()
  }

  mutating func wakeKeeperOfSubjects() {
    guard gateway != nil, subjects?.isSettled == false, !isForgettingAwake else { return }
    isForgettingAwake = true
    push(.subjects(run: life), after: upTo(1_000_000_000))
  }

  mutating func subjectsStep() {
    isForgettingAwake = false
    guard let gateway, let subjects else { return }
    if isNewRun {
      // What lies under keys that an earlier run has retired, it may not have lived to say.
      isNewRun = false
      if subjects.hasRetired { forget([], gateway, subjects) }
    } else if let index = subjects.erasures.firstIndex(where: { !$0.isSealedOff }), forgetting == nil {
      let target = subjects.erasures[index].target
      // What is not erased must stay readable until it is in the store.
      if !target.isWhole { subjects.renew(target.owner) }
      if chance(64) { return die(powerCut: false) }
      subjects.sealOff(index)
    } else if subjects.hasRetiredWithoutLSN, forgetting != nil || !subjects.isErasing {
      // An erasure waits for these keys too.
      forget([], gateway, subjects)
    } else if let under = forgetting {
      goOn(under, gateway, subjects)
    } else if subjects.isErasing {
      begin(gateway, subjects)
    } else {
      shred(gateway, subjects)
    }
    afterGatewayStep()
    wakeKeeperOfSubjects()
  }

  /// From here on nothing of it is taken, and nobody reads it in the journal.
  private mutating func begin(_ gateway: SimGateway, _ subjects: SimSubjects) {
    let open = subjects.erasures.indices.filter { !subjects.erasures[$0].isDone }
    let owners = Set(open.map { subjects.erasures[$0].target.owner })
    subjects.reload()
    guard let forgotten = forget((1...deviceCount).filter { owners.contains(owner(of: $0)) }, gateway, subjects) else { return }
    subjects.noteEnd(forgotten.lsn, isStart: false)
    tell("forgotten below \(forgotten.lsn): \(open.map { subjects.erasures[$0].target })")
    forgetting = Forgetting(lsn: forgotten.lsn, checkpoint: forgotten.checkpoint, erasures: open)
  }

  /// The gateway takes the keys in force and knows no places of these devices any more: all under retired keys lies below.
  /// - Returns: `nil` = it could not, or died in it.
  @discardableResult
  private mutating func forget(
    _ devices: [UInt32], _ gateway: SimGateway, _ subjects: SimSubjects
  ) -> (lsn: UInt64, checkpoint: UInt64)? {
    let forgotten = try? gateway.forget(devices, at: now)
    for index in gateway.ports.indices where gateway.ports[index].hasWork { wakeWorker(index) }
    wakeSequencer(at: now)
    wakeSink(at: now)
    guard let forgotten, !disk.isDown else { return nil }
    subjects.setRetired(at: forgotten.lsn)
    checkpointNeeded = forgotten.checkpoint
    return forgotten
  }

  /// Of keys that neither the journal nor the checkpoint needs.
  private func shred(_ gateway: SimGateway, _ subjects: SimSubjects) {
    if gateway.checkpointNumber >= checkpointNeeded { subjects.shredRetired(below: gateway.journalFirstLSN) }
  }

  private mutating func goOn(_ under: Forgetting, _ gateway: SimGateway, _ subjects: SimSubjects) {
    guard gateway.checkpointNumber >= under.checkpoint, gateway.sinkCursor >= under.lsn else { return }
    if !under.isDeleted {
      for index in under.erasures { delete(subjects.erasures[index]) }
      forgetting?.isDeleted = true
      return
    }
    shred(gateway, subjects)
    guard under.erasures.allSatisfy({ !subjects.hasRetiredKeys(of: subjects.erasures[$0].target.owner) }) else { return }
    for index in under.erasures {
      subjects.finish(index)
      tally.erasuresDone += 1
      tell("erasure done: \(subjects.erasures[index].target)")
    }
    forgetting = nil
    checkFiles(gateway)
  }

  private mutating func delete(_ erasure: SimSubjects.Erasure) {
    for row in table.erase(erasure.target) {
      erasedKeys.insert(row.key)
      if row.lsn >= erasure.endLSN ?? .max { violation = .erasedAndTaken(device: row.key.device, sequence: row.key.sequence) }
    }
    do { try store?.erase(erasure.target) } catch { violation = .storeDiffers("\(error)") }
  }
}
