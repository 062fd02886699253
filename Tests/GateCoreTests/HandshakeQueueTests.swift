import GateCore
import Testing

@Suite struct HandshakeQueueTests {
  private static let at = Instant(ns: 5_000_000_000)
  private static let second: UInt64 = 1_000_000_000

  private static func queue(
    perSecond: UInt64 = 10, burst: UInt64 = 2, halfOpen: Int = 8, waiting: Int = 4
  ) -> HandshakeQueue {
    HandshakeQueue(
      HandshakeQueue.Settings(
        rate: GCRA(perSecond: perSecond, burst: burst), halfOpenMax: halfOpen, waitingMax: waiting,
        patienceNs: 3 * second))
  }

  private func id(_ number: UInt32) -> SessionID { SessionID(slot: number, generation: 1) }

  @Test func resumedFirstThenInOrder() {
    var queue = Self.queue(burst: 4)
    for number: UInt32 in 1...4 {
      #expect(queue.offer(id(number), resumes: number >= 3, at: Self.at) == .waits)
    }
    #expect((0..<4).map { _ in queue.next(at: Self.at) } == [id(3), id(4), id(1), id(2)])
    #expect(queue.next(at: Self.at) == nil)
    #expect(queue.waiting == 0)
    #expect(queue.halfOpen == 4)
  }

  @Test func fullHandshakesAreMeteredAndResumedOnesNot() {
    var queue = Self.queue()
    for number: UInt32 in 1...4 { _ = queue.offer(id(number), resumes: false, at: Self.at) }
    #expect(queue.next(at: Self.at) == id(1))
    #expect(queue.next(at: Self.at) == id(2))
    #expect(queue.next(at: Self.at) == nil)
    #expect(queue.deadline(at: Self.at) == Self.at.advanced(byNs: Self.second / 10))
    // There is no limit of rate for a ticket.
    _ = queue.offer(id(9), resumes: true, at: Self.at)
    #expect(queue.deadline(at: Self.at) == Self.at)
    #expect(queue.next(at: Self.at) == id(9))
    #expect(queue.next(at: Self.at.advanced(byNs: Self.second / 10)) == id(3))
  }

  @Test func aFalseClaimIsChargedAfterwards() {
    var queue = Self.queue(burst: 1)
    _ = queue.offer(id(1), resumes: true, at: Self.at)
    #expect(queue.next(at: Self.at) == id(1))
    queue.wasFull(at: Self.at)
    _ = queue.offer(id(2), resumes: false, at: Self.at)
    #expect(queue.next(at: Self.at) == nil)
  }

  @Test func aFullQueueRefusesButForATicketItMakesRoom() {
    var queue = Self.queue()
    for number: UInt32 in 1...4 { _ = queue.offer(id(number), resumes: false, at: Self.at) }
    #expect(queue.offer(id(5), resumes: false, at: Self.at) == .refused)
    #expect(queue.offer(id(6), resumes: true, at: Self.at) == .displaces(id(4)))
    for number: UInt32 in 7...9 {
      #expect(queue.offer(id(number), resumes: true, at: Self.at) == .displaces(id(10 - number)))
    }
    #expect(queue.offer(id(10), resumes: true, at: Self.at) == .refused)
    #expect(queue.waiting == 4)
  }

