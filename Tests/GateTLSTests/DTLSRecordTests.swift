import GateTLS
import Testing

private func recordBytes(
  _ type: UInt8, version: UInt16 = 0xFEFD, epoch: UInt16 = 1, cid: [UInt8] = [], length: Int? = nil, fragment: [UInt8]
) -> [UInt8] {
  let length = length ?? fragment.count
  return [type, UInt8(version >> 8), UInt8(version & 255), UInt8(epoch >> 8), UInt8(epoch & 255), 1, 2, 3, 4, 5, 6] + cid
    + [UInt8(length >> 8), UInt8(length & 255)] + fragment
}

private func nextRecord(_ bytes: [UInt8], from start: Int = 0, connectionIDBytes: Int = 8) -> Result<DTLSRecord, DTLSError> {
  Result { () throws(DTLSError) in
    try DTLSRecord.next(in: bytes.span, from: start, connectionIDBytes: connectionIDBytes)
  }
}

@Suite struct DTLSRecordTests {
  @Test func twoInOneDatagram() throws {
    let bytes = recordBytes(22, fragment: [9, 9, 9]) + recordBytes(25, cid: Array(0..<8), fragment: [7, 7])
    let first = try nextRecord(bytes).get()
    #expect(first.type == .handshake && first.epoch == 1 && first.sequence == 0x0102_0304_0506)
    #expect(first.fragment == 13..<16 && first.whole == 0..<16 && first.connectionID.isEmpty)
    let second = try nextRecord(bytes, from: first.whole.upperBound).get()
    #expect(second.type == .tls12CID && second.connectionID == 27..<35 && second.fragment == 37..<39)
    #expect(second.whole == 16..<39)
    #expect(nextRecord(bytes, from: 39) == .failure(.malformed(offset: 39)))
  }

  @Test(arguments: [
    (recordBytes(19, fragment: []), .malformed(offset: 0)),
    (recordBytes(24, fragment: []), .malformed(offset: 0)),
    (recordBytes(26, fragment: []), .malformed(offset: 0)),
    (recordBytes(23, version: 0xFEFF, fragment: []), .version(0xFEFF)),
    (recordBytes(22, version: 0x0303, epoch: 0, fragment: []), .version(0x0303)),
    (recordBytes(23, length: 18_433, fragment: []), .oversize(bytes: 18_433)),
    (recordBytes(23, length: 4, fragment: [1, 2, 3]), .malformed(offset: 0)),
    (recordBytes(25, cid: [1, 2, 3], fragment: []), .malformed(offset: 0)),
    ([], .malformed(offset: 0)),
  ] as [([UInt8], DTLSError)])
  func refused(bytes: [UInt8], error: DTLSError) { #expect(nextRecord(bytes) == .failure(error)) }

  @Test func aHelloMayCallItselfOneZero() throws {
    #expect(try nextRecord(recordBytes(22, version: 0xFEFF, epoch: 0, fragment: [1])).get().epoch == 0)
  }

  @Test func everyPrefixIsRefused() {
    let whole = recordBytes(25, cid: Array(0..<8), fragment: [1, 2, 3, 4])
    for count in whole.indices { #expect(nextRecord(Array(whole[..<count])) == .failure(.malformed(offset: 0))) }
  }
}
