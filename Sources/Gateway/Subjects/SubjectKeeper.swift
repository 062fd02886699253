import Foundation
import GateCore
import GateNet
import GateStore
import GateTLS
import Synchronization

/// The thread that carries out what the book of subjects asks for: erasures, and the shredding of keys that nothing needs.
///
/// Whatever it does can be done again: after a crash it begins anew with all that the book does not call done.
final class SubjectKeeper: Sendable {
  static let noKeys = "the gateway has no tls.registry_key, so positions lie readable in its journal: make the key, start anew"

  private let keys: SubjectKeys
  private let directory: String
  /// Files of the stores.
  private let stores: [String]
  private let link: SequencerLink
  private let others: SinkErasure
  /// Runs on a thread of its own.
  let retention: SinkRetention
  private let log: Log
  private let sleeper: Sleeper
  /// One renewal of keys at a time, until it is known which records lie under the old ones.
  private let renewing = Mutex(())
  /// Number of the first checkpoint in which nothing lies under retired keys.
  private let checkpointNeeded = Atomic<UInt64>(0)
  private let sealsCheckpoint: Bool
  private let stopping = Atomic(false)
  private let wantsRound = Atomic(false)

  private static let idleNs: UInt64 = 5_000_000_000
  /// Days are the unit of retention.
  private static let roundNs: UInt64 = 3_600_000_000_000
  private static let waitNs: UInt64 = 20_000_000
  /// Between two looks at an erasure that waits for a sink or for the journal.
  private static let unfinishedNs: UInt64 = 200_000_000

  /// The embedded store has nothing of an erasure any more.
  private struct Deleted {
    var found: SubjectCounts
    /// Records below it may hold some of it.
    var lsn: UInt64
  }

  /// - Parameters:
  ///   - folder: relative paths of the configuration start here.
  ///   - sealsCheckpoint: anybody can read the places in the checkpoint on disk, so that another is to be written.
  init(
    _ keys: SubjectKeys, folder: String, directory: String, stores: [String], sealsCheckpoint: Bool, link: SequencerLink,
    log: @escaping Log
  ) throws(NetError) {
    self.keys = keys
    self.directory = directory
    self.stores = stores
    self.sealsCheckpoint = sealsCheckpoint
    self.link = link
    others = SinkErasure(folder: folder, directory: directory, link: link)
    retention = try SinkRetention(folder: folder, directory: directory, link: link, log: log)
    self.log = log
    sleeper = try Sleeper()
  }

  func stop() {
    stopping.store(true, ordering: .releasing)
    sleeper.event.signal()
    retention.stop()
  }

  /// From the control thread.
  func answer(_ request: ControlRequest) -> ControlAnswer {
    do {
      var answer = ControlAnswer()
      if case .rotateKeys(let tenant) = request {
        answer.keys = try renewAll(tenant)
      }
      wantsRound.store(true, ordering: .releasing)
      sleeper.event.signal()
      retention.beginRound()
      return answer
    } catch {
      return ControlAnswer(problem: "\(error)")
    }
  }

  func run() throws {
    let book = try SubjectBook(path: bookPath)
    let cipher = try RingCipher(keys.holder)
    var hadProblem = false
    var hasBegun = false
    var deleted: [Int64: Deleted] = [:]
    var nextRound = SystemClock.now()
    while !isStopping {
      do {
        if !hasBegun { hasBegun = try begin(in: book, cipher) }
        try finishRenewal(in: book)
        let pending = try book.erasures(pending: true)
        let fresh = pending.filter { deleted[$0.number] == nil }
        if !fresh.isEmpty { try carryOut(fresh, in: book, cipher, &deleted) }
        // A sink that is away holds up its receipts and nothing else.
        var away: (any Error)?
        for erasure in pending {
          if isStopping { return }
          guard let done = deleted[erasure.number] else { continue }
          do {
            if try finish(erasure, done, in: book, cipher) { deleted[erasure.number] = nil }
          } catch {
            away = error
          }
        }
        try shred(in: book, cipher)
        if SystemClock.now() >= nextRound || wantsRound.exchange(false, ordering: .acquiring) {
          nextRound = SystemClock.now().advanced(byNs: SubjectKeeper.roundNs)
          try keepRetention(in: book, cipher)
        }
        if let away { throw away }
        hadProblem = false
      } catch {
        if !hadProblem { log(.error, "erasure and retention wait, and are tried again: \(error)") }
        hadProblem = true
      }
      let isAsked = wantsRound.load(ordering: .acquiring)
      let unhurriedNs = deleted.isEmpty ? SubjectKeeper.idleNs : SubjectKeeper.unfinishedNs
      let pauseNs = hadProblem ? SubjectKeeper.idleNs : isAsked ? SubjectKeeper.waitNs : unhurriedNs
      try sleeper.sleep(until: SystemClock.now().advanced(byNs: pauseNs))
    }
  }

