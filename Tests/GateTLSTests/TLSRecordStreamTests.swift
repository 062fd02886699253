import Dispatch
import Foundation
import GateTLS
import Testing

/// A server's stream against a client that may be dishonest, with the keys of RFC 8448.
@Suite struct TLSRecordStreamTests {
  private func data(_ content: [UInt8]) -> [UInt8] { content + [23] }
  private func keyUpdate(_ request: UInt8) -> [UInt8] { [24, 0, 0, 1, request, 22] }

  /// What the server says to it, as the client reads it.
  private func alert(_ stream: inout TLSRecordStream) throws -> [UInt8] {
    let cipher = try RecordCipher()
    var client = try RFC8448.layer(ofServer: false)
    let opened = try client.open(stream.takeOutput(), with: cipher)
    #expect(opened.type == .alert)
    return opened.content
  }

  @Test func everySplitAndEveryByte() throws {
    var client = RFC8448.client
    let parts: [[UInt8]] = [[1], Array("a record".utf8), [UInt8](repeating: 9, count: 70)]
    let sealed = parts.map { client.seal(data($0)) } + [client.seal([1, 0, 21])]
    let bytes = Array(sealed.joined())
    let ends = sealed.reduce(into: [0]) { ends, record in ends.append(ends[ends.count - 1] + record.count) }
    let all = Array(parts.joined())
    for cut in 0...bytes.count {
      var stream = try RFC8448.stream()
      var plaintext: [UInt8] = []
      let first = try stream.feed(Array(bytes[..<cut]), into: &plaintext)
      #expect(first == (cut == bytes.count ? .closed : .open))
      #expect(stream.hasPartialRecord == !ends.contains(cut), "cut at \(cut)")
      #expect(try stream.feed(Array(bytes[cut...]), into: &plaintext) == .closed)
      #expect(plaintext == all)
    }
    var stream = try RFC8448.stream()
    var plaintext: [UInt8] = []
    for byte in bytes { _ = try stream.feed([byte], into: &plaintext) }
    #expect(plaintext == all && stream.outputCount == 0)
  }

  /// A room that is full waits for its owner, and no byte is lost.
  @Test func roomsThatFillUp() throws {
    var client = RFC8448.client
    let parts = (0..<6).map { [UInt8](repeating: UInt8($0), count: 5_000 + $0) }
    let bytes = Array(parts.map { client.seal(data($0)) }.joined())
    for step in [100, 7_000, 30_500] {
      var stream = try RFC8448.stream()
      var plaintext: [UInt8] = []
      var at = 0
      while at < bytes.count {
        let end = min(at + step, bytes.count)
        #expect(try stream.feed(Array(bytes[at..<end]), into: &plaintext) == .open)
        at = end
      }
      #expect(plaintext == Array(parts.joined()), "in steps of \(step)")
    }
  }

