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
  /// Reads all of the log as it is now, oldest first, and checks it. Writers go on meanwhile.
  ///
  /// - Parameter known: an entry's number and hash that was noted elsewhere; it must be part of the log.
  /// - Parameter body: gets each line, without its end.
  package func read(
    known: AuditChain? = nil, _ body: ([UInt8]) -> Void = { _ in }
  ) throws(AuditError) -> AuditReport {
    let directory = try AuditLog.open(self.directory)
    let (head, closed, current) = try look(directory)
    var report = AuditReport()
    var marks = [known, head?.chain].compactMap { $0 }.filter { $0.number > 0 }
    // Full files do not change any more.
    for first in closed {
      let name = AuditLog.closedName(first)
      read(try AuditLog.bytes(name, directory) ?? [], name, &report, &marks, body)
    }
    if let current { read(current, AuditLog.name, &report, &marks, body) }
    if head == nil, report.first > 0 { report.note(.noHead) }
    if let head, report.first > head.first {
      report.note(.missing(file: closed.first.map(AuditLog.closedName) ?? AuditLog.name, number: report.first, expected: head.first))
    }
    // Those that no line has matched; of what is older than the oldest line nothing can be said.
    for mark in marks where mark.number >= report.first {
      report.note(
        mark.number > report.last.number
          ? .cut(number: report.last.number, expected: mark.number) : .rewritten(number: mark.number))
    }
    return report
  }

  /// The head, the full files by their first numbers, and the content of the one that is being written: of one moment.
  private func look(
    _ directory: borrowing Directory
  ) throws(AuditError) -> (head: AuditHead?, closed: [UInt64], current: [UInt8]?) {
    let lock = try AuditLog.locked(directory)
    var head: AuditHead?
    do throws(AuditError) { head = try AuditLog.head(directory) } catch {
      guard error == .damaged else { throw error }
    }
    let closed: [UInt64]
    do throws(JournalError) { closed = try AuditLog.closed(directory).filter { $0 >= head?.first ?? 0 } } catch {
      throw .disk(error)
    }
    let current = try AuditLog.bytes(AuditLog.name, directory)
    _ = consume lock
    return (head, closed, current)
  }

  private static func bytes(_ name: String, _ directory: borrowing Directory) throws(AuditError) -> [UInt8]? {
    do throws(JournalError) { return try DurableFile.read(name, in: directory, bytesMax: readBytesMax) } catch {
      if case .oversize = error { throw .damaged }
      throw .disk(error)
    }
  }

  private func read(
    _ bytes: [UInt8], _ name: String, _ report: inout AuditReport, _ marks: inout [AuditChain], _ body: ([UInt8]) -> Void
  ) {
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
