package import GateCore
import GateMemory

/// Which session each device has, over all workers: so that the half-dead connections that a device leaves behind on a bad
/// network collapse into its newest. One word a device, changed when a session is welcomed or ends, never for a fix.
///
/// Layout of a word: worker + 1 (10 bits), slot (22 bits), generation (32 bits); 0 = no session.
package final class Presence: Sendable {
  private let words: AtomicWords

  package init(devices: Int) { words = AtomicWords(count: devices) }

  /// The device's session is now `session` of `worker`.
  /// - Returns: the one that it had, if that is another.
  package func take(_ device: UInt32, _ session: SessionID, worker: Int) -> (worker: Int, session: SessionID)? {
    let new = Presence.word(session, worker: worker)
    let before = replace(Int(device), with: new) { _ in true }
    guard before != 0, before != new else { return nil }
    let session = SessionID(slot: UInt32(before >> 32 & 0x3F_FFFF), generation: UInt32(truncatingIfNeeded: before))
    return (Int(before >> 54) - 1, session)
  }

  /// The session has ended. One that was displaced before changes nothing.
  package func leave(_ device: UInt32, _ session: SessionID, worker: Int) {
    let mine = Presence.word(session, worker: worker)
    _ = replace(Int(device), with: 0) { $0 == mine }
  }

  /// - Returns: the word before.
  private func replace(_ index: Int, with new: UInt64, if condition: (UInt64) -> Bool) -> UInt64 {
    var word = words.load(index)
    while condition(word) {
      guard let other = words.exchange(index, expected: word, new: new) else { return word }
      word = other
    }
    return word
  }

  private static func word(_ session: SessionID, worker: Int) -> UInt64 {
    precondition(session.slot < 1 << 22 && worker < 1_023)
    return UInt64(worker + 1) << 54 | UInt64(session.slot) << 32 | UInt64(session.generation)
  }
}
