import GateCore
import GateStore
import GateTLS

/// The book of subjects without SQLite: each change is durable when its call returns, and crashes come in between. The ring made of
/// it, the cipher and the sealed runs are production's.
final class SimSubjects {
  private struct Key {
    var number: UInt64
    var owner: KeyOwner
    var secret: [UInt8]
    var isRetired = false
    /// Everything under the key lies below.
    var retiredLSN: UInt64?
  }

  struct Erasure {
    var target: SubjectRange
    var isSealedOff = false
    var isDone = false
    /// Nothing of it is taken from here on.
    var endLSN: UInt64?
  }

  let holder = SubjectKeyHolder(SubjectKeyRing([], highest: 0))
  private(set) var erasures: [Erasure] = []
  private var keys: [Key] = []
  private var highest: UInt64 = 0
  private var random: SeededRandom

  init(seed: UInt64) { random = SeededRandom(seed: seed) }

  var isSettled: Bool { !isErasing && !hasRetired }
  var hasRetiredWithoutLSN: Bool { keys.contains { $0.isRetired && $0.retiredLSN == nil } }
  var hasRetired: Bool { keys.contains(where: \.isRetired) }
  var isErasing: Bool { !erasures.allSatisfy(\.isDone) }
  var owners: Set<KeyOwner> { Set(keys.lazy.filter { !$0.isRetired }.map(\.owner)) }

  /// Before anybody new may send.
  func cover(_ owner: KeyOwner) {
    guard !owners.contains(owner), !erasures.contains(where: { $0.isSealedOff && $0.target.isWhole && $0.target.owner == owner })
    else { return }
    give(owner)
    reload()
  }

  func renew(_ owner: KeyOwner) {
    for i in keys.indices where keys[i].owner == owner { keys[i].isRetired = true }
    give(owner)
    reload()
  }

  func ask(_ target: SubjectRange) {
    if !erasures.contains(where: { $0.target == target }) { erasures.append(Erasure(target: target)) }
  }

  func sealOff(_ index: Int) {
    if erasures[index].target.isWhole { keys.removeAll { $0.owner == erasures[index].target.owner } }
    erasures[index].isSealedOff = true
  }

  /// Of all that are sealed off, once the gateway goes by the ring that says so: its sequencer has taken it, or it has just begun. What
  /// was written before and not acked may come back at a start.
  func noteEnd(_ lsn: UInt64, isStart: Bool) {
    for i in erasures.indices where erasures[i].isSealedOff && (isStart || erasures[i].endLSN == nil) { erasures[i].endLSN = lsn }
  }

  func finish(_ index: Int) { erasures[index].isDone = true }

  func setRetired(at lsn: UInt64) {
    for i in keys.indices where keys[i].isRetired && keys[i].retiredLSN == nil { keys[i].retiredLSN = lsn }
  }

  func shredRetired(below lsn: UInt64) {
    let before = keys.count
    keys.removeAll { ($0.retiredLSN ?? .max) <= lsn }
    if keys.count < before { reload() }
  }

  func hasRetiredKeys(of owner: KeyOwner) -> Bool { keys.contains { $0.isRetired && $0.owner == owner } }

  /// Puts in force what the book says now.
  func reload() {
    var erased: [KeyOwner: [ClosedRange<Int64>]] = [:]
    for erasure in erasures where erasure.isSealedOff { erased[erasure.target.owner, default: []].append(erasure.target.times) }
    let entries = keys.map {
      SubjectKeyRing.Entry(number: $0.number, owner: $0.owner, isRetired: $0.isRetired, key: $0.secret)
    }
    holder.swap(SubjectKeyRing(entries, erased: erased, highest: highest))
  }

  private func give(_ owner: KeyOwner) {
    highest += 1
    let secret = (0..<SubjectKeyRing.keyBytes).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    keys.append(Key(number: highest, owner: owner, secret: secret))
  }
}

extension SubjectRange {
  /// Whether the record tells something of it.
  func tells(_ record: Record) -> Bool {
    guard record.kind == .fix || record.kind == .held,
      KeyOwner(subject: record.subject, device: record.device) == owner
    else { return false }
    return isWhole || record.fix.present.contains(.time) && times.contains(record.fix.fixTimeMs)
  }
}
