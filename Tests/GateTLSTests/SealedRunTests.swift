import GateCore
import GateTLS
import Testing

/// A commit of random records of a few owners, among them refusals and gaps, which stay readable.
private struct Commit {
  var bytes: [UInt8] = []
  var positions: Set<UInt64> = []
  var count = 0

  init(_ random: inout SeededRandom, records: Int) {
    var owner: (subject: UInt32, device: UInt32) = (1, 1)
    for sequence in 1...UInt64(records) {
      if Int.random(in: 0..<3, using: &random) == 0 {
        owner = (UInt32.random(in: 0...2, using: &random), UInt32.random(in: 1...2, using: &random))
      }
      var record = Record()
      record.kind = [.fix, .fix, .fix, .held, .refused, .gap].randomElement(using: &random)!
      record.tenant = 1
      (record.subject, record.device) = owner
      record.fix.sequence = sequence
      record.fix.fixTimeMs = Int64.random(in: 1...1 << 40, using: &random)
      if record.kind == .fix || record.kind == .held {
        record.fix.present = [.time, .position]
        record.fix.latitudeE7 = Int32.random(in: 100_000_000...900_000_000, using: &random)
        record.fix.longitudeE7 = Int32.random(in: 100_000_000...1_800_000_000, using: &random)
        record.fix[.speedCmPerS] = Int32.random(in: 0...4_000, using: &random)
        positions.insert(
          UInt64(UInt32(bitPattern: record.fix.latitudeE7)) | UInt64(UInt32(bitPattern: record.fix.longitudeE7)) << 32)
      }
      let start = bytes.count
      bytes += [UInt8](repeating: 0, count: record.encodedBytes)
      var out = bytes.mutableSpan
      _ = record.write(into: &out, at: start, from: Span())
      count += 1
    }
  }

  func seal(with cipher: any SubjectCipher, _ random: inout SeededRandom) -> [UInt8] {
    var out: [UInt8] = []
    let nonce = SealedRun.Nonce(high: random.next(), low: UInt32(truncatingIfNeeded: random.next()))
    SealedRun.seal(bytes, bytes.count, nonce: nonce, with: cipher, into: &out)
    return out
  }
}

private let owners: [KeyOwner] = [.subject(1), .subject(2), .device(1), .device(2)]

private func ring(without lost: KeyOwner? = nil, erased: [KeyOwner: [ClosedRange<Int64>]] = [:]) -> SubjectKeyRing {
  SubjectKeyRing(
    owners.enumerated().filter { $1 != lost }.map { index, owner in
      .init(
        number: UInt64(index + 1), owner: owner, isRetired: false,
        key: [UInt8](repeating: UInt8(index + 7), count: SubjectKeyRing.keyBytes))
    }, erased: erased, highest: UInt64(owners.count))
}

private func records(_ bytes: [UInt8]) throws -> [Record] {
  var records: [Record] = []
  var at = 0
  while at < bytes.count {
    let (record, end) = try Record.read(bytes.span, at: at)
    records.append(record)
    at = end
  }
  return records
}

private func hasAny(_ positions: Set<UInt64>, in bytes: [UInt8]) -> Bool {
  (0...max(bytes.count - 8, 0)).contains { at in positions.contains(bytes.span.load64(at: at)) }
}

@Suite struct SealedRunTests {
  @Test(arguments: 1...40 as ClosedRange<UInt64>)
  func whatIsSealedOpensAsItWas(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let cipher = try RingCipher(SubjectKeyHolder(ring()))
    let commit = Commit(&random, records: Int.random(in: 1...80, using: &random))
    let sealed = commit.seal(with: cipher, &random)
    #expect(!hasAny(commit.positions, in: sealed))
    #expect(commit.positions.isEmpty || hasAny(commit.positions, in: commit.bytes))
    var opened: [UInt8] = []
    SealedRun.open(sealed, 0..<sealed.count, with: cipher, into: &opened)
    #expect(opened == commit.bytes)
  }

