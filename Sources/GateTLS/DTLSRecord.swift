import GateCore

/// Content types of DTLS 1.2 (RFC 6347 section 4.1; 25: RFC 9146 section 4).
package enum DTLSContentType: UInt8, Sendable {
  case changeCipherSpec = 20
  case alert = 21
  case handshake = 22
  case applicationData = 23
  case tls12CID = 25
}

/// Where one record of a datagram lies. Nothing of it is authentic yet.
///
/// Layout (RFC 6347 section 4.1, RFC 9146 section 4): type (1), version (2), epoch (2), sequence (6), connection ID (only
/// type 25, its length is the receiver's own knowledge), length (2), fragment.
package struct DTLSRecord: Equatable, Sendable {
  package static let headerBytes = 13
  /// Longest fragment that may be read at all.
  package static let fragmentBytesMax = 16_384 + 2_048
  package static let version: UInt16 = 0xFEFD

  package let type: DTLSContentType
  package let epoch: UInt16
  /// 48 bits.
  package let sequence: UInt64
  /// In the datagram; empty unless the type is `.tls12CID`.
  package let connectionID: Range<Int>
  /// In the datagram.
  package let fragment: Range<Int>
  /// In the datagram, header and all.
  package let whole: Range<Int>

  /// Reads the header of the record at `start`.
  /// - Parameter connectionIDBytes: length of the connection IDs that the receiver gives out.
  /// - Throws: `.malformed`, `.version`, `.oversize`: drop the rest of the datagram.
  package static func next(
    in datagram: Span<UInt8>, from start: Int, connectionIDBytes: Int = ConnectionID.gatewayBytes
  ) throws(DTLSError) -> DTLSRecord {
    precondition(start >= 0 && start <= datagram.count && connectionIDBytes >= 0)
    let left = datagram.count - start
    guard left >= headerBytes, let type = DTLSContentType(rawValue: datagram[start]) else {
      throw .malformed(offset: start)
    }
    let version = UInt16(datagram[start + 1]) << 8 | UInt16(datagram[start + 2])
    let epochAndSequence = datagram.load64(at: start + 3).byteSwapped
    let epoch = UInt16(truncatingIfNeeded: epochAndSequence >> 48)
    // A ClientHello and a HelloVerifyRequest may call themselves DTLS 1.0 (RFC 6347 section 4.2.1).
    guard version == self.version || version == 0xFEFF && epoch == 0 else { throw .version(version) }
    let cidBytes = type == .tls12CID ? connectionIDBytes : 0
    guard left >= headerBytes + cidBytes else { throw .malformed(offset: start) }
    let lengthAt = start + 11 + cidBytes
    let length = Int(datagram[lengthAt]) << 8 | Int(datagram[lengthAt + 1])
    guard length <= fragmentBytesMax else { throw .oversize(bytes: length) }
    let from = lengthAt + 2
    guard length <= datagram.count - from else { throw .malformed(offset: start) }
    return DTLSRecord(
      type: type, epoch: epoch, sequence: epochAndSequence & (1 << 48 - 1), connectionID: start + 11..<lengthAt, fragment: from..<from + length,
      whole: start..<from + length)
  }
}
