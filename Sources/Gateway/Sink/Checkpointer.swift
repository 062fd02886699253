package import GateCore
import GateNet
package import GateStore
import Synchronization

/// The dedupe checkpoint on disk: `Checkpoint`'s bytes and their CRC32C, replaced as a whole.
package enum CheckpointFile {
  package static let name = "dedupe.checkpoint"
  /// Room for ten million devices with one stream each.
  package static let bytesMax = 1 << 30

  package enum Content: Sendable {
    case none
    case checkpoint(Checkpoint)
    case damaged
    case newer(version: UInt32)
  }

  /// - Parameter cipher: opens the places; without it only the marks are known.
  package static func read(
    in directory: borrowing Directory, with cipher: (any SubjectCipher)? = nil
  ) throws(JournalError) -> Content {
    guard var bytes = try DurableFile.read(name, in: directory, bytesMax: bytesMax) else { return .none }
    guard bytes.count >= 4 else { return .damaged }
    let end = bytes.count - 4
    guard CRC32C.of(bytes.span, in: 0..<end) == bytes.span.load32(at: end) else { return .damaged }
    bytes.removeLast(4)
    do throws(CheckpointError) {
      return .checkpoint(try Checkpoint(decoding: bytes, with: cipher))
    } catch .newerVersion(let version) {
      return .newer(version: version)
    } catch {
      return .damaged
    }
  }

  /// - Parameter cipher: seals the places under the keys in force; `nil` = they can be read.
  package static func write(
    _ encoded: [UInt8], in directory: borrowing Directory, with cipher: (any SubjectCipher)? = nil
  ) throws(JournalError) {
    var bytes = encoded
    if let cipher {
      cipher.refresh()
      var random = SystemRandomNumberGenerator()
      bytes = Checkpoint.sealed(encoded, with: cipher, nonce: SealedRun.Nonce(using: &random))
    }
    let sum = CRC32C.of(bytes.span, in: 0..<bytes.count)
    for shift in stride(from: UInt32(0), to: 32, by: 8) { bytes.append(UInt8(truncatingIfNeeded: sum >> shift)) }
    try DurableFile.replace(name, in: directory, with: bytes.span)
  }
}

/// The thread that seals and writes checkpoints, so that no ack waits for either.
final class Checkpointer {
  private let link: SequencerLink
  private let directory: String
  private let cipher: (any SubjectCipher)?
  private let log: Log

  init(link: SequencerLink, directory: String, cipher: (any SubjectCipher)?, log: @escaping Log) {
    self.link = link
    self.directory = directory
    self.cipher = cipher
    self.log = log
  }

  func run() throws(NetError) {
    var unwritten: (lsn: UInt64, bytes: [UInt8], number: UInt64)?
    var hasFailed = false
    while true {
      let stopping = link.isCheckpointStopping
      let newer = link.checkpoint.withLock { waiting in
        let taken = waiting
        waiting = nil
        return taken
      }
      if let newer { unwritten = newer }
      if let (lsn, bytes, number) = unwritten {
        do throws(JournalError) {
          try CheckpointFile.write(bytes, in: try Directory(directory), with: cipher)
          link.checkpointLSN.store(lsn, ordering: .releasing)
          link.checkpointNumber.store(number, ordering: .releasing)
          unwritten = nil
          hasFailed = false
        } catch {
          // It is tried again: an erasure may wait for this very one. Meanwhile only the next start takes longer, and the journal is
          // not trimmed.
          if !hasFailed { log(.warning, "the dedupe checkpoint could not be written, and is tried again: \(error)") }
          hasFailed = true
        }
      }
      if stopping { return }
      link.checkpointSleeper.prepare()
      if !link.isCheckpointStopping, link.checkpoint.withLock({ $0 == nil }) {
        try link.checkpointSleeper.sleep(until: SystemClock.now().advanced(byNs: 1_000_000_000))
      }
      link.checkpointSleeper.awake()
    }
  }
}
