package import GateCore
import Glibc

/// What a look at all of the audit log has found.
package struct AuditReport: Equatable, Sendable {
  /// Of what is wrong, each with its place. Nothing else is.
  package enum Problem: Equatable, Sendable {
    /// `line` counts from 1 in `file`.
    case line(file: String, line: Int, AuditChain.Fault)
    /// A file before this one is gone: `number` comes first, `expected` should.
    case missing(file: String, number: UInt64, expected: UInt64)
    /// The log ends with `number`; entries up to `expected` had been written.
    case cut(number: UInt64, expected: UInt64)
    /// Entry `number` is another than was written: the log was written anew.
    case rewritten(number: UInt64)
    /// `audit.head` is gone or unreadable: whether the end was cut cannot be told.
    case noHead
  }

  package var problems: [Problem] = []
  /// Of the oldest entry kept, and of the last. 0 = there are none.
  package var first: UInt64 = 0
  package var last = AuditChain()
  /// A crash has left a line unfinished, of which nobody was told; the next entry takes its place.
  package var isTorn = false

  package static let problemsMax = 100

  fileprivate mutating func note(_ problem: Problem) {
    if problems.count < AuditReport.problemsMax { problems.append(problem) }
  }
}

extension AuditLog {
  /// Reads all of the log, oldest first, and checks it. Writers wait meanwhile.
  ///
  /// - Parameter known: an entry's number and hash that was noted elsewhere; it must be part of the log.
  /// - Parameter body: gets each line, without its end.
  package func read(
    known: AuditChain? = nil, _ body: ([UInt8]) -> Void = { _ in }
  ) throws(AuditError) -> AuditReport {
    let directory = try AuditLog.open(self.directory)
    let lock = try AuditLog.locked(directory)
    let report = try read(directory, known, body)
    _ = consume lock
    return report
  }

  private func read(
    _ directory: borrowing Directory, _ known: AuditChain?, _ body: ([UInt8]) -> Void
  ) throws(AuditError) -> AuditReport {
    var report = AuditReport()
    var head: AuditHead?
    do throws(AuditError) { head = try AuditLog.head(directory) } catch {
      guard error == .damaged else { throw error }
    }
    var marks: [AuditChain] = [known, head?.chain].compactMap { $0 }.filter { $0.number > 0 }
    var names: [String]
    do throws(JournalError) {
      names = try AuditLog.closed(directory).filter { $0 >= head?.first ?? 0 }.map(AuditLog.closedName)
    } catch {
      throw .disk(error)
    }
    if directory.contains(AuditLog.name) { names.append(AuditLog.name) }
    for name in names { try read(name, directory, &report, &marks, body) }
    if head == nil, !names.isEmpty { report.note(.noHead) }
    if let head, head.chain.number > 0 {
      if report.last.number < head.chain.number {
        report.note(.cut(number: report.last.number, expected: head.chain.number))
      } else if report.first > head.first {
        report.note(.missing(file: names.first ?? AuditLog.name, number: report.first, expected: head.first))
      }
    }
    // Those that no line has matched: noted entries that are older than what is kept say nothing.
    for mark in marks where mark.number >= report.first && mark.number <= report.last.number {
      report.note(.rewritten(number: mark.number))
    }
    return report
  }

  private func read(
    _ name: String, _ directory: borrowing Directory, _ report: inout AuditReport, _ marks: inout [AuditChain],
    _ body: ([UInt8]) -> Void
  ) throws(AuditError) {
    let bytes: [UInt8]
    do throws(JournalError) {
      bytes = try DurableFile.read(name, in: directory, bytesMax: AuditLog.readBytesMax) ?? []
    } catch {
      if case .oversize = error { throw .damaged }
      throw .disk(error)
    }
    var at = 0
    var line = 0
    while let end = bytes[at...].firstIndex(of: 0x0A) {
      line += 1
      let text = Array(bytes[at..<end])
      if line == 1, let start = AuditChain.start(ofFile: text.span) {
        // Only the oldest file is taken at its word.
        if report.first == 0 {
          report.first = start.number + 1
          report.last = start
        } else if start.number != report.last.number {
          report.note(.missing(file: name, number: start.number + 1, expected: report.last.number + 1))
          report.last = start
        }
      }
      do throws(AuditChain.Fault) { try report.last.check(text.span, digest: digest) } catch {
        report.note(.line(file: name, line: line, error))
      }
      let here = report.last
      marks.removeAll { $0 == here }
      body(text)
      at = end + 1
    }
    if report.first == 0, line > 0 { report.first = 1 }
    if at < bytes.count {
      // A closed file is whole, and nothing comes behind a torn line.
      if name == AuditLog.name { report.isTorn = true } else { report.note(.line(file: name, line: line + 1, .unreadable)) }
    }
  }

  private static let readBytesMax = 1 << 30
}
