/// Who is at the other end, as the registry and the device's proof say. Never from the payload of a fix.
package struct DeviceIdentity: Equatable, Sendable, BitwiseCopyable {
  package var device: UInt32
  package var tenant: UInt32
  /// 0 = none assigned.
  package var subject: UInt32
  package init(device: UInt32, tenant: UInt32, subject: UInt32) {
    self.device = device
    self.tenant = tenant
    self.subject = subject
  }
}

/// What carries a conversation; the raw value is stored with each fix.
package enum Transport: UInt8, Sendable, BitwiseCopyable {
  /// TLS over TCP: frames with a length prefix, in order.
  case stream = 1
  /// DTLS over UDP: one message a record, without a prefix, in any order or not at all.
  case datagram = 2
}

/// One device conversation: what may come, given what came before. Bytes, clocks and sockets are elsewhere.
package struct Session: Sendable {
  package enum State: Equatable, Sendable {
    case awaitingHello
    /// Early data: fixes and nothing else, of whom a ticket names. Hello comes when the handshake is done.
    case early(DeviceIdentity, stream: UInt32)
    case open(DeviceIdentity, stream: UInt32)
    /// Nothing more is taken; the connection closes when what waits is sent.
    case closing
  }

  /// What the device said that bears on its session.
  package struct Greeting: Equatable, Sendable {
    package var protocolVersion: UInt32
    package var stream: UInt32
    package var nextSequence: UInt64
    package var oldestHeld: UInt64
    package init(protocolVersion: UInt32, stream: UInt32, nextSequence: UInt64, oldestHeld: UInt64) {
      self.protocolVersion = protocolVersion
      self.stream = stream
      self.nextSequence = nextSequence
      self.oldestHeld = oldestHeld
    }
  }

  package enum Proof: Equatable, Sendable {
    /// `untilMs`: when the credential ends, ms since 1970-01-01 UTC; `.max` = never.
    case device(DeviceIdentity, by: CredentialReference, untilMs: Int64)
    case unknown
    case revoked
    case expired
  }

  /// Why a hello is refused; the raw value is `RefusalCode` of proto/fixgate.proto. All of these close.
  package enum HelloRefusal: UInt16, Error, Sendable {
    case malformed = 1
    case unsupportedProtocol = 4
    case unknownCredential = 5
    case revoked = 6
    case badSequence = 9
    case expired = 10
  }

  package let id: SessionID
  package let transport: Transport
  package private(set) var state = State.awaitingHello
  /// `Work` of hello as encoded fields (30), for fixes that carry none.
  package var work: [UInt8] = []
  package var policyVersion: UInt32 = 0
  /// That hello named; 0 before.
  package private(set) var protocolVersion: UInt32 = 0
  /// What the transport has shown; the worker sets it when the handshake is done.
  package var channel = ChannelProof.none
  /// What the session was opened with; `nil` before hello.
  package private(set) var credential: CredentialReference?
  /// The session ends then, because its credential does: ms since 1970-01-01 UTC; `.max` = never.
  package private(set) var validUntilMs = Int64.max
  /// Gateway's clock less the device's when hello came; `nil` where the device did not say its time.
  package var clockErrorMs: Int64?

  /// An earlier run of the gateway has made the session, and may have taken a hello of it.
  package var isOfEarlierRun = false

  /// Fixes that came as early data.
  private var earlyFixes = 0
  /// Whose they were; nobody else may say hello behind them.
  private var earlyDevice: UInt32?

  package init(id: SessionID, transport: Transport = .stream) {
    self.id = id
    self.transport = transport
  }

  /// Goes on where an earlier hello has led.
  package init(
    resuming id: SessionID, transport: Transport, _ identity: DeviceIdentity, stream: UInt32, protocolVersion: UInt32,
    credential: CredentialReference, validUntilMs: Int64
  ) {
    self.init(id: id, transport: transport)
    self.protocolVersion = protocolVersion
    state = .open(identity, stream: stream)
    self.credential = credential
    self.validUntilMs = validUntilMs
    channel = .session(device: identity.device, by: credential, untilMs: validUntilMs)
  }

  /// Takes a hello: the first frame, or a later one that goes on in another stream. Not over UDP: what was sent in the old
  /// stream may come behind it, and would be taken for the new one's.
  package mutating func hello(_ greeting: Greeting, proof: Proof) throws(HelloRefusal) -> DeviceIdentity {
    guard greeting.protocolVersion >= 1 else { throw .unsupportedProtocol }
    guard greeting.nextSequence >= 1, greeting.nextSequence <= Limits.sequenceMax + 1,
      greeting.oldestHeld <= greeting.nextSequence
    else { throw .badSequence }
    let identity: DeviceIdentity
    let reference: CredentialReference
    let untilMs: Int64
    switch proof {
    case .device(let proven, let by, let until): (identity, reference, untilMs) = (proven, by, until)
    case .unknown: throw .unknownCredential
    case .revoked: throw .revoked
    case .expired: throw .expired
    }
    switch state {
    case .closing, .early: throw .malformed
    case .open(let before, _) where before.device != identity.device: throw .malformed
    case .open(_, let stream) where transport == .datagram && stream != greeting.stream: throw .malformed
    case .awaitingHello where earlyDevice ?? identity.device != identity.device: throw .malformed
    case .open, .awaitingHello: break
    }
    state = .open(identity, stream: greeting.stream)
    protocolVersion = greeting.protocolVersion
    credential = reference
    validUntilMs = untilMs
    return identity
  }

  /// Early data begins: the ticket is a device's whose credential is still good.
  package mutating func takeEarlyData(
    of identity: DeviceIdentity, stream: UInt32, by reference: CredentialReference, untilMs: Int64, policyVersion: UInt32
  ) {
    precondition(state == .awaitingHello)
    state = .early(identity, stream: stream)
    earlyDevice = identity.device
    credential = reference
    validUntilMs = untilMs
    self.policyVersion = policyVersion
  }

  /// - Returns: false above `Limits.earlyFixesMax`.
  package mutating func countEarly(_ fixes: Int) -> Bool {
    earlyFixes += fixes
    return earlyFixes <= Limits.earlyFixesMax
  }

  /// The handshake is done: hello comes next.
  package mutating func endEarlyData() {
    guard isEarly else { return }
    state = .awaitingHello
    credential = nil
    validUntilMs = .max
    policyVersion = 0
  }

  /// The credential is still good, but its end may have moved.
  package mutating func extend(untilMs: Int64) { validUntilMs = untilMs }

  package mutating func close() { state = .closing }

  package var isEarly: Bool {
    if case .early = state { return true }
    return false
  }

  /// Whose fixes are taken now, and in which stream.
  package var speaker: (identity: DeviceIdentity, stream: UInt32)? {
    switch state {
    case .early(let identity, let stream), .open(let identity, let stream): (identity, stream)
    case .awaitingHello, .closing: nil
    }
  }

  package var isOpen: Bool {
    if case .open = state { return true }
    return false
  }
}
