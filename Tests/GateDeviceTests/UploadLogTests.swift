import GateCore
import GateDevice
import GateProto
import Testing

@Suite struct UploadLogTests {
  @Test func placesAndSequencesAreTheSameAtFirst() {
    var log = UploadLog(stream: 1)
    #expect(log.isSettled && log.nextSequence == 1 && log.oldestHeld == nil)
    log.record(5)
    #expect(log.nextSequence == 6 && log.oldestHeld == 1 && log.unsettledCount == 5)
    #expect(log.places(of: SequenceRange(first: 2, count: 2)) == [2...3])
    #expect(log.places(of: SequenceRange(first: 4, count: .max)) == [4...5])
    #expect(log.places(of: SequenceRange(first: 6, count: 1)).isEmpty)
    #expect(log.places(of: SequenceRange(first: 0, count: 1)).isEmpty)
  }

  @Test func highestSequence() {
    let log = UploadLog(stream: 1, recorded: Limits.sequenceMax)
    #expect(log.nextSequence == Limits.sequenceMax + 1)
    #expect(log.places(of: SequenceRange(first: Limits.sequenceMax, count: 9)) == [Limits.sequenceMax...Limits.sequenceMax])
  }
}
