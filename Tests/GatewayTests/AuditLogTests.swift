import Foundation
import GateCore
import GateStore
import Gateway
import Testing

/// The audit log on a real disk: what is in it stays, and whoever changes it is named.
@Suite struct AuditLogTests {
  private final class Place {
    let path = FileManager.default.temporaryDirectory.path + "/fixgate-audit-" + UUID().uuidString
    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    var log: AuditLog { AuditLog(path) }
    /// Closes a file after a few entries, and keeps two.
    var small: AuditLog { AuditLog(directory: path, digest: log.digest, fileBytesMax: 1_000, filesMax: 2) }
    var file: String { path + "/audit.log" }

    func fill(_ count: Int, _ log: AuditLog? = nil) throws {
      for i in 0..<count {
        try (log ?? self.log).append(
          AuditEntry(.readHistory, by: .user(1_000), tenant: "demo", device: 7, numbers: ["rows": Int64(i)]))
      }
    }

    func lines(_ name: String = "audit.log") throws -> [String] {
      try String(contentsOfFile: path + "/" + name, encoding: .utf8).split(separator: "\n").map(String.init)
    }

    func write(_ lines: [String], _ name: String = "audit.log") throws {
      try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: path + "/" + name))
    }
  }

  @Test func whatWasWrittenIsRight() throws {
    let place = try Place()
    #expect(try place.log.read().last.number == 0)
    try place.fill(5)
    var lines = 0
    let report = try place.log.read { _ in lines += 1 }
    #expect(report.problems.isEmpty && !report.isTorn && report.first == 1 && report.last.number == 6 && lines == 6)
    #expect(try place.lines()[5].hasPrefix("{\"number\":6,\"time_ms\":"))
    let mode = try FileManager.default.attributesOfItem(atPath: place.file)[.posixPermissions] as? Int
    #expect(mode == 0o600)
    // A hash noted earlier is part of it.
    try place.fill(3)
    #expect(try place.log.read(known: report.last).problems.isEmpty)
    let other = AuditChain(number: 6, hash: [UInt8](repeating: 7, count: 32))
    #expect(try place.log.read(known: other).problems == [.rewritten(number: 6)])
  }

  /// Each byte of each line counts.
  @Test func aChangedLineIsNamed() throws {
    let place = try Place()
    try place.fill(4)
    let whole = try Data(contentsOf: URL(fileURLWithPath: place.file))
    var line = 1
    for at in whole.indices where at % 7 == 0 || whole[at] == 0x0A {
      if whole[at] == 0x0A {
        line += 1
        continue
      }
      var bytes = whole
      bytes[at] ^= 1
      try bytes.write(to: URL(fileURLWithPath: place.file))
      let problems = try place.log.read().problems
      let named = problems.contains {
        if case .line(_, let found, _) = $0 { found == line || found == line + 1 } else { $0 == .rewritten(number: 5) && line == 5 }
      }
      #expect(named, "byte \(at) of line \(line): \(problems)")
    }
  }

  @Test func aSwapACutAndAForgeryAreNamed() throws {
    let place = try Place()
    try place.fill(6)
    let lines = try place.lines()

    var swapped = lines
    swapped.swapAt(2, 3)
    try place.write(swapped)
    #expect(
      try place.log.read().problems.first == .line(file: "audit.log", line: 3, .misplaced(number: 4, expected: 3)))

    var without = lines
    without.remove(at: 4)
    try place.write(without)
    #expect(
      try place.log.read().problems.first == .line(file: "audit.log", line: 5, .misplaced(number: 6, expected: 5)))

    // The end is cut off, at a line and within one.
    try place.write(Array(lines.dropLast(2)))
    #expect(try place.log.read().problems == [.cut(number: 5, expected: 7)])
    #expect(throws: AuditError.damaged) { try place.fill(1) }
    let torn = Data(lines.joined(separator: "\n").utf8).dropLast(10)
    try torn.write(to: URL(fileURLWithPath: place.file))
    #expect(try place.log.read().problems == [.cut(number: 6, expected: 7)])

    // All is written anew, with hashes that fit each other.
    let forged = try Place()
    try forged.fill(6)
    try FileManager.default.removeItem(atPath: place.file)
    try FileManager.default.copyItem(atPath: forged.file, toPath: place.file)
    #expect(try place.log.read().problems == [.rewritten(number: 7)])

    try FileManager.default.removeItem(atPath: place.path + "/audit.head")
    #expect(try place.log.read().problems == [.noHead])
  }

  /// A crash within a line, and one between the line and the head.
  @Test(arguments: [0, 1, 40]) func aCrashIsNoTampering(tornBytes: Int) throws {
    let place = try Place()
    try place.fill(3)
    let head = try Data(contentsOf: URL(fileURLWithPath: place.path + "/audit.head"))
    try place.fill(1)
    let line = try place.lines()[4]
    try head.write(to: URL(fileURLWithPath: place.path + "/audit.head"))
    let handle = try #require(FileHandle(forWritingAtPath: place.file))
    try handle.seekToEnd()
    try handle.write(contentsOf: Data(line.utf8).prefix(tornBytes))
    try handle.close()
    let report = try place.log.read()
    #expect(report.problems.isEmpty && report.isTorn == (tornBytes > 0) && report.last.number == 5)
    try place.fill(1)
    let after = try place.log.read()
    #expect(after.problems.isEmpty && !after.isTorn && after.last.number == 6)
  }

  @Test func filesAreClosedAndBounded() throws {
    let place = try Place()
    try place.fill(40, place.small)
    let names = try FileManager.default.contentsOfDirectory(atPath: place.path).filter { $0.hasPrefix("audit-") }.sorted()
    #expect(names.count == 2)
    let report = try place.small.read()
    #expect(report.problems.isEmpty && report.first > 1)

    // The oldest file that should be there is gone; then one in the middle.
    let first = "audit-\(report.first).log"
    let aside = place.path + "/aside"
    try FileManager.default.moveItem(atPath: place.path + "/" + first, toPath: aside)
    guard case .missing(_, _, expected: report.first)? = try place.small.read().problems.first else {
      Issue.record("\(try place.small.read().problems)")
      return
    }
    try FileManager.default.moveItem(atPath: aside, toPath: place.path + "/" + first)
    let second = try #require(names.first { $0 != first })
    try FileManager.default.removeItem(atPath: place.path + "/" + second)
    guard case .missing(file: "audit.log", _, _)? = try place.small.read().problems.first else {
      Issue.record("\(try place.small.read().problems)")
      return
    }
  }

  /// A crash right after a file was closed: its successor begins with the next entry.
  @Test func aCrashBetweenTwoFilesIsNoTampering() throws {
    let place = try Place()
    try place.fill(3)
    try FileManager.default.moveItem(atPath: place.file, toPath: place.path + "/audit-1.log")
    #expect(try place.log.read().problems.isEmpty)
    try place.fill(2)
    let report = try place.log.read()
    #expect(report.problems.isEmpty && report.first == 1 && report.last.number == 7)
  }

  /// Many writers, threads and processes alike, make one chain.
  @Test func writersTakeTurns() async throws {
    let place = try Place()
    let log = place.log
    await withTaskGroup { group in
      for i in 0..<4 {
        group.addTask {
          for _ in 0..<25 { try? log.append(AuditEntry(.exported, by: .token(Int64(i)), tenant: "demo")) }
        }
      }
    }
    let report = try place.log.read()
    #expect(report.problems.isEmpty && report.last.number == 101)
  }

  /// Nothing that is no name gets in, so no line can be broken up from outside.
  @Test func namesArePlain() throws {
    let place = try Place()
    try place.log.append(AuditEntry(.added, by: .gateway, tenant: "a\"},\n{\"number\":2", about: String(repeating: "x", count: 500)))
    let lines = try place.lines()
    #expect(lines.count == 2 && lines[1].contains("\"tenant\":\"a?????") && lines[1].utf8.count < 400)
    #expect(try place.log.read().problems.isEmpty)
  }
}
