import GateCore
import GateDevice
import GateProto
import Testing

@Suite struct StateFileTests {
  static let log: UploadLog = {
    var device = Device(20)
    do {
      _ = try device.send()
      try device.ack(2, [SequenceRange(first: 9, count: 3)])
      try device.take {
        $0.refusals = [Refusal(code: .tooLarge, retry: false, ranges: [SequenceRange(first: 4, count: 2)])]
      }
    } catch {
      Issue.record(error)
    }
    return device.session.log
  }()

  @Test(arguments: [log, UploadLog(stream: .max)])
  func roundTrip(log: UploadLog) throws {
    #expect(try StateFile.decode(StateFile.encode(log).span) == log)
  }

  @Test func anyCutAndAnyFlippedBitIsNoticed() {
    let bytes = StateFile.encode(Self.log)
    for end in bytes.indices {
      #expect(throws: StateError.self) { try StateFile.decode(bytes.span.extracting(0..<end)) }
    }
    for bit in 0..<bytes.count * 8 {
      var changed = bytes
      changed[bit / 8] ^= 1 << UInt8(bit % 8)
      #expect(throws: StateError.self) { try StateFile.decode(changed.span) }
    }
  }

  @Test func errorsTellApart() {
    let bytes = StateFile.encode(Self.log)
    #expect(throws: StateError.notState) { try StateFile.decode(Array("key: value\n".utf8).span) }
    var newer = bytes
    newer[7] = 2
    #expect(throws: StateError.newer(version: 2)) { try StateFile.decode(newer.span) }
    #expect(throws: StateError.damaged) { try StateFile.decode(bytes.span.extracting(first: 40)) }
  }
}