  /// The same records in another commit have nothing in common with these but what is readable.
  @Test func twoCommitsShareNoNonce() throws {
    var random = SeededRandom(seed: 3)
    let cipher = try RingCipher(SubjectKeyHolder(ring()))
    let commit = Commit(&random, records: 40)
    var nonces: Set<[UInt8]> = []
    var runs = 0
    for _ in 0..<20 {
      let sealed = commit.seal(with: cipher, &random)
      var at = 0
      while at < sealed.count {
        if sealed[at + 4] == SealedRun.kind {
          nonces.insert(Array(sealed[at + 16..<at + 28]))
          runs += 1
        }
        at += Int(sealed.span.load32(at: at))
      }
    }
    #expect(nonces.count == runs && runs > 20)
  }

  /// Dedupe lives on: each record of the one whose key is gone still says that its sequence was there.
  @Test func withoutTheKeyOnlyTheSequencesAreLeft() throws {
    var random = SeededRandom(seed: 5)
    let holder = SubjectKeyHolder(ring())
    let cipher = try RingCipher(holder)
    let commit = Commit(&random, records: 200)
    let sealed = commit.seal(with: cipher, &random)
    holder.swap(ring(without: .subject(1), erased: [.subject(1): [.min ... .max]]))
    cipher.refresh()
    var opened: [UInt8] = []
    SealedRun.open(sealed, 0..<sealed.count, with: cipher, into: &opened)
    let (before, after) = (try records(commit.bytes), try records(opened))
    #expect(after.count == before.count)
    var stripped = 0
    for (old, new) in zip(before, after) {
      #expect(new.fix.sequence == old.fix.sequence && new.device == old.device && new.tenant == old.tenant)
      if old.subject == 1, old.kind == .fix || old.kind == .held {
        #expect(new.kind == .refused && new.code == Verdict.erased.rawValue)
        #expect(new.fix.present == [] && new.fix.latitudeE7 == 0 && new.fix.fixTimeMs == 0)
        stripped += 1
      } else {
        #expect(new.kind == old.kind && new.fix.latitudeE7 == old.fix.latitudeE7)
      }
    }
    #expect(stripped > 10)
    // What is in hand of him when his key goes never gets into the journal.
    var late: [UInt8] = []
    let again = commit.seal(with: cipher, &random)
    SealedRun.open(again, 0..<again.count, with: cipher, into: &late)
    #expect(late == opened)
  }

  /// More subjects than the cipher has places for, some of which share one, in any order and over a change of keys.
  @Test func manySubjectsTakeTurns() throws {
    var random = SeededRandom(seed: 9)
    func ring(_ numbers: [UInt64]) -> SubjectKeyRing {
      SubjectKeyRing(
        numbers.enumerated().map { index, number in
          .init(
            number: number, owner: .subject(UInt32(index + 1)), isRetired: false,
            key: (0..<SubjectKeyRing.keyBytes).map { UInt8(truncatingIfNeeded: number &>> UInt64($0 % 8 * 8) &+ UInt64($0)) })
        }, highest: 1 << 20)
    }
    let numbers: [UInt64] = [1, 4_097, 8_193, 2, 4_098, 77]
    let holder = SubjectKeyHolder(ring(numbers))
    let cipher = try RingCipher(holder)
    func commit() -> [UInt8] {
      var bytes: [UInt8] = []
      for sequence in 1...UInt64(60) {
        var record = Record()
        record.subject = UInt32.random(in: 1...UInt32(numbers.count), using: &random)
        record.fix.sequence = sequence
        record.fix.present = [.time, .position]
        let start = bytes.count
        bytes += [UInt8](repeating: 0, count: record.encodedBytes)
        var out = bytes.mutableSpan
        _ = record.write(into: &out, at: start, from: Span())
      }
      return bytes
    }
    for round in 0..<20 {
      if round == 10 { holder.swap(ring(numbers.map { $0 + 10_000 })) }
      cipher.refresh()
      let records = commit()
      var (sealed, opened, elsewhere): ([UInt8], [UInt8], [UInt8]) = ([], [], [])
      SealedRun.seal(records, records.count, nonce: SealedRun.Nonce(using: &random), with: cipher, into: &sealed)
      SealedRun.open(sealed, 0..<sealed.count, with: cipher, into: &opened)
      SealedRun.open(sealed, 0..<sealed.count, with: try RingCipher(holder), into: &elsewhere)
      #expect(opened == records && elsewhere == records)
    }
  }

