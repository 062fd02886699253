import Dispatch
import Foundation
import GateCore
import Synchronization
import Testing

@testable import Gateway

@Suite struct CheckpointerTests {
  /// A checkpoint that could not be written is tried again, though no other comes: an erasure may wait for this very one.
  @Test func aFailedWriteIsTriedAgain() throws {
    let folder = FileManager.default.temporaryDirectory.path + "/fixgate-checkpoint-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let link = try SequencerLink(backlogWindow: 60)
    let (failed, ended) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    link.checkpoint.withLock { $0 = (7, Checkpoint(lsn: 7, devices: DeviceTable()).encoded(), 3) }
    Thread.detachNewThread {
      try? Checkpointer(link: link, directory: folder, cipher: nil) { _, _ in failed.signal() }.run()
      ended.signal()
    }
    #expect(failed.wait(timeout: .now() + 60) == .success)
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    link.stopCheckpoints()
    #expect(ended.wait(timeout: .now() + 60) == .success)
    #expect(link.checkpointNumber.load(ordering: .acquiring) == 3 && link.checkpointLSN.load(ordering: .acquiring) == 7)
  }
}
