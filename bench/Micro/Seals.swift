import ArgumentParser
import BenchHarness
import Foundation
import GateCore
import GateTLS

/// `seals`: what keeping the journal under subjects' keys adds to a fix: sealed once by the sequencer, opened once for the sink.
struct Seals: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Seal commits of journal records under their subjects' keys and open them again, in one run with a plain copy.")

  @Option(help: "Rounds; the medians are printed.") var rounds = 15
  @Option(help: "Consecutive fixes of one subject; may be repeated.") var batch = [1, 10, 60]
  @Option(help: "Subjects in a commit.") var subjects = 64
  @Option(help: "Commits a round.") var commits = 50

  func run() throws {
    print("fixes a run  by          ns/fix   least    most  allocations/commit")
    for batch in batch {
      for result in try contest(batch) {
        let n = Double(batch * subjects * commits)
        print(
          pad("\(batch)", 12), pad(result.name, 10), number(result.medianNs / n, 7), number(result.leastNs / n, 7),
          number(result.mostNs / n, 7), number(Double(result.allocations) / Double(commits), 8))
      }
    }
  }

  private func contest(_ batch: Int) throws -> [Contest.Result] {
    let ring = SubjectKeyRing(
      try (1...UInt64(subjects)).map { number in
        .init(
          number: number, owner: .subject(UInt32(number)), isRetired: false, key: try randomBytes(SubjectKeyRing.keyBytes))
      }, highest: UInt64(subjects))
    let cipher = try RingCipher(SubjectKeyHolder(ring))
    var commit: [UInt8] = []
    for subject in 1...UInt32(subjects) {
      for sequence in 1...UInt64(batch) {
        var record = Record()
        (record.tenant, record.device, record.subject) = (1, subject, subject)
        record.fix.sequence = sequence
        record.fix.present = [.time, .position]
        for column in [Column.horizontalAccuracyDm, .speedCmPerS, .courseCdeg, .batteryPercent] { record.fix[column] = 7 }
        let start = commit.count
        commit += [UInt8](repeating: 0, count: record.encodedBytes)
        var out = commit.mutableSpan
        _ = record.write(into: &out, at: start, from: Span())
      }
    }
    let plain = commit
    var (copied, sealed, opened): ([UInt8], [UInt8], [UInt8]) = ([], [], [])
    copied.reserveCapacity(plain.count)
    sealed.reserveCapacity(SealedRun.bytesMax(sealing: plain.count))
    opened.reserveCapacity(plain.count)
    SealedRun.seal(plain, plain.count, nonce: .init(high: 1, low: 1), with: cipher, into: &sealed)
    let ready = sealed
    let commits = commits
    return Contest.run(
      [
        .init("copy") {
          for _ in 0..<commits {
            copied.removeAll(keepingCapacity: true)
            copied.append(contentsOf: plain)
          }
          return UInt64(copied[8])
        },
        .init("seal") {
          for i in 0..<commits {
            SealedRun.seal(plain, plain.count, nonce: .init(high: UInt64(i), low: 0), with: cipher, into: &sealed)
          }
          return UInt64(sealed[sealed.count - 1])
        },
        .init("open") {
          for _ in 0..<commits {
            opened.removeAll(keepingCapacity: true)
            SealedRun.open(ready, 0..<ready.count, with: cipher, into: &opened)
          }
          precondition(opened == plain)
          return UInt64(opened[8])
        },
      ], rounds: rounds)
  }
}
