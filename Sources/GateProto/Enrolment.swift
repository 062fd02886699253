internal import CFixProto
import GateCore

/// A device asks for a credential by a one-time code.
package struct Enrol: Equatable, Sendable {
  package enum Kind: UInt32, Sendable {
    case token = 0
    case psk = 1
  }

  package static let keyBytes = 16
  package static let codeBytesMax = 32
  package static let labelBytesMax = 32

  /// As somebody typed it.
  package var code: String
  /// `keyBytes` random bytes of the device's: the same request again is about the same device.
  package var key: [UInt8]
  /// Last part of the device's name.
  package var label: String?
  package var kind: Kind

  package init(code: String, key: [UInt8], label: String? = nil, kind: Kind = .token) {
    self.code = code
    self.key = key
    self.label = label
    self.kind = kind
  }

  /// Reads the body of `Uplink.enrol`.
  /// - Throws: `.missing` without code (1); `.badLength` for a key of another length than `keyBytes`, or over a bound.
  package static func decode(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(ProtoError) -> Enrol {
    try unsafe unpack(bytes, range, with: fixgate__v1__enrol__unpack) { message throws(ProtoError) -> Enrol in
      let message = unsafe message.pointee
      guard let code = try unsafe readText(message.code, field: 1, bytesMax: codeBytesMax) else {
        throw .missing(field: 1)
      }
      let keyBytes = unsafe message.key.len
      guard keyBytes == Enrol.keyBytes else { throw .badLength(field: 2, bytes: keyBytes) }
      return Enrol(
        code: code, key: unsafe Array(UnsafeBufferPointer(start: message.key.data, count: keyBytes)),
        label: try unsafe readText(message.label, field: 3, bytesMax: labelBytesMax),
        kind: unsafe Kind(rawValue: message.kind.rawValue) ?? .token)
    }
  }

  /// Appends the message as field 11 of `Uplink`, tag and length included.
  package func append(into out: inout [UInt8]) {
    var arena = Arena()
    var message = unsafe Fixgate__V1__Enrol()
    unsafe fixgate__v1__enrol__init(&message)
    unsafe message.code = arena.text(code)
    unsafe message.has_key = 1
    unsafe message.key.len = key.count
    unsafe message.key.data = arena.array(key)
    unsafe message.label = arena.text(label)
    if kind != .token {
      unsafe message.has_kind = 1
      unsafe message.kind = Fixgate__V1__CredentialKind(kind.rawValue)
    }
    unsafe appendUplink(into: &out) { uplink in unsafe uplink.enrol = arena.place(message) }
  }
}

/// Answer to `Enrol`.
package struct Enrolled: Equatable, Sendable {
  package enum Credential: Equatable, Sendable {
    /// `Hello.tokenBytes` long.
    case token([UInt8])
    /// A pre-shared key of TLS 1.3.
    case psk(identity: String, secret: [UInt8])
  }

  package var tenant: String
  package var device: String
  package var credential: Credential

  package init(tenant: String, device: String, credential: Credential) {
    self.tenant = tenant
    self.device = device
    self.credential = credential
  }

  private static let nameBytesMax = 64
  private static let identityBytesMax = 64
  private static let secretBytesMax = 64

  /// - Throws: `.missing` without names or credential, `.badLength` over a bound.
  init(_ message: Fixgate__V1__Enrolled) throws(ProtoError) {
    guard let tenant = try unsafe readText(message.tenant, field: 1, bytesMax: Enrolled.nameBytesMax) else {
      throw .missing(field: 1)
    }
    guard let device = try unsafe readText(message.device, field: 2, bytesMax: Enrolled.nameBytesMax) else {
      throw .missing(field: 2)
    }
    let (tokenBytes, secretBytes) = unsafe (message.token.len, message.psk_secret.len)
    if let identity = try unsafe readText(message.psk_identity, field: 4, bytesMax: Enrolled.identityBytesMax) {
      guard (1...Enrolled.secretBytesMax).contains(secretBytes) else { throw .badLength(field: 5, bytes: secretBytes) }
      let secret = unsafe Array(UnsafeBufferPointer(start: message.psk_secret.data, count: secretBytes))
      self.init(tenant: tenant, device: device, credential: .psk(identity: identity, secret: secret))
    } else {
      guard tokenBytes == Hello.tokenBytes else { throw .badLength(field: 3, bytes: tokenBytes) }
      let token = unsafe Array(UnsafeBufferPointer(start: message.token.data, count: tokenBytes))
      self.init(tenant: tenant, device: device, credential: .token(token))
    }
  }

  func message(in arena: inout Arena) -> Fixgate__V1__Enrolled {
    var message = unsafe Fixgate__V1__Enrolled()
    unsafe fixgate__v1__enrolled__init(&message)
    unsafe message.tenant = arena.text(tenant)
    unsafe message.device = arena.text(device)
    switch credential {
    case .token(let token):
      unsafe message.has_token = 1
      unsafe message.token.len = token.count
      unsafe message.token.data = arena.array(token)
    case .psk(let identity, let secret):
      unsafe message.psk_identity = arena.text(identity)
      unsafe message.has_psk_secret = 1
      unsafe message.psk_secret.len = secret.count
      unsafe message.psk_secret.data = arena.array(secret)
    }
    return unsafe message
  }
}
