import GateCore
import Gateway
import Testing

@Suite struct PresenceTests {
  private func session(_ slot: UInt32, _ generation: UInt32 = 1) -> SessionID {
    SessionID(slot: slot, generation: generation)
  }

  @Test func theNewestSessionTakesThePlace() {
    let presence = Presence(devices: 4)
    #expect(presence.take(3, session(7), worker: 0) == nil)
    // Welcomed again, as in another stream: it is the same session.
    #expect(presence.take(3, session(7), worker: 0) == nil)
    let old = presence.take(3, session(7), worker: 2)
    #expect(old?.worker == 0 && old?.session == session(7))
    let older = presence.take(3, session(7, 2), worker: 2)
    #expect(older?.worker == 2 && older?.session == session(7))
    #expect(presence.take(2, session(7), worker: 0) == nil)
  }

  @Test func onlyTheHolderLeaves() {
    let presence = Presence(devices: 1)
    _ = presence.take(0, session(1), worker: 0)
    _ = presence.take(0, session(2), worker: 1)
    presence.leave(0, session(1), worker: 0)
    presence.leave(0, session(2), worker: 0)
    presence.leave(0, session(2, 2), worker: 1)
    #expect(presence.take(0, session(3), worker: 0)?.session == session(2))
    presence.leave(0, session(3), worker: 0)
    #expect(presence.take(0, session(4), worker: 0) == nil)
  }

  @Test(arguments: [
    (SessionID(slot: 0, generation: 0), 0), (SessionID(slot: (1 << 22) - 1, generation: .max), 1_022),
    (SessionID(datagramIndex: 5, generation: 9), 17),
  ]) func aSessionSurvivesItsWord(session: SessionID, worker: Int) {
    let presence = Presence(devices: 1)
    _ = presence.take(0, session, worker: worker)
    let old = presence.take(0, SessionID(slot: 99, generation: 99), worker: 3)
    #expect(old?.session == session && old?.worker == worker)
  }

  @Test func whatFitsNoWordTraps() async {
    await #expect(processExitsWith: .failure) {
      _ = Presence(devices: 1).take(0, SessionID(slot: 1 << 22, generation: 1), worker: 0)
    }
    await #expect(processExitsWith: .failure) {
      _ = Presence(devices: 1).take(0, SessionID(slot: 1, generation: 1), worker: 1_023)
    }
  }

  /// Workers that welcome one device at the same time: every session but the last is told once that it was displaced.
  @Test func eachIsDisplacedOnce() async {
    let presence = Presence(devices: 1)
    // Each gathers its own: ThreadSanitizer does not see a contended Mutex of the Synchronization library.
    let told = await withTaskGroup(of: [SessionID].self) { group in
      for worker in 0..<4 {
        group.addTask {
          (0..<2_000 as Range<UInt32>).compactMap { number in
            presence.take(0, SessionID(slot: UInt32(worker), generation: number), worker: worker)?.session
          }
        }
      }
      return await group.reduce(into: []) { $0 += $1 }
    }
    #expect(told.count == 7_999 && Set(told).count == 7_999)
    let last = presence.take(0, SessionID(slot: 9, generation: 0), worker: 0)?.session
    #expect(last.map { !told.contains($0) } == true)
  }
}
