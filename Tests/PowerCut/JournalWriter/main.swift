// Writes a journal until it is killed, and says on standard output what is durable.
//
//   powercut-journal DATA SEED
//
// Lines: "open N" (end LSN found), "durable N" (all records below are), "cursor N" (durable file `cursor`; the journal
// was trimmed below it). The record with LSN n is 8 + 8 * (n % 100) bytes, each word of them n.
import Foundation
import GateCore
import GateStore

func say(_ word: String, _ lsn: UInt64) {
  FileHandle.standardOutput.write(Data("\(word) \(lsn)\n".utf8))
}

func run() throws(JournalError) {
  guard CommandLine.arguments.count == 3, var seed = UInt64(CommandLine.arguments[2]) else { exit(2) }
  let path = CommandLine.arguments[1]
  func roll(_ sides: UInt64) -> UInt64 {
    seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return (seed >> 33) % sides
  }
  let lock = try DirectoryLock.take(path)
  let directory = try Directory(path)
  var cursor: UInt64 = 0
  if let bytes = try DurableFile.read("cursor", in: directory, bytesMax: 8), bytes.count == 8 {
    cursor = bytes.span.load64(at: 0)
  }
  var journal = try JournalFile.open(directory: path + "/journal", segmentBytes: 128 << 10, durableFloor: cursor)
  say("open", journal.endLSN)
  var reader = try JournalReader.open(directory: path + "/journal", from: cursor)
  var buffer: [UInt8] = []
  while true {
    let count = roll(60) + 1
    var records: [UInt8] = []
    for lsn in journal.endLSN..<journal.endLSN + count {
      let word = (0..<8).map { UInt8(truncatingIfNeeded: lsn >> (8 * $0)) }
      for _ in 0...lsn % 100 { records += word }
    }
    // Now and then a call fails, and other records are written in the place of these; or the power goes right then.
    switch roll(64) {
    case 0: journal.faults.write = ENOSPC
    case 1...3: journal.faults.sync = EIO
    case 4: journal.faults.rename = EIO
    case 5: journal.faults.syncDirectory = EIO
    default: break
    }
    do throws(JournalError) {
      try journal.commit(records.span, count: Int(count))
    } catch {
      if roll(6) == 0 { kill(getpid(), SIGKILL) }
      continue
    }
    say("durable", journal.endLSN)
    if roll(8) == 0, let batch = try reader.next(upTo: journal.endLSN, into: &buffer) {
      var next = batch
      while roll(12) != 0, let more = try reader.next(upTo: journal.endLSN, into: &buffer) { next = more }
      cursor = next.endLSN
      var bytes = [UInt8](repeating: 0, count: 8)
      var span = bytes.mutableSpan
      span.store(cursor, at: 0)
      try DurableFile.replace("cursor", in: directory, with: bytes.span)
      try journal.trim(below: cursor)
      say("cursor", cursor)
    }
    if roll(4) == 0 { _ = try journal.prepareSpare(32 << 10) }
  }
  _ = consume lock
}

do {
  try run()
} catch {
  FileHandle.standardError.write(Data("\(error)\n".utf8))
  exit(1)
}
