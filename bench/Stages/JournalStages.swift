import BenchHarness
import BenchReport
import Foundation
import GateCore
import GateStore

/// Batches made durable by the journal, beside bare writes and syncs of a file that is there already.
enum JournalStages {
  static func make(_ setting: Stage.Setting) throws -> [Stage] {
    let folder = try Scratch(in: setting.folder)
    let record = Rides.encoded(Array(Rides.records(Rides.fixes(300), devices: 1).prefix(1)))
    let (full, lone) = ((1 << 20) / record.count, 1)
    return try [
      stage("journal, batches of 1 MiB", full, record, times: max(2, 32 / setting.shrink), folder, speedLeast: 0.8),
      stage("journal, a lone record", lone, record, times: max(2, 100 / setting.shrink), folder, speedLeast: nil),
    ]
  }

  private static func stage(
    _ name: String, _ count: Int, _ record: [UInt8], times: Int, _ folder: Scratch, speedLeast: Double?
  ) throws -> Stage {
    let batch = [UInt8]((0..<count).map { _ in record }.joined())
    let journal = try Journal(folder, "/journal-\(count)")
    let bytes = (batch.count + Limits.journalBlockBytes - 1) / Limits.journalBlockBytes * Limits.journalBlockBytes
    let file = try BareFile(folder.path + "/bare-\(count)", bytes: 64 << 20)
    return Stage(
      name, item: "batch", items: times, bytesWritten: Double(bytes),
      targets: speedLeast.map { [.speed(of: "bare write and fdatasync", least: $0)] } ?? [], clock: .wall,
      [
        Contest.Entry("fixgate", prepare: { journal.recycle() }) {
          for _ in 0..<times { journal.commit(batch, count: count) }
          return 0
        },
        Contest.Entry("bare write and fdatasync") {
          for _ in 0..<times { file.write(bytes) }
          return 0
        },
      ])
  }

  private final class Journal {
    private let folder: Scratch
    private var file: JournalFile

    init(_ folder: Scratch, _ name: String) throws {
      self.folder = folder
      file = try JournalFile.open(directory: folder.path + name, durableFloor: 0)
    }

    func commit(_ records: [UInt8], count: Int) {
      do throws(JournalError) { try file.commit(records.span, count: count) } catch { preconditionFailure("\(error)") }
    }

    /// As when the store has taken all: segments come back as spares.
    func recycle() {
      do throws(JournalError) {
        try file.trim(below: file.endLSN)
        while !(try file.prepareSpare()) {}
      } catch { preconditionFailure("\(error)") }
    }
  }

  /// Its blocks are written before: a sync has no metadata to write.
  private final class BareFile {
    private let descriptor: Int32
    private let bytes: Int
    private let content: [UInt8]
    private var at = 0

    init(_ path: String, bytes: Int) throws {
      self.bytes = bytes
      descriptor = unsafe open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)
      content = [UInt8](repeating: 7, count: 2 << 20)
      guard descriptor >= 0 else { throw StageError.notMade("journal") }
      for at in stride(from: 0, to: bytes, by: content.count) {
        guard unsafe pwrite(descriptor, content, content.count, off_t(at)) == content.count else {
          throw StageError.notMade("journal")
        }
      }
      guard fsync(descriptor) == 0 else { throw StageError.notMade("journal") }
    }

    deinit { close(descriptor) }

    func write(_ count: Int) {
      if at + count > bytes { at = 0 }
      precondition(unsafe pwrite(descriptor, content, count, off_t(at)) == count && fdatasync(descriptor) == 0)
      at += count
    }
  }
}

/// A folder that goes with its owner.
final class Scratch {
  let path: String

  init(in parent: String) throws {
    path = parent + "/fixgate-stage-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }
}
