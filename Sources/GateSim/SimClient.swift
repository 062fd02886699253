import GateCore
import GateTLS

/// A device's conversation over DTLS, and where the network has it at the moment.
final class SimClient {
  var dtls: DTLSClient
  var address: PeerAddress
  /// Its session has been told that there is a way to the gateway.
  var isConnected = false
  /// The gateway has been greeted in this session, in an earlier run of the device.
  let isResumed: Bool
  /// One for each handshake: what numbers of records must not repeat under.
  let key: Int
  /// The gateway has welcomed the device in it.
  var isWelcome: Bool
  /// The gateway's name for the session, once the device uses it.
  var session: UInt64?
  /// The gateway has used its keys: as soon as that arrives, or already, the device relies on the session.
  var isAnswered = false

  init(_ dtls: consuming DTLSClient, at address: PeerAddress, isResumed: Bool, key: Int) {
    self.dtls = dtls
    self.address = address
    self.isResumed = isResumed
    isWelcome = isResumed
    self.key = key
  }
}

/// What both ends of all worlds share: a pre-shared key, so that a handshake costs no signature. Who a device is it says by its
/// token.
enum SimCredentials {
  static let server = Result<DTLSServerContext, TLSError> { () throws(TLSError) in
    try DTLSServerContext(suites: [.pskAES128CCM8]) { _, key in
      for i in 0..<16 { key[i] = 7 }
      return 16
    }
  }
  static let client = Result<DTLSClientContext, TLSError> { () throws(TLSError) in
    try DTLSClientContext(identity: [1], key: [UInt8](repeating: 7, count: 16), suites: [.pskAES128CCM8])
  }
}

/// A datagram on its way.
struct SimDatagram {
  var bytes: [UInt8]
  /// The device's end.
  var address: PeerAddress
  var isUp: Bool
}
