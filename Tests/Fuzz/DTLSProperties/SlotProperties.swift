import GateCore
import GateTLS

/// What must hold of a session file whatever a disk does to it. Shared by the fuzz target and the ordinary tests.
package enum SlotProperties {
  /// The input is a list of edits of 4 bytes: u16 where, u8 what, u8 value. Bit 0 of `what` repairs the checksum of the slot
  /// that was hit, and so reaches what lies behind it; bits 1 to 7 say which other slot it is exchanged with, if any.
  ///
  /// Traps when a slot that was changed gives a session, or one gives other keys, or numbers that were used.
  package static func check(_ input: [UInt8]) {
    let bench = DTLSWorkbench.shared
    var slots = bench.slots
    var isRepaired = [Bool](repeating: false, count: slots.count)
    var at = 0
    while input.count - at >= 4 {
      let place = (Int(input[at]) << 8 | Int(input[at + 1])) % (slots.count * SessionSlot.bytes)
      let (what, value) = (input[at + 2], input[at + 3])
      at += 4
      let number = place / SessionSlot.bytes
      slots[number][place % SessionSlot.bytes] ^= value
      if what & 1 == 1 {
        repair(&slots[number])
        isRepaired[number] = true
      }
      guard what >> 1 > 0 else { continue }
      slots.swapAt(number, Int(what >> 1) % slots.count)
      isRepaired.swapAt(number, Int(what >> 1) % slots.count)
    }
    guard let cipher = try? RecordCipher(), var endpoint = try? DTLSWorkbench.endpoint(bench.context) else {
      preconditionFailure("no endpoint")
    }
    for (number, bytes) in slots.enumerated() {
      guard let (session, _, _) = endpoint.restore(bytes.span, number: UInt32(number)) else {
        precondition(bytes != bench.slots[number])
        continue
      }
      // What the seal guards is as it was, at its own place.
      precondition(session == DTLSWorkbench.id(number))
      let keys = SessionSlot.changingBytes..<SessionSlot.sealedAt + 28 + DTLSWorkbench.suite(number).keyBlockBytes
      precondition(bytes[keys] == bench.slots[number][keys])
      if !isRepaired[number] {
        precondition(bytes[..<SessionSlot.changingBytes] == bench.slots[number][..<SessionSlot.changingBytes])
        answers(number, &endpoint, cipher)
      }
    }
    precondition(endpoint.sessionCount <= slots.count)
    let first = slots[0]
    if case .valid(let header) = SessionFileHeader.read(first.span) { precondition(header.base < 1 << 62) }
  }

  private static func repair(_ slot: inout [UInt8]) {
    var span = slot.mutableSpan
    span.store(CRC32C.of(span.span, in: 4..<SessionSlot.changingBytes), at: 0)
  }

  /// The session opens what its device seals, and answers with a number that no run has used.
  private static func answers(_ index: Int, _ endpoint: inout DTLSEndpoint, _ cipher: borrowing RecordCipher) {
    do throws(DTLSError) {
      var device = try DTLSWorkbench.session(index, .client)
      let question = try DTLSWorkbench.seal(.applicationData, [1, 2, 3], &device, cipher)
      var plain = [UInt8](repeating: 0, count: 8_192)
      DTLSWorkbench.receive(question, from: 200, at: DTLSWorkbench.now, &endpoint, &plain)
      guard case .data? = endpoint.events.last else { preconditionFailure("not opened") }
      var at = 0
      var room = plain.mutableSpan
      guard try endpoint.seal(question.span, for: DTLSWorkbench.id(index), into: &room, at: &at) != nil else {
        preconditionFailure("not answered")
      }
      let record = try DTLSRecord.next(in: room.span, from: 0, connectionIDBytes: 0)
      precondition(record.sequence >= WriteReservation.standard.ahead(of: 0))
    } catch { preconditionFailure("\(error)") }
  }
}
