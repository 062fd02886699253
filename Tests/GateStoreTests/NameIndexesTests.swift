import GateCore
import GateStore
import Testing

@Suite struct NameIndexesTests {
  @Test func aNameKeepsItsIndex() {
    var names = NameIndexes()
    let first = names.device("van-1", of: "demo")
    let second = names.device("van-2", of: "demo")
    let other = names.device("van-1", of: "other")
    #expect(first.tenant == second.tenant && first.tenant != other.tenant)
    #expect(Set([first.device, second.device, other.device]).count == 3)
    #expect(names.device("van-1", of: "demo") == first)
    let anna = names.subject("anna", of: first.tenant)
    #expect(names.subject("anna", of: first.tenant) == anna && names.subject("anna", of: other.tenant) != anna)
    let snapshot = names.snapshot
    #expect(snapshot.externalID(ofDevice: other.device) == "van-1" && snapshot.tenant(ofDevice: other.device) == other.tenant)
    #expect(snapshot.tenantName(other.tenant) == "other" && snapshot.subjectName(anna) == "anna")
    #expect(names.snapshot === snapshot)
    _ = names.device("van-3", of: "demo")
    #expect(names.snapshot !== snapshot && names.snapshot.deviceCount == 4)
  }

  /// What the file knows keeps its index over a restart, and what is new gets another.
  @Test func theFileRemembers() throws {
    let folder = try TemporaryDirectory()
    let path = folder.file("fixes.db")
    var names = NameIndexes()
    let (tenant, device) = names.device("van-1", of: "demo")
    let subject = names.subject("anna", of: tenant)
    do {
      var sink = try SQLiteSink(path: path)
      var record = Record.fix(device: device, sequence: 1, timeMs: 1_750_000_000_000)
      (record.tenant, record.subject) = (tenant, subject)
      var batch = RecordBytes()
      batch.append(record)
      try sink.write(batch.bytes.span, records: 0..<batch.bytes.count, skip: 0, firstLSN: 0, names: names.snapshot)
      _ = try sink.commit(nextLSN: 1)
    }
    var again = try NameIndexes(file: path)
    // A new name first: it must not get an index that is taken.
    let new = again.device("van-2", of: "demo")
    #expect(again.device("van-1", of: "demo") == (tenant, device) && new.tenant == tenant && new.device != device)
    #expect(again.subject("bert", of: tenant) != subject)
    #expect(again.subject("anna", of: tenant) == subject)
    #expect(again.snapshot.subjectName(subject) == "anna")
  }

  @Test(arguments: [("van-1", true), ("", false), ("a b", false), ("a\0", false), ("ü", false), (String(repeating: "x", count: 65), false)])
  func namesAreThoseOfOperators(text: String, isName: Bool) { #expect(NameIndexes.isName(text) == isName) }
}
