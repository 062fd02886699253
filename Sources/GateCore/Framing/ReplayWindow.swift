/// Which record numbers of one direction were seen, without shifting bits: a ring of words (RFC 6479).
///
/// Ask with `verdict(for:)` before the record is authenticated, `mark` only after it was: a forged number must move nothing
/// (RFC 6347 section 4.1.2.6).
///
/// Invariant: word `n / 64 mod 2` holds the bits of the 64 numbers around `n` that lie in the newest two blocks; numbers in
/// older blocks are too old. So between 64 and 127 numbers below the newest are told apart.
package struct ReplayWindow: Equatable, Sendable, BitwiseCopyable {
  /// Numbers below the newest that are still told apart, at least.
  package static let width: UInt64 = 64
  /// Highest number: DTLS 1.2 has 48 bits of them (RFC 6347 section 4.1).
  package static let numberMax: UInt64 = 1 << 48 - 1

  package enum Verdict: Equatable, Sendable {
    /// Higher than all before: only such a record may move the peer's address.
    case newest
    /// Not seen yet, overtaken by a newer one.
    case late
    /// Seen before. Drop it.
    case replayed
    /// Below the window: nobody can say. Drop it.
    case tooOld
  }

  /// One above the newest number; 0 while none was seen.
  package private(set) var next: UInt64 = 0
  private var even: UInt64 = 0
  private var odd: UInt64 = 0

  /// Nothing was seen.
  package init() {}

  /// All below `next` was seen, for all that is known.
  package init(allBelow next: UInt64) {
    precondition(next <= ReplayWindow.numberMax + 1)
    self.next = next
    (even, odd) = (.max, .max)
    // Bits above the newest number belong to numbers to come.
    if next & 63 != 0 {
      if (next >> 6) & 1 == 0 { even = bit(next) - 1 } else { odd = bit(next) - 1 }
    }
  }

  package func verdict(for number: UInt64) -> Verdict {
    if number >= next { return .newest }
    let newestBlock = (next - 1) >> 6
    let block = number >> 6
    guard newestBlock - block < 2 else { return .tooOld }
    let word = block & 1 == 0 ? even : odd
    return word & bit(number) == 0 ? .late : .replayed
  }

  /// Takes note of an authentic record. One that is `.replayed` or `.tooOld` changes nothing.
  package mutating func mark(_ number: UInt64) {
    precondition(number <= ReplayWindow.numberMax)
    let block = number >> 6
    if number >= next {
      // Blocks that are entered anew start empty; a jump of two or more enters both.
      let entered = next == 0 ? 2 : block - (next - 1) >> 6
      if entered > 0 {
        if entered > 1 { (even, odd) = (0, 0) } else if block & 1 == 0 { even = 0 } else { odd = 0 }
      }
      next = number + 1
    } else if verdict(for: number) != .late {
      return
    }
    if block & 1 == 0 { even |= bit(number) } else { odd |= bit(number) }
  }

  private func bit(_ number: UInt64) -> UInt64 { 1 &<< (number & 63) }
}
