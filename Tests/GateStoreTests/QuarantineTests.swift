import GateCore
import GateStore
import Testing

/// `van-1`: stored 1 and 2, held 3 (future), 4 (beyond the pole), 5 (no time), 6 (from cells, with a corrected course).
/// `van-2`: held 1 (future). The other tenant's `van-1`: held 1 (future).
@Suite struct QuarantineTests {
  private let directory: TemporaryDirectory
  private var path: String { directory.file("fixes.db") }

  init() throws {
    directory = try TemporaryDirectory()
    var records = RecordBytes()
    func hold(_ verdict: Verdict, _ record: Record, change: (inout Record) -> Void = { _ in }) {
      var record = record
      record.kind = .held
      record.code = verdict.rawValue
      record.receiveTimeMs = 10_000_000_000_000
      change(&record)
      // Attribute 14: 101325 Pa.
      records.append(record, attributes: [0xfa, 1, 6, 8, 14, 0x10, 0x9a, 0xaf, 0x0c])
    }
    records.append(.fix(sequence: 1, timeMs: 1_000_000_000_000))
    records.append(.fix(sequence: 2, timeMs: 2_000_000_000_000))
    hold(.future, .fix(sequence: 3, timeMs: 10_000_000_600_000))
    hold(.latitudeOutOfRange, .fix(sequence: 4, timeMs: 3_000_000_000_000, latitudeE7: 950_000_000))
    hold(.noTime, .fix(sequence: 5, timeMs: 0)) { $0.fix.present = .position }
    hold(.heldApproximate, .fix(sequence: 6, timeMs: 4_000_000_000_000)) {
      $0.fix[.source] = 2
      $0.fix[.courseCdeg] = 10
      $0.originals[0] = Original(field: 7, value: 36_010)
      $0.originalCount = 1
    }
    hold(.future, .fix(device: 2, sequence: 1, timeMs: 10_000_000_600_000))
    hold(.future, .fix(device: 3, sequence: 1, timeMs: 10_000_000_600_000)) { $0.tenant = 2 }
    var sink = try SQLiteSink(path: path)
    try sink.write(records.bytes.span, records: 0..<records.bytes.count, skip: 0, firstLSN: 0, names: sampleRegistry())
    let counts = try sink.commit(nextLSN: UInt64(records.count))
    #expect(counts.held == 6 && counts.stored == 2)
  }

  private func held(_ selection: QuarantineSelection) throws -> [UInt64] {
    var sequences: [UInt64] = []
    try Quarantine(path: path).list(selection) {
      sequences.append($0.record.fix.sequence)
      return true
    }
    return sequences
  }

  private let van1 = QuarantineSelection(tenant: "demo", device: "van-1")

