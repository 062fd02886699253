import GateCore
import GateStore
import Testing

@testable import GateSim

@Suite struct SessionFileFaultTests {
  /// A sync fails, and the file cannot be removed either: the page cache calls its slots clean, though the disk does not have
  /// them. The next run must not go on from slots that a power cut then takes back, or the run after it would use record
  /// numbers again.
  @Test(arguments: 1...20 as ClosedRange<UInt64>) func whatARunHasReadIsDurable(seed: UInt64) throws {
    let disk = SimDisk(seed: seed)
    let folder = disk.makeFolder()
    // Beyond the page of the header, which every start writes.
    let numbers = 100..<140 as Range<UInt32>
    func open() throws -> SessionFile { try SessionFile.open(in: Directory(folder), nowS: 1_000) }
    func slots(_ file: SessionFile) throws -> [[UInt8]] {
      var slots: [[UInt8]] = []
      try file.forEach(Array(numbers)) { _, bytes in slots.append(bytes.indices.map { bytes[$0] }) }
      return slots
    }
    let first = try open()
    for number in numbers { _ = try first.write([UInt8](repeating: 1, count: SessionSlot.bytes).span, slot: number) }
    try first.sync()
    for number in numbers { _ = try first.write([UInt8](repeating: 2, count: SessionSlot.bytes).span, slot: number) }
    disk.rates = SimDisk.Rates(sync: 1_024, names: 1_024)
    #expect(throws: JournalError.self) { try first.sync() }
    #expect(throws: JournalError.self) { try SessionFile.abandon(in: Directory(folder)) }
    disk.rates = SimDisk.Rates()
    disk.restart(powerCut: false)
    let read = try slots(try open())
    #expect(read.allSatisfy { $0.allSatisfy { $0 == 2 } })
    disk.restart(powerCut: true)
    #expect(try slots(try open()) == read)
  }
}