  /// Settles what a run before this one left open: which records lie under retired keys, and what can be read.
  /// - Returns: whether all of it is done; false if the gateway stops.
  private func begin(in book: borrowing SubjectBook, _ cipher: RingCipher) throws -> Bool {
    let hasRetired = try book.hasRetired()
    if sealsCheckpoint || hasRetired {
      try renewing.withLock { _ in try book.setRetired(at: try forget([]).lsn) }
    }
    return try renewKept(cipher)
  }

  /// Finds out what lies under retired keys of which nobody could say so yet.
  private func finishRenewal(in book: borrowing SubjectBook) throws {
    guard try book.hasRetiredWithoutLSN() else { return }
    try renewing.withLock { _ in try book.setRetired(at: try forget([]).lsn) }
  }

  // MARK: - Erasing

  /// First nobody can read it in the journal any more, and no more of it is taken; then all that was on its way is in the
  /// stores; then it is deleted there, and what the files still have of it is overwritten, for all erasures at once.
  private func carryOut(
    _ erasures: [Erasure], in book: borrowing SubjectBook, _ cipher: RingCipher, _ done: inout [Int64: Deleted]
  ) throws {
    let registry = try RegistryStore(path: directory + "/" + GatewayServer.registryName)
    let forgotten = try renewing.withLock { _ in
      var devices: Set<UInt32> = []
      for erasure in erasures {
        let target = erasure.target
        if !erasure.isSealedOff {
          // What is not erased must stay readable until it is in the stores.
          if !target.isWhole { try keys.renew([(target.tenant, target.owner)]) }
          try book.sealOff(erasure)
        }
        devices.formUnion(try registry.devices(of: target.owner))
      }
      try book.overwriteDeleted()
      try keys.reload()
      let forgotten = try forget(Array(devices))
      try book.setRetired(at: forgotten.lsn)
      return forgotten
    }
    let link = link
    guard try wait(until: {
      link.checkpointNumber.load(ordering: .acquiring) >= forgotten.checkpoint
        && link.sinks.withLock { $0 }.allSatisfy { $0.settings.type != .sqlite || $0.progress.cursor >= forgotten.lsn }
    }) else { return }
    var found: [SubjectCounts] = []
    for erasure in erasures { found.append(try delete(erasure, in: book, cipher)) }
    for path in stores {
      if isStopping { return }
      var rows = try SQLiteSubjectRows(path: path)
      try rows.overwriteDeleted()
    }
    for (erasure, found) in zip(erasures, found) { done[erasure.number] = Deleted(found: found, lsn: forgotten.lsn) }
  }

  /// Gives the receipt once the old keys are gone and the other sinks have deleted it too.
  /// - Returns: false if that is not so yet.
  private func finish(
    _ erasure: Erasure, _ done: Deleted, in book: borrowing SubjectBook, _ cipher: RingCipher
  ) throws -> Bool {
    let target = erasure.target
    let registry = try RegistryStore(path: directory + "/" + GatewayServer.registryName)
    try shred(in: book, cipher)
    guard try book.retiredKeys(of: target.owner) == 0,
      let sinks = try others.carryOut(target, in: registry, below: done.lsn, isOver: { [self] in isStopping })
    else { return false }
    let nowMs = SystemClock.wallMs()
    let receipt = ErasureReceipt(
      erasure, names: try registry.names(tenant: target.tenant, owner: target.owner), lsn: done.lsn, deleted: done.found,
      sinks: sinks, doneMs: nowMs)
    try book.finish(erasure.number, receipt: receipt.json, nowMs: nowMs)
    log(.notice, "erasure \(erasure.number) is done")
    return true
  }

  /// Deletes it from every store. What was found is written down before the first row goes.
  private func delete(_ erasure: Erasure, in book: borrowing SubjectBook, _ cipher: RingCipher) throws -> SubjectCounts {
    var found = SubjectCounts()
    if let text = erasure.found {
      found = try JSONDecoder().decode(SubjectCounts.self, from: Data(text.utf8))
    } else {
      for path in stores {
        var rows = try SQLiteSubjectRows(path: path, cipher: cipher)
        found += try rows.count(erasure.target)
      }
      try book.note(found: String(decoding: try JSONEncoder().encode(found), as: UTF8.self), of: erasure.number)
    }
    for path in stores {
      var rows = try SQLiteSubjectRows(path: path, cipher: cipher)
      while !isStopping, try rows.erase(erasure.target) {}
    }
    return found
  }