  @Test func halfOpenOnesGiveWayWhenOthersWait() {
    var queue = Self.queue(perSecond: 1_000, burst: 100, halfOpen: 4, waiting: 100)
    for number: UInt32 in 1...10 { _ = queue.offer(id(number), resumes: false, at: Self.at) }
    // A quarter is kept for tickets.
    for number: UInt32 in 1...3 { #expect(queue.next(at: Self.at) == id(number)) }
    #expect(queue.next(at: Self.at) == nil)
    #expect(queue.overdue(at: Self.at) == nil)
    #expect(queue.deadline(at: Self.at) == Self.at.advanced(byNs: 3 * Self.second))
    _ = queue.offer(id(50), resumes: true, at: Self.at)
    #expect(queue.next(at: Self.at) == id(50))
    queue.forget(id(2))
    let later = Self.at.advanced(byNs: 3 * Self.second)
    #expect(giveWay(&queue, at: later) == id(1))
    #expect(queue.next(at: later) == id(4))
    #expect(giveWay(&queue, at: later) == id(3))
    #expect(giveWay(&queue, at: later) == nil)
    #expect(queue.next(at: later) == id(5))
    #expect(giveWay(&queue, at: later) == id(50))
    #expect(giveWay(&queue, at: later) == nil)
  }

  private func giveWay(_ queue: inout HandshakeQueue, at now: Instant) -> SessionID? {
    let id = queue.overdue(at: now)
    if let id { queue.forget(id) }
    return id
  }

  /// In a storm devices answer late, and those that have shown a good ticket are devices: they keep their places, and the others
  /// wait for them.
  @Test func aGoodTicketKeepsItsPlace() {
    var queue = Self.queue(perSecond: 1_000, burst: 100, halfOpen: 4, waiting: 100)
    for number: UInt32 in 1...6 {
      _ = queue.offer(id(number), resumes: true, at: Self.at)
      if let begun = queue.next(at: Self.at), number != 3 { queue.proved(begun, at: Self.at) }
    }
    #expect(queue.halfOpen == 4)
    let later = Self.at.advanced(byNs: 300 * Self.second)
    // The third's ticket was a lie.
    #expect(giveWay(&queue, at: later) == id(3))
    #expect(queue.next(at: later) == id(5))
    queue.proved(id(5), at: later)
    #expect(giveWay(&queue, at: later) == nil)
    #expect(queue.next(at: later) == nil)
    #expect(queue.deadline(at: later) == nil)
    queue.forget(id(1))
    #expect(queue.next(at: later) == id(6))
  }

  @Test func suspectOnesGoBehindAllOthers() {
    var queue = Self.queue(burst: 3, waiting: 10)
    for number: UInt32 in 1...4 { _ = queue.offer(id(number), resumes: false, at: Self.at) }
    #expect(queue.next(at: Self.at) == id(1))
    let first = queue.demote(id(1), at: Self.at)
    #expect(queue.next(at: Self.at) == id(2))
    #expect(queue.next(at: Self.at) == id(3))
    let second = queue.demote(id(3), at: Self.at)
    #expect(first && second)
    #expect(queue.next(at: Self.at) == id(4))
    // Nobody else waits: no reason to wait either. What was demoted was not charged.
    #expect(queue.next(at: Self.at) == id(1))
    let last = queue.demote(id(1), at: Self.at)
    #expect(!last)
    #expect(queue.next(at: Self.at) == nil)
    #expect(queue.waiting == 1)
    queue.forget(id(3))
    #expect(queue.waiting == 0)
  }

  /// Against arrays: the same order, the same counts, whatever ends in between.
  @Test(arguments: [UInt64(1), 2, 3, 4])
  func agreesWithArrays(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var queue = Self.queue(perSecond: 1_000_000_000, burst: 1_000_000, halfOpen: 40, waiting: 60)
    var resumed: [SessionID] = []
    var full: [SessionID] = []
    var underWay: [SessionID] = []
    var number: UInt32 = 0
    for _ in 0..<20_000 {
      switch Int.random(in: 0..<5, using: &random) {
      case 0, 1:
        number += 1
        let resumes = Bool.random(using: &random)
        let expected: HandshakeQueue.Offer
        if resumed.count + full.count < 60 {
          expected = .waits
        } else if resumes, let last = full.popLast() {
          expected = .displaces(last)
        } else {
          expected = .refused
        }
        #expect(queue.offer(id(number), resumes: resumes, at: Self.at) == expected)
        if expected == .refused { continue }
        if resumes { resumed.append(id(number)) } else { full.append(id(number)) }
      case 2, 3:
        var expected: SessionID?
        if underWay.count < 40, !resumed.isEmpty {
          expected = resumed.removeFirst()
        } else if underWay.count < 30, !full.isEmpty {
          expected = full.removeFirst()
        }
        #expect(queue.next(at: Self.at) == expected)
        if let expected { underWay.append(expected) }
      default:
        guard let victim = (resumed + full + underWay).randomElement(using: &random) else { continue }
        queue.forget(victim)
        resumed.removeAll { $0 == victim }
        full.removeAll { $0 == victim }
        underWay.removeAll { $0 == victim }
      }
      #expect(queue.waiting == resumed.count + full.count)
      #expect(queue.halfOpen == underWay.count)
    }
  }
}
