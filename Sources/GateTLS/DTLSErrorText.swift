/// Text for logs: what is wrong and what to do. Never a key, a name or a peer's bytes.
extension DTLSError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .malformed(let offset): "no DTLS record at byte \(offset)"
    case .version(let version): "a record of version 0x\(String(version, radix: 16)), not DTLS 1.2"
    case .oversize(let bytes): "a record of \(bytes) bytes is too long"
    case .wrongEpoch(let epoch): "a record of epoch \(epoch)"
    case .wrongConnectionID: "a record with another connection ID, or with one too many or too few"
    case .replayed: "a record that was seen before"
    case .tooOld: "a record below the replay window"
    case .forged: "a record that is forged, damaged or of other keys"
    case .unknownContent: "an authentic record that is none of DTLS 1.2"
    case .sequenceExhausted: "all record numbers of the session are used; it needs a new handshake"
    case .noRoom: "no room for a record"
    case .handshake(let error): error.description
    case .timedOut: "the peer did not finish its handshake in time"
    case .notOpen: "the DTLS handshake is over"
    case .library(let code): TLSError.library(code: code).description
    }
  }
}