  /// Shreds retired keys that the journal needs no more, once nothing else lies under them either.
  private func shred(in book: borrowing SubjectBook, _ cipher: RingCipher) throws {
    let lsn = link.journalFirstLSN.load(ordering: .acquiring)
    guard link.checkpointNumber.load(ordering: .acquiring) >= checkpointNeeded.load(ordering: .acquiring),
      try book.hasRetired(below: lsn), try renewKept(cipher), try book.shredRetired(below: lsn)
    else { return }
    try book.overwriteDeleted()
    try keys.reload()
  }

  /// Brings what the stores keep as records under the keys in force.
  /// - Returns: false if the gateway stops first.
  private func renewKept(_ cipher: RingCipher) throws -> Bool {
    for path in stores {
      var rows = try SQLiteSubjectRows(path: path, cipher: cipher)
      for table in SQLiteSubjectRows.KeptTable.allCases {
        var place: Int64? = 0
        while let start = place {
          let slice = try rows.renewKept(table, behind: start)
          place = slice.next
          if slice.rows > 0 { try breathe() }
          if isStopping { return false }
        }
      }
    }
    return true
  }

  // MARK: - Retention

  /// One round: deletes what has had its time, slice by slice, and renews keys that have grown too old.
  private func keepRetention(in book: borrowing SubjectBook, _ cipher: RingCipher) throws {
    let nowMs = SystemClock.wallMs()
    let registry = try RegistryStore(path: directory + "/" + GatewayServer.registryName)
    for rule in try RetentionRule.all(registry, book, nowMs: nowMs) {
      let cut = rule.cut
      if let days = rule.days.journal, let made = try book.oldestKeyMs(tenant: cut.tenant),
        nowMs - made >= max(days, 1) * RetentionCut.dayMs
      {
        _ = try renewAll(cut.tenant)
      }
      for path in cut.isEmpty ? [] : stores { try prune(cut, in: path, cipher) }
      if isStopping { return }
    }
  }

  private func prune(_ cut: RetentionCut, in path: String, _ cipher: RingCipher) throws {
    var rows = try SQLiteSubjectRows(path: path, cipher: cipher)
    var changed = 0
    var place: Int64? = 0
    while let start = place {
      let slice = try rows.prune(cut, behind: start)
      changed += slice.rows
      place = slice.next
      if slice.rows > 0 { try breathe() }
      if isStopping { return }
    }
    while case let count = try rows.pruneQuarantine(cut), count > 0 {
      changed += count
      try breathe()
      if isStopping { return }
    }
    // The gateway's own memory goes first: the rows tell, after a crash too, what it still has to forget.
    let overdue = try rows.overdueLatest(cut)
    if !overdue.isEmpty {
      let forgotten = try forget(overdue)
      guard try wait(until: { link.checkpointNumber.load(ordering: .acquiring) >= forgotten.checkpoint }) else { return }
    }
    try rows.pruneLatest(cut)
    if changed > 0 || !overdue.isEmpty {
      try AuditLog(directory).append(
        AuditEntry(.expired, by: .gateway, tenant: nil, about: "rows", numbers: ["tenant": Int64(cut.tenant), "rows": Int64(changed)]))
    }
  }

  /// Lets the sink have the store between two slices.
  private func breathe() throws { try sleeper.sleep(until: SystemClock.now().advanced(byNs: SubjectKeeper.waitNs)) }

  // MARK: - Parts

  private var bookPath: String { directory + "/" + SubjectBook.name }
  private var isStopping: Bool { stopping.load(ordering: .acquiring) }

  /// - Returns: number of keys.
  private func renewAll(_ tenant: UInt32) throws -> Int {
    try renewing.withLock { _ in
      let count = try keys.renewAll(tenant: tenant)
      try SubjectBook(path: bookPath).setRetired(at: try forget([]).lsn)
      return count
    }
  }

  private func forget(_ devices: [UInt32]) throws -> SequencerRequest.Forgotten {
    let box = AnswerBox<Result<SequencerRequest.Forgotten, JournalError>>()
    link.request(.forget(devices) { box.put($0) })
    guard let answer = box.wait(until: SystemClock.now().advanced(byNs: 30_000_000_000)) else {
      throw GatewayError.thread("the sequencer did not answer in time; it may wait for its disk")
    }
    let forgotten = try answer.get()
    checkpointNeeded.store(forgotten.checkpoint, ordering: .releasing)
    return forgotten
  }

  /// - Returns: false if the gateway stops first.
  private func wait(until isSo: () throws -> Bool) throws -> Bool {
    while !(try isSo()) {
      if isStopping { return false }
      try sleeper.sleep(until: SystemClock.now().advanced(byNs: SubjectKeeper.waitNs))
    }
    return true
  }
}