  /// A bit that has changed is found, and what cannot be read is handed on for the reader of records to refuse.
  @Test func aChangedRunDoesNotOpen() throws {
    var random = SeededRandom(seed: 6)
    let cipher = try RingCipher(SubjectKeyHolder(ring()))
    for _ in 0..<200 {
      let commit = Commit(&random, records: 12)
      var sealed = commit.seal(with: cipher, &random)
      guard let run = sealed.indices.first(where: { $0 % 8 == 0 && sealed[$0 + 4] == SealedRun.kind }) else { continue }
      let length = Int(sealed.span.load32(at: run))
      sealed[Int.random(in: run + 8..<run + length, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      var opened: [UInt8] = []
      SealedRun.open(sealed, 0..<sealed.count, with: cipher, into: &opened)
      #expect(opened != commit.bytes)
    }
  }
}

@Suite struct ErasedSubjectTests {
  private let session = SessionID(slot: 0, generation: 1)

  /// A fix of an erased subject is settled and told so; nothing of it is in what is written.
  @Test func whatComesLateIsRefused() throws {
    let holder = SubjectKeyHolder(ring(without: .subject(1), erased: [.subject(1): [.min ... .max], .subject(2): [5_000...9_000]]))
    var core = SequencerCore(
      devices: DeviceTable(), workers: 1, batchCapacity: 2 * Limits.messageBytesMax, cipher: try RingCipher(holder),
      random: SeededRandom(seed: 1))
    core.take(message(.hello, []).span, from: 0, receiveTimeMs: 1)
    core.take(message(.records, [(1, 1, 1_000), (2, 2, 4_000), (3, 2, 6_000), (4, 0, 6_000)]).span, from: 0, receiveTimeMs: 1)
    core.sealBatch()
    var opened: [UInt8] = []
    SealedRun.open(core.payload, 0..<core.payloadBytes, with: try RingCipher(holder), into: &opened)
    let written = try records(opened)
    #expect(written.map(\.kind) == [.refused, .fix, .refused, .fix])
    #expect(written.map(\.fix.sequence) == [1, 2, 3, 4])
    core.commitSucceeded()
    let ack = core.replies.last!.reply
    #expect(ack.through == 4 && ack.judgementCount == 2)
    #expect(ack.judgements[0] == VerdictRun(code: Verdict.erased.rawValue, first: 1, count: 1))
    #expect(core.verdicts[Verdict.erased.rawValue] == 2)
    // What lies nowhere is not the latest either.
    #expect(core.devices.latestPosition(of: 1)?.sequence == 4)
    core.forget([1])
    #expect(core.devices.latestPosition(of: 1) == nil && core.devices[1, 0].durable.through == 4)
  }

  private func message(
    _ kind: WorkerMessage.Kind, _ fixes: [(sequence: UInt64, subject: UInt32, timeMs: Int64)]
  ) -> [UInt8] {
    var message = WorkerMessage(kind: kind, session: session, device: 1, stream: 9)
    message.count = UInt32(fixes.count)
    message.next = 1
    var bytes = [UInt8](repeating: 0, count: WorkerMessage.headerBytes + fixes.count * 256)
    var out = bytes.mutableSpan
    message.write(into: &out)
    var at = WorkerMessage.headerBytes
    for fix in fixes {
      var record = Record()
      (record.device, record.subject, record.stream) = (1, fix.subject, 9)
      record.receiveTimeMs = 10_000
      record.fix.sequence = fix.sequence
      record.fix.present = [.time, .position]
      record.fix.fixTimeMs = fix.timeMs
      (record.fix.latitudeE7, record.fix.longitudeE7) = (432_000_000, 769_000_000)
      at = record.write(into: &out, at: at, from: Span())
    }
    bytes.removeLast(bytes.count - at)
    return bytes
  }
}
