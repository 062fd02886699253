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
  @Option(help: "Subjects who come in turn; may be repeated.") var subjects = [64]
  @Option(help: "Runs of one subject's fixes a round, at least one of each.") var runs = 3_200

  /// Of one commit.
  private static let runsMax: UInt32 = 64

  func run() throws {
    print("subjects  fixes a run  by             ns/fix   least    most  allocations/commit")
    for batch in batch {
      for subjects in subjects {
        let passes = max(1, runs / subjects)
        let commits = Seals.commits(of: UInt32(subjects), batch)
        for result in try contest(commits, subjects: UInt64(subjects), passes) {
          let n = Double(batch * subjects * passes)
          print(
            pad("\(subjects)", 9), pad("\(batch)", 12), pad(result.name, 13), number(result.medianNs / n, 7),
            number(result.leastNs / n, 7), number(result.mostNs / n, 7),
            number(Double(result.allocations) / Double(passes * commits.count), 8))
        }
      }
    }
  }

  /// Encoded records: all subjects once, each with a run of `batch` fixes.
  private static func commits(of subjects: UInt32, _ batch: Int) -> [[UInt8]] {
    stride(from: 1, through: subjects, by: UInt32.Stride(runsMax)).map { first in
      var commit: [UInt8] = []
      for subject in first...min(first + runsMax - 1, subjects) {
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
      return commit
    }
  }

  private func contest(_ commits: [[UInt8]], subjects: UInt64, _ passes: Int) throws -> [Contest.Result] {
    let holder = SubjectKeyHolder(
      SubjectKeyRing(
        try (1...subjects).map { number in
          .init(
            number: number, owner: .subject(UInt32(number)), isRetired: false, key: try randomBytes(SubjectKeyRing.keyBytes))
        }, highest: subjects))
    let (keeping, keyless) = (try RingCipher(holder), try RingCipher(holder, placesMax: 0))
    let bytesMax = commits.map(\.count).max() ?? 0
    var (copied, sealed, opened): ([UInt8], [UInt8], [UInt8]) = ([], [], [])
    copied.reserveCapacity(bytesMax)
    sealed.reserveCapacity(SealedRun.bytesMax(sealing: bytesMax))
    opened.reserveCapacity(bytesMax)
    let ready = commits.enumerated().map { i, commit in
      SealedRun.seal(commit, commit.count, nonce: .init(high: UInt64(i), low: 1), with: keyless, into: &sealed)
      return sealed
    }
    func seal(_ name: String, with cipher: RingCipher) -> Contest.Entry {
      .init(name) {
        for pass in 0..<passes {
          for commit in commits {
            SealedRun.seal(commit, commit.count, nonce: .init(high: UInt64(pass), low: 0), with: cipher, into: &sealed)
          }
        }
        return UInt64(sealed[sealed.count - 1])
      }
    }
    func open(_ name: String, with cipher: RingCipher) -> Contest.Entry {
      .init(name) {
        for _ in 0..<passes {
          for commit in ready {
            opened.removeAll(keepingCapacity: true)
            SealedRun.open(commit, 0..<commit.count, with: cipher, into: &opened)
          }
        }
        precondition(opened == commits[commits.count - 1])
        return UInt64(opened[8])
      }
    }
    return Contest.run(
      [
        .init("copy") {
          for _ in 0..<passes {
            for commit in commits {
              copied.removeAll(keepingCapacity: true)
              copied.append(contentsOf: commit)
            }
          }
          return UInt64(copied[8])
        },
        seal("seal", with: keeping), seal("seal, keyed", with: keyless), open("open", with: keeping),
        open("open, keyed", with: keyless),
      ], rounds: rounds, clock: .cpu)
  }
}
