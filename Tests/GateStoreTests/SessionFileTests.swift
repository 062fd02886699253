import Foundation
import GateCore
import GateStore
import Testing

private let nowS: UInt64 = 1_800_000_000

@Suite struct SessionFileTests {
  private func slot(_ shard: UInt8, _ number: UInt64) -> [UInt8] {
    var bytes = [UInt8](repeating: 0x5A, count: SessionSlot.bytes)
    var span = bytes.mutableSpan
    SessionSlot(
      connectionID: UInt64(shard) << 48 | number, facts: SessionFacts(), writeBase: 0, writeReserved: 0, readNext: 0, heardS: 0,
      address: nil
    ).write(into: &span)
    return bytes
  }

  private func open(_ folder: borrowing JournalFolder) throws -> SessionFile {
    try SessionFile.open(in: Directory(folder.path), nowS: nowS)
  }

  private func path(_ folder: borrowing JournalFolder, _ name: String) -> URL { URL(filePath: folder.path + "/" + name) }

  @Test func slotsComeBack() throws {
    let folder = try JournalFolder()
    let file = try open(folder)
    var ticket: UInt64 = 0
    // Enough for several reads at once, with holes.
    for number in 0..<9_000 as Range<UInt32> where number % 3 != 0 {
      ticket = try file.write(slot(UInt8(number % 256), UInt64(number)).span, slot: number)
    }
    #expect(ticket == 6_000 && file.durableTicket == 0 && !file.isSynced)
    try file.sync()
    #expect(file.durableTicket == ticket && file.isSynced)
    let again = try open(folder)
    #expect(again.base >= file.base + WriteReservation.standard.block)
    let (shares, damaged) = try again.deal(to: 1, slotsMax: 10_000) { _ in 0 }
    let all = 0..<10_000 as Range<UInt32>
    #expect(damaged == 0 && shares[0].taken == all.filter { $0 < 9_000 && $0 % 3 != 0 })
    #expect(shares[0].free == all.reversed().filter { $0 >= 9_000 || $0 % 3 == 0 })
    let some = shares[0].taken.filter { $0 % 7 == 0 }
    var found: [UInt32] = []
    try again.forEach(some) { number, bytes in
      found.append(number)
      #expect(bytes.count == SessionSlot.bytes && bytes[200] == 0x5A && bytes.load64(at: 8) & 0xFFFF == UInt64(number))
    }
    #expect(found == some)
  }

  /// Whatever the number of workers, every session has one owner and every free slot too.
  @Test(arguments: [1, 2, 3, 7]) func deals(workers: Int) throws {
    let folder = try JournalFolder()
    let file = try open(folder)
    for number in 0..<60 as Range<UInt32> where number % 2 == 0 {
      _ = try file.write(slot(UInt8(number), UInt64(number)).span, slot: number)
    }
    _ = try file.write([1, 2, 3].span, slot: 7)
    let (shares, damaged) = try file.deal(to: workers, slotsMax: 50) { $0 == 4 ? nil : Int($0) % workers }
    #expect(damaged == 1)
    for (worker, share) in shares.enumerated() {
      #expect(share.taken.allSatisfy { Int($0) % workers == worker && $0 % 2 == 0 })
      #expect(share.free == share.free.sorted(by: >))
    }
    let all = 0..<60 as Range<UInt32>
    let taken = shares.flatMap(\.taken).sorted()
    #expect(taken == all.filter { $0 % 2 == 0 && $0 != 4 })
    let free = shares.flatMap(\.free).sorted()
    #expect(free == all.filter { $0 < 50 && ($0 % 2 == 1 || $0 == 4) })
    for share in shares { #expect(abs(share.free.count - free.count / workers) <= 1) }
  }

  @Test func anEarlierCopyIsRefused() throws {
    let folder = try JournalFolder()
    _ = try open(folder)
    let copy = try Data(contentsOf: path(folder, SessionFile.name))
    _ = try open(folder)
    try copy.write(to: path(folder, SessionFile.name))
    #expect(throws: SessionFileError.stale(file: 1, directory: 2)) { _ = try open(folder) }
    // As told: without it everything begins anew, and the copy stays what it is.
    try FileManager.default.removeItem(at: path(folder, SessionFile.name))
    _ = try open(folder)
    try copy.write(to: path(folder, SessionFile.name))
    #expect(throws: SessionFileError.stale(file: 1, directory: 3)) { _ = try open(folder) }
  }

  /// A crash between the two counters is none of the operator's business.
  @Test func aCrashBetweenTheCounters() throws {
    let folder = try JournalFolder()
    let first = try open(folder)
    for start in 1..<4 {
      _ = try open(folder)
      #expect(try String(contentsOf: path(folder, SessionFile.startsName), encoding: .utf8) == "\(start + 1)\n")
      // The header moved, its companion did not.
      try Data("\(start)\n".utf8).write(to: path(folder, SessionFile.startsName))
    }
    #expect(try open(folder).base >= first.base + 4 * WriteReservation.standard.block)
  }

  @Test func whatIsNoSessionFile() throws {
    let folder = try JournalFolder()
    _ = try open(folder)
    let good = try Data(contentsOf: path(folder, SessionFile.name))
    for bytes in [Data(), Data(good.prefix(20)), Data(repeating: 7, count: 512)] {
      try bytes.write(to: path(folder, SessionFile.name))
      #expect(throws: SessionFileError.damaged) { _ = try open(folder) }
    }
    var newer = good
    newer[8] = 9
    try newer.write(to: path(folder, SessionFile.name))
    #expect(throws: SessionFileError.version(9)) { _ = try open(folder) }
    try good.write(to: path(folder, SessionFile.name))
    try Data("many".utf8).write(to: path(folder, SessionFile.startsName))
    #expect(throws: SessionFileError.noCounter) { _ = try open(folder) }
  }

  @Test func abandoned() throws {
    let folder = try JournalFolder()
    let file = try open(folder)
    _ = try file.write(slot(1, 1).span, slot: 0)
    try SessionFile.abandon(in: Directory(folder.path))
    // Who still has it open goes on writing.
    _ = try file.write(slot(1, 1).span, slot: 0)
    #expect(try open(folder).deal(to: 1, slotsMax: 4) { _ in 0 }.shares[0].taken.isEmpty)
  }
}
