import CFixProto
import GateCore
import Testing
import WireVectors

/// What the sink writes, read by the code that libprotobuf-c generates from proto/stored.proto.
@Suite struct StoredBatchOracleTests {
  @Test(arguments: Array(UInt64(1)...20)) func theGeneratedCodeReadsTheSame(seed: UInt64) {
    var random = RandomFixes(seed: seed)
    let fixes = random.run(30)
    let source = random.source
    var writer = StoredBatchWriter(gateway: "aa", tenant: "demo")
    for (index, fix) in fixes.enumerated() {
      var record = Record()
      record.fix = fix
      record.device = UInt32(index % 3)
      record.subject = UInt32(index % 2)
      record.stream = .max - UInt32(index)
      record.receiveTimeMs = 1_750_000_000_000 + Int64(index)
      record.code = UInt16(index)
      record.lane = 1
      record.transport = 2
      record.policyVersion = 9
      record.gridM = 500
      record.originals[0] = Original(field: 3, value: -7)
      record.originalCount = 1
      writer.append(record, lsn: UInt64(index), device: "van-\(index % 3)", subject: index % 2 == 0 ? "" : "anna", from: source.span)
    }
    let bytes = writer.finish()
    guard let batch = unsafe fixgate__v1__stored_batch__unpack(nil, bytes.count, bytes) else {
      Issue.record("it does not read it")
      return
    }
    defer { unsafe fixgate__v1__stored_batch__free_unpacked(batch, nil) }
    let message = unsafe batch.pointee
    #expect(unsafe String(cString: message.gateway) == "aa" && String(cString: message.tenant) == "demo")
    #expect(unsafe message.n_device == 3 && String(cString: message.device[1]!) == "van-1")
    #expect(unsafe message.n_subject == 1 && String(cString: message.subject[0]!) == "anna")
    #expect(unsafe message.has_first_lsn == 1 && message.first_lsn == 0 && message.last_lsn == 29)
    #expect(unsafe message.n_record == fixes.count)
    for (index, fix) in fixes.enumerated() {
      let record = unsafe message.record[index]!.pointee
      #expect(unsafe record.has_kind == 0 && record.kind == FIXGATE__V1__STORED_KIND__STORED_FIX)
      #expect(unsafe record.device == index % 3 && record.stream == .max - UInt32(index))
      #expect(unsafe record.has_subject == (index % 2 == 0 ? 0 : 1))
      #expect(unsafe record.receive_time_ms == 1_750_000_000_000 + Int64(index) && record.code == index)
      #expect(unsafe record.lane == FIXGATE__V1__LANE__LANE_BACKLOG && record.transport == 2)
      #expect(unsafe record.policy_version == 9 && record.grid_m == 500)
      #expect(unsafe record.n_original == 1 && record.original[0]!.pointee.field == 3 && record.original[0]!.pointee.value == -7)
      var packed = unsafe [UInt8](repeating: 0, count: fixgate__v1__fix__get_packed_size(record.fix))
      _ = unsafe fixgate__v1__fix__pack(record.fix, &packed)
      var row: [UInt8] = []
      FixEncoder.row(fix, from: source.span, into: &row)
      // Tag and length of field 2 stand in front.
      let body = Array(row.suffix(packed.count))
      #expect(DecoderDifferentialOracle.row(packed) == DecoderDifferentialOracle.row(body))
    }
    let asides = StoredBatchWriter.asides(gateway: "aa", [StoredAside(lsn: 7, count: 2, reason: "unreadable", record: [1])])
    guard let aside = unsafe fixgate__v1__stored_batch__unpack(nil, asides.count, asides) else {
      Issue.record("it does not read it")
      return
    }
    defer { unsafe fixgate__v1__stored_batch__free_unpacked(aside, nil) }
    let first = unsafe aside.pointee.aside[0]!.pointee
    #expect(unsafe first.lsn == 7 && first.count == 2 && first.record.len == 1 && String(cString: first.reason) == "unreadable")
  }
}
