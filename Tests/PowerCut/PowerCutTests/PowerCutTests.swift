import Foundation
import GateCore
import GateStore
import PowerCutDisk
import Testing

/// The journal under power cuts: a real process, killed at random moments, on a disk that keeps only what was synced.
@Suite(.serialized) struct PowerCutTests {
  /// What one life of the writer said before it was killed.
  struct Life {
    var durable: UInt64 = 0
    var cursor: UInt64 = 0
    var lines = 0
  }

  @Test(arguments: [nil, 1, 2, 3] as [UInt64?]) func whatWasSaidToBeDurableIsThere(seed: UInt64?) throws {
    let folder = try PowerCutFolder()
    var durable: UInt64 = 0
    var cursor: UInt64 = 0
    for round in 0..<16 as Range<UInt64> {
      let life = try live(folder.disk, seed: round &+ (seed ?? 0) &* 1_000, lines: Int(round * 37 % 90) + 3)
      durable = max(durable, life.durable)
      cursor = max(cursor, life.cursor)
      try folder.disk.cut(seed: seed.map { $0 &* 100 &+ round })
      let found = try #require(try check(folder.disk.root, cursor: cursor))
      #expect(found.corrupt.isEmpty, "round \(round)")
      #expect(found.endLSN >= durable, "round \(round)")
      durable = found.endLSN
    }
    #expect(cursor > 0)
  }

  @Test func aMissingSyncIsNoticed() throws {
    let folder = try PowerCutFolder()
    let life = try live(folder.disk, seed: 7, lines: 20, ignoringSync: true)
    try folder.disk.cut(seed: nil)
    let found = try check(folder.disk.root, cursor: 0)
    #expect((found?.endLSN ?? 0) < life.durable)
  }

  /// Runs the writer until it has said `lines` things, then kills it at once, wherever it is; or it has done so itself.
  private func live(_ disk: PowerCutDisk, seed: UInt64, lines: Int, ignoringSync: Bool = false) throws -> Life {
    let process = Process()
    let beside = URL(fileURLWithPath: PowerCutDisk.builtLibrary).deletingLastPathComponent()
    process.executableURL = beside.appendingPathComponent("powercut-journal")
    process.arguments = [disk.root, "\(seed)"]
    let added = disk.environment(library: PowerCutDisk.builtLibrary, ignoringSync: ignoringSync)
    process.environment = ProcessInfo.processInfo.environment.merging(added) { $1 }
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    var life = Life()
    var text = ""
    var isKilled = false
    while true {
      let data = output.fileHandleForReading.availableData
      if data.isEmpty { break }
      text += String(decoding: data, as: UTF8.self)
      while let end = text.firstIndex(of: "\n") {
        let words = text[..<end].split(separator: " ")
        text.removeSubrange(...end)
        let lsn = try #require(words.count == 2 ? UInt64(words[1]) : nil)
        if words[0] == "cursor" { life.cursor = lsn } else { life.durable = lsn }
        life.lines += 1
      }
      if life.lines >= lines && !isKilled {
        kill(process.processIdentifier, SIGKILL)
        isKilled = true
      }
    }
    process.waitUntilExit()
    #expect(process.terminationReason == .uncaughtSignal && process.terminationStatus == SIGKILL)
    return life
  }

  /// Opens what the disk held and reads every record from the cursor on; `nil` if there is no journal at all.
  private func check(_ root: String, cursor: UInt64) throws -> JournalRecovery? {
    let path = root + "/journal"
    guard FileManager.default.fileExists(atPath: path) else { return nil }
    let journal = try JournalFile.open(directory: path, segmentBytes: 128 << 10, durableFloor: cursor)
    var reader = try JournalReader.open(directory: path, from: cursor)
    var buffer: [UInt8] = []
    var lsn = cursor
    while let batch = try reader.next(upTo: journal.endLSN, into: &buffer) {
      let records = buffer.span.extracting(batch.records)
      var at = 0
      for n in batch.firstLSN..<batch.endLSN {
        for _ in 0...n % 100 {
          try #require(records.load64(at: at) == n)
          at += 8
        }
      }
      #expect(at == batch.records.count)
      #expect(batch.firstLSN + UInt64(batch.skip) == lsn)
      lsn = batch.endLSN
    }
    #expect(lsn == journal.endLSN)
    return journal.recovery
  }
}

/// A data directory of its own for one test; gone when the test is.
struct PowerCutFolder: ~Copyable {
  let disk: PowerCutDisk
  private let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.path + "/fixgate-powercut-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path + "/data", withIntermediateDirectories: true)
    disk = PowerCutDisk(root: path + "/data")
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }
}