  @Test func roomsTooSmallForARecordTrap() async {
    await #expect(processExitsWith: .failure) {
      var stream = try RFC8448.stream()
      var plaintext: [UInt8] = []
      _ = try stream.feed([], room: TLSRecordLayer.innerBytesMax - 1, into: &plaintext)
    }
  }

  /// RFC 8446 section 6.1: without close_notify nothing says that the end is the end.
  @Test func aCutIsNotAClose() throws {
    var client = RFC8448.client
    let record = client.seal(data(hello))
    var stream = try RFC8448.stream()
    var plaintext: [UInt8] = []
    #expect(try stream.feed(Array(record.dropLast()), into: &plaintext) == .open)
    #expect(plaintext.isEmpty && stream.hasPartialRecord)
    #expect(try stream.feed(Array(record.suffix(1)), into: &plaintext) == .open)
    #expect(plaintext == hello)
    #expect(try stream.feed(client.seal([1, 0, 21]) + [1, 2, 3], into: &plaintext) == .closed)
    #expect(try stream.feed([9], into: &plaintext) == .closed)
    #expect(plaintext == hello && !stream.hasPartialRecord)
    // The other direction stays open until it is closed (RFC 8446 section 6.1).
    try stream.say(hello)
    stream.close()
    stream.close()
    #expect(throws: TLSError.notOpen) { try stream.say(hello) }
    #expect(throws: TLSError.notOpen) { try stream.updateKeys() }
    let cipher = try RecordCipher()
    var reader = try RFC8448.layer(ofServer: false)
    let said = try records(of: stream.takeOutput())
    #expect(said.count == 2)
    #expect(try reader.open(said[0], with: cipher).content == hello)
    #expect(try reader.open(said[1], with: cipher) == OpenedRecord(type: .alert, content: [1, 0]))
  }

  struct Offence: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// Inner bytes of the records.
    let records: [[UInt8]]
    let fault: TLSRecordFault
    let alert: UInt8
  }

  static let offences: [Offence] = [
    Offence(testDescription: "finished", records: [[20, 0, 0, 0, 22]], fault: .unexpectedMessage(type: 20), alert: 10),
    Offence(testDescription: "client hello", records: [[1, 0, 0, 9, 22]], fault: .unexpectedMessage(type: 1), alert: 10),
    Offence(testDescription: "ticket from a client", records: [[4, 0, 0, 9, 22]], fault: .unexpectedMessage(type: 4), alert: 10),
    Offence(testDescription: "certificate", records: [[11, 0, 0, 9, 22]], fault: .unexpectedMessage(type: 11), alert: 10),
    Offence(testDescription: "empty handshake", records: [[22]], fault: .unexpected(contentType: 22), alert: 10),
    Offence(testDescription: "key update of 0", records: [[24, 0, 0, 0, 22]], fault: .malformed, alert: 50),
    Offence(testDescription: "key update of 2", records: [[24, 0, 0, 2, 0, 0, 22]], fault: .malformed, alert: 50),
    Offence(testDescription: "key update 2", records: [[24, 0, 0, 1, 2, 22]], fault: .malformed, alert: 50),
    Offence(
      testDescription: "bytes behind a key update", records: [[24, 0, 0, 1, 0, 24, 22]],
      fault: .unexpectedMessage(type: 24), alert: 10),
    Offence(
      testDescription: "data within a message", records: [[24, 0, 22], [1, 23]], fault: .unexpected(contentType: 23),
      alert: 10),
    Offence(
      testDescription: "an alert within a message", records: [[24, 22], [1, 0, 21]], fault: .unexpected(contentType: 21),
      alert: 10),
    Offence(testDescription: "alert of 1 byte", records: [[0, 21]], fault: .malformed, alert: 50),
    Offence(testDescription: "two alerts", records: [[1, 0, 1, 0, 21]], fault: .malformed, alert: 50),
    Offence(testDescription: "empty alert", records: [[21]], fault: .malformed, alert: 50),
    Offence(
      testDescription: "no content type", records: [[0, 0]], fault: .unexpected(contentType: 0), alert: 10),
    Offence(
      testDescription: "empty records", records: [[UInt8]](repeating: [23], count: 33), fault: .barren, alert: 10),
    Offence(
      testDescription: "too long within", records: [[UInt8](repeating: 1, count: 16_385) + [23]],
      fault: .oversize(bytes: 16_386), alert: 22),
  ]

  @Test(arguments: offences) func offencesEndTheConnection(offence: Offence) throws {
    var client = RFC8448.client
    var stream = try RFC8448.stream()
    let bytes = client.seal(data(hello)) + offence.records.map { client.seal($0) }.joined() + client.seal(data(hello))
    var plaintext: [UInt8] = []
    #expect(throws: TLSError.record(offence.fault)) { _ = try stream.feed(bytes, into: &plaintext) }
    // What came before is good, what comes behind is not looked at.
    #expect(plaintext == hello && stream.isOpen == false)
    #expect(throws: TLSError.notOpen) { _ = try stream.feed(bytes, into: &plaintext) }
    #expect(throws: TLSError.notOpen) { try stream.say(hello) }
    #expect(try alert(&stream) == [2, offence.alert])
    stream.close()
    #expect(stream.outputCount == 0)
  }

  @Test(arguments: [20, 21, 22] as [UInt8]) func unprotectedRecordsEndTheConnection(type: UInt8) throws {
    var stream = try RFC8448.stream()
    #expect(throws: TLSError.record(.unexpected(contentType: type))) { _ = try stream.feed([type, 3, 3, 0, 1, 1]) }
    #expect(try alert(&stream) == [2, 10])
  }

  @Test func forgeryEndsTheConnection() throws {
    var client = RFC8448.client
    let record = client.seal(data(hello))
    for index in record.indices {
      var stream = try RFC8448.stream()
      var bad = record
      bad[index] ^= 1
      var plaintext: [UInt8] = []
      do throws(TLSError) {
        // A length that now asks for more waits for it.
        #expect(try stream.feed(bad, into: &plaintext) == .open && (3...4).contains(index))
      } catch { #expect(stream.isOpen == false) }
      #expect(plaintext.isEmpty, "byte \(index)")
    }
  }

  @Test func alertsOfThePeer() throws {
    var client = RFC8448.client
    var stream = try RFC8448.stream()
    // user_canceled announces a close_notify and is none (RFC 8446 section 6.1).
    #expect(try stream.feed(client.seal([1, 90, 21]) + client.seal(data(hello))) == hello)
    #expect(throws: TLSError.alert(40)) { _ = try stream.feed(client.seal([1, 40, 21])) }
    // No answer to an alert.
    #expect(stream.outputCount == 0 && stream.isOpen == false)
  }

  @Test func emptyRecordsBetweenDataAreBorne() throws {
    var client = RFC8448.client
    var stream = try RFC8448.stream()
    var bytes: [UInt8] = []
    for i in 0..<100 { bytes += client.seal([23]) + client.seal(i % 10 == 0 ? data([7]) : [23, 0, 0]) }
    var plaintext: [UInt8] = []
    #expect(try stream.feed(bytes, into: &plaintext) == .open)
    #expect(plaintext == [UInt8](repeating: 7, count: 10))
  }

  // MARK: Keys

  @Test func manyRequestsGetOneAnswer() throws {
    let cipher = try RecordCipher()
    var stream = try RFC8448.stream()
    var client = try RFC8448.layer(ofServer: false)
    for _ in 0..<20 {
      var update = [UInt8](repeating: 0, count: TLSRecordLayer.keyUpdateRecordBytes)
      var offset = 0
      var span = update.mutableSpan
      try client.sealKeyUpdate(requesting: true, into: &span, at: &offset, with: cipher)
      #expect(try stream.feed(update) == [])
    }
    #expect(stream.outputCount == 0)
    #expect(try stream.feed(client.seal(hello, with: cipher)) == hello)
    for turn in 0..<3 {
      try stream.say(hello)
      let said = try records(of: stream.takeOutput())
      #expect(said.count == (turn == 0 ? 2 : 1))
      if turn == 0 {
        // Before the next application data, and without a request of its own (RFC 8446 section 4.6.3).
        #expect(try client.open(said[0], with: cipher) == OpenedRecord(type: .handshake, content: [24, 0, 0, 1, 0]))
        try client.advanceReading()
      }
      #expect(try client.open(said[said.count - 1], with: cipher).content == hello)
    }
  }

  @Test func aKeyUpdateInPieces() throws {
    let cipher = try RecordCipher()
    var stream = try RFC8448.stream()
    var client = try RFC8448.layer(ofServer: false)
    for piece in [[24], [0, 0], [1], [1]] as [[UInt8]] {
      #expect(try stream.feed(client.seal(.handshake, piece, with: cipher)) == [])
    }
    // The client's next generation, from the secret of RFC 8446 section 7.2.
    var next = try RFC8448.layer(ofServer: false)
    var scratch = [UInt8](repeating: 0, count: 64)
    var offset = 0
    var span = scratch.mutableSpan
    try next.sealKeyUpdate(requesting: false, into: &span, at: &offset, with: cipher)
    #expect(try stream.feed(next.seal(hello, with: cipher)) == hello)
  }

  @Test func keyUpdateFloodsAreCutOff() throws {
    let cipher = try RecordCipher()
    var stream = try RFC8448.stream()
    var client = try RFC8448.layer(ofServer: false)
    for i in 0... {
      var update = [UInt8](repeating: 0, count: TLSRecordLayer.keyUpdateRecordBytes)
      var offset = 0
      var span = update.mutableSpan
      try client.sealKeyUpdate(requesting: false, into: &span, at: &offset, with: cipher)
      guard i == TLSRecordStream.barrenRecordsMax else {
        #expect(try stream.feed(update) == [])
        continue
      }
      #expect(throws: TLSError.record(.barren)) { _ = try stream.feed(update) }
      break
    }
  }

  @Test func ourKeyIsChangedInTime() throws {
    let cipher = try RecordCipher()
    var stream = try RFC8448.stream(writeSequence: TLSRecordLayer.recordsPerKey - 1)
    var client = try RFC8448.layer(ofServer: false, readSequence: TLSRecordLayer.recordsPerKey - 1)
    try stream.say(hello)
    #expect(try client.open(stream.takeOutput(), with: cipher).content == hello)
    try stream.say(hello)
    let said = try records(of: stream.takeOutput())
    #expect(try client.open(said[0], with: cipher) == OpenedRecord(type: .handshake, content: [24, 0, 0, 1, 0]))
    try client.advanceReading()
    #expect(try client.open(said[1], with: cipher).content == hello)
    #expect(said.count == 2 && client.readSequence == 1)
  }

  @Test func thePeersKeyIsAskedForInTime() throws {
    let cipher = try RecordCipher()
    var stream = try RFC8448.stream(readSequence: TLSRecordLayer.recordsPerKey - 1)
    var client = try RFC8448.layer(ofServer: false, writeSequence: TLSRecordLayer.recordsPerKey - 1)
    #expect(stream.outputCount == 0)
    for _ in 0..<3 { #expect(try stream.feed(client.seal(hello, with: cipher)) == hello) }
    // Once, though it takes a while.
    #expect(try client.open(stream.takeOutput(), with: cipher) == OpenedRecord(type: .handshake, content: [24, 0, 0, 1, 1]))
    var update = [UInt8](repeating: 0, count: TLSRecordLayer.keyUpdateRecordBytes)
    var offset = 0
    var span = update.mutableSpan
    try client.sealKeyUpdate(requesting: false, into: &span, at: &offset, with: cipher)
    #expect(try stream.feed(update + client.seal(hello, with: cipher)) == hello)
  }

  @Test func aPeerThatKeepsItsKeyIsLetGo() throws {
    var client = RFC8448.client
    client.sequence = TLSRecordLayer.recordsPerKeyMax - 1
    var stream = try RFC8448.stream(readSequence: TLSRecordLayer.recordsPerKeyMax - 1)
    var plaintext: [UInt8] = []
    #expect(throws: TLSError.record(.keyWornOut)) {
      _ = try stream.feed(client.seal(data([1])) + client.seal(data([2])), into: &plaintext)
    }
    #expect(plaintext == [1])
  }

  // MARK: Tickets

  @Test func aClientPassesTicketsOver() throws {
    let cipher = try RecordCipher()
    var server = try RFC8448.layer(ofServer: true)
    var stream = TLSRecordStream(try RFC8448.layer(ofServer: false), isClient: true, with: try ThreadCipher())
    let ticket: [UInt8] = [4, 0, 0, 200] + [UInt8](repeating: 24, count: 200)
    // One, two in a record, one in pieces with the next behind it.
    for content in [ticket, ticket + ticket, Array(ticket[..<3]), Array(ticket[3..<90]), ticket[90...] + ticket] {
      #expect(try stream.feed(server.seal(.handshake, content, with: cipher)) == [])
    }
    #expect(try stream.feed(server.seal(hello, with: cipher)) == hello)
    #expect(throws: TLSError.record(.malformed)) {
      _ = try stream.feed(server.seal(.handshake, [4, 0, 0, 0], with: cipher))
    }
  }

  // MARK: Bounds

  @Test func outputIsBounded() throws {
    var stream = try RFC8448.stream()
    let block = [UInt8](repeating: 5, count: 10_000)
    for _ in 0..<6 { try stream.say(block) }
    let waiting = stream.outputCount
    #expect(throws: TLSError.outputFull(waitingBytes: waiting)) { try stream.say(block) }
    #expect(waiting <= TLSEngine.outputBytesMax && stream.isOpen)
    let cipher = try RecordCipher()
    var client = try RFC8448.layer(ofServer: false)
    var read: [UInt8] = []
    for record in try records(of: stream.takeOutput()) { read += try client.open(record, with: cipher).content }
    try stream.say(block)
    for record in try records(of: stream.takeOutput()) { read += try client.open(record, with: cipher).content }
    #expect(read == [UInt8](repeating: 5, count: 70_000))
  }

  @Test func keyUpdatesOfOursAreBounded() throws {
    var stream = try RFC8448.stream()
    var rounds = 0
    #expect(throws: TLSError.outputOverflow) {
      while rounds < 10_000 {
        try stream.updateKeys()
        rounds += 1
      }
    }
    #expect(rounds > 1_000 && stream.outputCount <= TLSEngine.outputBytesHardMax)
  }

  @Test func anotherThreadTraps() async {
    await #expect(processExitsWith: .failure) {
      let cipher = try ThreadCipher()
      var stream = TLSRecordStream(try RFC8448.layer(ofServer: true), isClient: false, with: cipher)
      try stream.say(hello)
      // Nobody else uses it meanwhile, and still it is another thread.
      nonisolated(unsafe) let shared = cipher
      let done = DispatchSemaphore(value: 0)
      Thread {
        guard let layer = try? RFC8448.layer(ofServer: true) else { return }
        var stream = unsafe TLSRecordStream(layer, isClient: false, with: shared)
        try? stream.say(hello)
        done.signal()
      }.start()
      done.wait()
    }
  }
}
