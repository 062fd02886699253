import GateTLS

/// What must hold whatever a peer sends behind TLS's handshake, also one that has the keys: only what it has sealed comes out,
/// in order; cuts between reads change nothing; what fails stays failed; our answers open. Traps where it does not: for the
/// fuzzer, and for the replay of what it found.
package enum RecordProperties {
  /// Reads what the fuzzer gives; zeros behind its end.
  private struct Script {
    let bytes: [UInt8]
    var at = 0

    var isDone: Bool { at >= bytes.count }

    mutating func byte() -> UInt8 {
      defer { at += 1 }
      return at < bytes.count ? bytes[at] : 0
    }

    mutating func take(_ count: Int) -> [UInt8] {
      let end = min(at + count, bytes.count)
      defer { at = end }
      return at < end ? Array(bytes[at..<end]) : []
    }
  }

  /// Made-up secrets; which suite, role and agreed length, and whether keys are about to wear out, is the script's choice.
  private struct Setting {
    let suite: TLSSuite
    let isClient: Bool
    let contentBytesMax: Int
    let sequence: UInt64

    init(_ choice: UInt8) {
      suite = TLSSuite.allCases[Int(choice & 3) % TLSSuite.allCases.count]
      isClient = choice & 4 != 0
      contentBytesMax = choice & 8 != 0 ? 512 : TLSRecordLayer.plaintextBytesMax
      switch choice >> 4 & 3 {
      case 1: sequence = TLSRecordLayer.recordsPerKey - 2
      case 2: sequence = TLSRecordLayer.recordsPerKeyMax - 3
      default: sequence = 0
      }
    }

    func layer(ofPeer: Bool) -> TLSRecordLayer {
      let peers = [UInt8](repeating: 1, count: suite.secretBytes)
      let ours = [UInt8](repeating: 2, count: suite.secretBytes)
      let (read, write) = ofPeer ? (ours, peers) : (peers, ours)
      return must { () throws(TLSError) in
        try TLSRecordLayer(
          suite: suite, readSecret: read.span, writeSecret: write.span, readSequence: ofPeer ? 0 : sequence,
          writeSequence: ofPeer ? sequence : 0, contentBytesMax: contentBytesMax)
      }
    }
  }

  /// What a stream made of the bytes.
  private struct Outcome: Equatable {
    var plaintext: [UInt8] = []
    var failure: TLSError? = nil
    var isClosed = false
  }

  /// - Parameter bytes: the setting, then steps: what to seal and how to spoil it.
  package static func check(_ bytes: [UInt8]) {
    var script = Script(bytes: bytes)
    let setting = Setting(script.byte())
    let cuts = script.byte()
    let cipher = must { () throws(TLSError) in try ThreadCipher() }
    let records = must { () throws(DTLSError) in try RecordCipher() }
    var peer = setting.layer(ofPeer: true)
    var (wire, sealed) = ([UInt8](), [UInt8]())
    while !script.isDone, peer.writeSequence < TLSRecordLayer.recordsPerKeyMax {
      step(&script, &peer, setting, records, &wire, &sealed)
    }

    var whole = TLSRecordStream(setting.layer(ofPeer: false), isClient: setting.isClient, with: cipher)
    let outcome = feed(&whole, wire, chunk: max(wire.count, 1))
    precondition(sealed.starts(with: outcome.plaintext), "plaintext that nobody sealed")
    var cut = TLSRecordStream(setting.layer(ofPeer: false), isClient: setting.isClient, with: cipher)
    precondition(feed(&cut, wire, chunk: Int(cuts) + 1) == outcome, "cuts make a difference")
    answer(&whole, &peer, outcome, records)
  }

  private static func must<T: ~Copyable, E: Error>(_ make: () throws(E) -> T) -> T {
    do throws(E) { return try make() } catch { preconditionFailure("\(error)") }
  }

  /// One step of the peer's.
  private static func step(
    _ script: inout Script, _ peer: inout TLSRecordLayer, _ setting: Setting, _ cipher: borrowing RecordCipher,
    _ wire: inout [UInt8], _ sealed: inout [UInt8]
  ) {
    let kind = script.byte()
    switch kind % 8 {
    case 0, 1, 2:
      let type: TLSContentType = [.applicationData, .alert, .handshake][Int(kind % 8)]
      let content = script.take(min(Int(script.byte()), setting.contentBytesMax))
      if type == .applicationData { sealed += content }
      append(to: &wire, content.count + TLSRecordLayer.overheadBytes) { room, offset throws(TLSError) in
        try peer.seal(type, content.span, into: &room, at: &offset, with: cipher)
      }
    case 3:
      append(to: &wire, TLSRecordLayer.keyUpdateRecordBytes) { room, offset throws(TLSError) in
        try peer.sealKeyUpdate(requesting: kind & 8 != 0, into: &room, at: &offset, with: cipher)
      }
    case 4: wire += script.take(Int(script.byte()))
    case 5:
      let back = Int(script.byte())
      if back < wire.count { wire[wire.count - 1 - back] ^= 1 << (kind >> 5) }
    case 6: wire.removeLast(min(Int(script.byte()), wire.count))
    default:
      // The longest record that there may be.
      let content = [UInt8](repeating: script.byte(), count: setting.contentBytesMax)
      sealed += content
      append(to: &wire, content.count + TLSRecordLayer.overheadBytes) { room, offset throws(TLSError) in
        try peer.seal(.applicationData, content.span, into: &room, at: &offset, with: cipher)
      }
    }
  }

  private static func append(
    to wire: inout [UInt8], _ count: Int, _ seal: (inout MutableSpan<UInt8>, inout Int) throws(TLSError) -> Void
  ) {
    var bytes = [UInt8](repeating: 0, count: count)
    var offset = 0
    var span = bytes.mutableSpan
    do throws(TLSError) { try seal(&span, &offset) } catch { preconditionFailure("\(error)") }
    wire += bytes[..<offset]
  }

  private static func feed(_ stream: inout TLSRecordStream, _ wire: [UInt8], chunk: Int) -> Outcome {
    var outcome = Outcome()
    var room = [UInt8](repeating: 0, count: TLSRecordLayer.innerBytesMax + 100)
    var at = 0
    while at < wire.count {
      var rest = Array(wire[at..<min(at + chunk, wire.count)])
      at += rest.count
      while true {
        var end = 0
        var span = room.mutableSpan
        do throws(TLSError) {
          let progress = try stream.receive(rest.span, plaintext: &span, at: &end)
          outcome.plaintext += room[..<end]
          guard case .plaintextFull(let consumed) = progress else {
            outcome.isClosed = progress == .closed
            break
          }
          rest.removeFirst(consumed)
        } catch {
          outcome.plaintext += room[..<end]
          if outcome.failure == nil { outcome.failure = error } else { precondition(error == .notOpen && end == 0) }
          break
        }
      }
      precondition(stream.tailBytes <= TLSRecordLayer.headerBytes + TLSRecordLayer.fragmentBytesMax)
      precondition(stream.outputCount <= TLSEngine.outputBytesHardMax)
      precondition(stream.isOpen == (outcome.failure == nil))
    }
    return outcome
  }

  /// Whatever we say is a run of records that the peer can open.
  private static func answer(
    _ stream: inout TLSRecordStream, _ peer: inout TLSRecordLayer, _ outcome: Outcome, _ cipher: borrowing RecordCipher
  ) {
    let content: [UInt8] = [4, 5, 6]
    do throws(TLSError) {
      try stream.write(content.span)
      precondition(outcome.failure == nil)
    } catch { precondition(error == .notOpen && outcome.failure != nil) }
    stream.close()
    var said: [UInt8] = []
    _ = stream.drain { output in
      for i in output.indices { said.append(output[i]) }
      return output.count
    }
    var heard: [UInt8] = []
    var lastAlert: UInt8? = nil
    var at = 0
    var room = [UInt8](repeating: 0, count: TLSRecordLayer.innerBytesMax)
    do throws(TLSError) {
      while at < said.count {
        guard let count = try TLSRecordLayer.recordBytes(at: at, of: said.span) else { preconditionFailure("cut") }
        var span = room.mutableSpan
        let (type, bytes) = try peer.open(at..<at + count, of: said.span, into: &span, at: 0, with: cipher)
        switch type {
        case .applicationData: heard += room[..<bytes]
        case .alert: lastAlert = room[1]
        case .handshake: try peer.advanceReading()
        }
        at += count
      }
    } catch { preconditionFailure("what we sealed does not open: \(error)") }
    switch outcome.failure {
    case nil: precondition(heard == content && lastAlert == 0)
    case .record: precondition(heard.isEmpty && lastAlert != nil && lastAlert != 0)
    default: precondition(heard.isEmpty && lastAlert == nil)
    }
  }
}