  @Test func listsByTenantDeviceAndCode() throws {
    #expect(try held(van1) == [3, 4, 5, 6])
    #expect(try held(QuarantineSelection(tenant: "demo")) == [3, 4, 5, 6, 1])
    #expect(try held(QuarantineSelection(tenant: "demo", code: Verdict.future.rawValue)) == [3, 1])
    #expect(try held(QuarantineSelection(tenant: "other")) == [1])
    var one = van1
    one.ids = [2, 6]
    #expect(try held(one) == [4], "6 is another tenant's")
    #expect(throws: HistoryError.unknownTenant("dem", nearest: ["demo"])) { try held(QuarantineSelection(tenant: "dem")) }
    #expect(throws: HistoryError.unknownDevice(tenant: "other", id: "van-2", nearest: ["van-1"])) {
      try held(QuarantineSelection(tenant: "other", device: "van-2"))
    }
  }

  @Test func showsAllThatIsKnown() throws {
    var fields: [String: String] = [:]
    try Quarantine(path: path).list(van1) { held in
      fields = Dictionary(uniqueKeysWithValues: held.fields.map { ($0.name, $0.value) })
      return true
    }
    #expect(fields["verdict"] == "heldApproximate" && fields["course_cdeg"] == "10" && fields["device"] == "van-1")
    #expect(fields["originals"] == "{\"course_cdeg\":36010}" && fields["attributes"] == "{\"14\":101325}")
    #expect(fields["time"] == "2096-10-02T07:06:40.000Z" && fields["latitude"] == "52.5200066")
  }

  @Test func releasedFixesAreInTheTrackOnceAndKeepTheirVerdict() throws {
    let latest = try rows(path, "SELECT sequence, fix_time_ms FROM latest WHERE device = 1")
    var quarantine = QuarantineChange()
    quarantine.released = 2
    quarantine.kept = 2
    #expect(try Quarantine(path: path).release(van1) == quarantine)
    #expect(
      try rows(path, "SELECT sequence, verdict, originals, attributes FROM fix WHERE device = 1 ORDER BY sequence") == [
        ["1", "0", "", ""], ["2", "0", "", ""], ["3", "42", "", "{\"14\":101325}"],
        ["6", "51", "{\"course_cdeg\":36010}", "{\"14\":101325}"],
      ])
    #expect(try held(van1) == [4, 5])
    #expect(try rows(path, "SELECT sequence, fix_time_ms FROM latest WHERE device = 1") == latest)
    quarantine.released = 0
    #expect(try Quarantine(path: path).release(van1) == quarantine)
    #expect(try held(QuarantineSelection(tenant: "other")) == [1])
  }

  @Test func droppedFixesLeaveTheirNumberOnly() throws {
    #expect(try Quarantine(path: path).drop(van1).dropped == 4)
    #expect(try held(van1).isEmpty)
    #expect(try rows(path, "SELECT sequence, code FROM refused ORDER BY sequence") == [["3", "42"], ["4", "40"], ["5", "44"], ["6", "51"]])
    #expect(try rows(path, "SELECT count(*) FROM fix") == [["2"]])
  }

  @Test func aChangedRuleLetsFixesThrough() throws {
    var rules = NormalisingRules()
    rules.futureToleranceS = 3_600
    let change = try Quarantine(path: path).recheck(van1, with: Normaliser(rules), policies: sampleRegistry().privacy)
    #expect(change.released == 2 && change.kept == 2 && change.changed == 0)
    #expect(
      try rows(path, "SELECT sequence, verdict, course_cdeg, originals FROM fix WHERE device = 1 AND sequence > 2") == [
        ["3", "0", "", ""], ["6", "21", "10", "{\"course_cdeg\":36010}"],
      ])
    #expect(try rows(path, "SELECT sequence FROM latest WHERE device = 1") == [["3"]])
  }

  @Test func aFixMayBeHeldForAnotherReason() throws {
    var rules = NormalisingRules()
    rules.futureToleranceS = 3_600
    rules.receiverInvalid = .hold
    rules.approximate = .hold
    let change = try Quarantine(path: path).recheck(
      QuarantineSelection(tenant: "demo"), with: Normaliser(rules), policies: sampleRegistry().privacy)
    #expect(change.released == 2 && change.kept == 3 && change.changed == 0)
    rules.approximate = .off
    rules.simulated = .hold
    #expect(try Quarantine(path: path).recheck(van1, with: Normaliser(rules), policies: sampleRegistry().privacy).released == 1)
  }

  /// The rules move one by 1,024 weeks: into a time that the tenant's policy does not let anybody follow. The other stays in it.
  @Test func aFixThatIsMovedOutOfDutyIsRefused() throws {
    let (open, closed) = (Int64(1_790_000_000_000), Int64(1_790_000_000_000 + 86_400_000))
    let eraMs: Int64 = 1_024 * 7 * 86_400_000
    var records = RecordBytes()
    for (sequence, timeMs) in [(UInt64(10), open), (11, closed)] {
      var record = Record.fix(sequence: sequence, timeMs: timeMs - eraMs, kind: .held)
      record.code = Verdict.heldRolloverSuspected.rawValue
      record.receiveTimeMs = closed + 3_600_000
      records.append(record)
    }
    var sink = try SQLiteSink(path: path)
    let next = sink.cursor
    try sink.write(records.bytes.span, records: 0..<records.bytes.count, skip: 0, firstLSN: next, names: sampleRegistry())
    _ = try sink.commit(nextLSN: next + 2)

    var builder = RegistrySnapshot.Builder()
    builder.addTenant(1, name: "demo")
    builder.addDevice(1, tenant: 1, subject: 0, externalID: "van-1", revoked: false)
    var policy = Policy()
    policy.version = 1
    policy.duty = .shift
    builder.addPolicy(policy, tenant: 1)
    builder.addDuty(of: .device(1), sinceMs: open - 1_000, untilMs: open + 1_000)
    let policies = RegistrySnapshot(builder, generation: 1).privacy
    var van = van1
    van.code = Verdict.heldRolloverSuspected.rawValue
    var rules = NormalisingRules()
    rules.weekRollover = .always
    let change = try Quarantine(path: path).recheck(van, with: Normaliser(rules), policies: policies)
    #expect(change.released == 1 && change.refused == 1 && change.kept == 0)
    #expect(try rows(path, "SELECT sequence FROM fix WHERE sequence > 9") == [["10"]])
    #expect(try rows(path, "SELECT sequence, code FROM refused") == [["11", "\(Verdict.offDuty.rawValue)"]])
  }

  /// The gateway goes on meanwhile: its cursor is in the same file, and the same records read again change nothing.
  @Test func theSinkGoesOn() throws {
    var sink = try SQLiteSink(path: path)
    _ = try Quarantine(path: path).release(van1)
    var records = RecordBytes()
    records.append(.fix(sequence: 7, timeMs: 5_000_000_000_000))
    let next = sink.cursor
    try sink.write(records.bytes.span, records: 0..<records.bytes.count, skip: 0, firstLSN: next, names: sampleRegistry())
    #expect(try sink.commit(nextLSN: next + 1).stored == 1)
    try sink.makeDurable()
    #expect(try rows(path, "SELECT count(*) FROM fix WHERE device = 1") == [["5"]])
  }
}
