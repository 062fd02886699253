import GateCore

/// What a worker keeps of the device behind one session over UDP: 72 bytes, since there may be a million of them. What few of
/// them have lies beside the table, in `ConversationExtra`.
struct Conversation {
  enum State: UInt8 {
    /// Nobody's slot.
    case vacant
    case awaitingHello
    /// As `awaitingHello`, in a session of an earlier run, which may have taken one.
    case awaitingHelloAgain
    /// The hello was good; the sequencer has not answered it yet.
    case greeted
    case welcome
    /// Was welcome in an earlier run; the sequencer of this one has not heard of it.
    case resumed
    /// Told that it is over; nothing more is taken.
    case closing
  }

  /// Of an open conversation.
  struct Known: Equatable, BitwiseCopyable {
    var device: UInt32
    var stream: UInt32
    var credential: CredentialReference
    /// ms since 1970-01-01 UTC; `.max` = the credential does not end.
    var validUntilMs: Int64
  }

  /// The endpoint's number for it.
  private(set) var session: UInt64 = 0
  private var credentialSelector: UInt64 = 0
  private(set) var validUntilMs: Int64 = .max
  private var clockErrorMs: Int64 = unknownClock
  /// The limiter's word for messages.
  var frameWord: UInt64 = 0
  private(set) var generation: UInt32 = 0
  private(set) var device: UInt32 = 0
  private var stream: UInt32 = 0
  private var policyVersion: UInt32 = 0
  /// The backlog window that the device was told last.
  private var toldWindow: UInt32 = 0
  /// Low half of the version of the registry that the credential was last held against.
  var registryVersion: UInt32 = 0
  /// Position of its answer among those that wait for the end of the turn; -1 = none does.
  var pending: Int32 = -1
  private var protocolVersion: UInt8 = 0
  private var credentialKind = CredentialKind.token
  private(set) var state = State.vacant
  /// Acks that will still tell the window, since any of them may be lost.
  private var windowTellings: UInt8 = 0

  private static let unknownClock = Int64.min

  static let vacant = Conversation()

  private init() {}

  /// A session whose hello is to come.
  /// - Parameter isOfEarlierRun: it was made by one, which may have taken a hello.
  init(session: UInt64, generation: UInt32, isOfEarlierRun: Bool = false) {
    self.session = session
    self.generation = generation
    state = isOfEarlierRun ? .awaitingHelloAgain : .awaitingHello
  }

  /// A session of an earlier run. Its credential is looked at again when its device talks.
  /// - Returns: `nil` unless the device has to say hello again.
  init?(session: UInt64, generation: UInt32, resuming facts: SessionFacts) {
    guard let stream = facts.stream, let credential = facts.credential, facts.device != 0 else { return nil }
    self.init(session: session, generation: generation)
    (device, self.stream, policyVersion) = (facts.device, stream, facts.policyVersion)
    protocolVersion = UInt8(clamping: facts.protocolVersion)
    (credentialKind, credentialSelector) = (credential.kind, credential.selector)
    validUntilMs = facts.validUntilMs
    clockErrorMs = facts.clockErrorMs ?? Conversation.unknownClock
    registryVersion = .max
    state = .resumed
  }

  /// `nil` before hello.
  var known: Known? {
    guard isOpen else { return nil }
    return Known(device: device, stream: stream, credential: credential, validUntilMs: validUntilMs)
  }

  /// What is worth keeping for the next run of the gateway.
  func facts(_ extra: ConversationExtra?, tenant: UInt32, authorities: UInt32) -> SessionFacts {
    var facts = SessionFacts()
    guard isOpen else {
      if case .key(let selector)? = extra?.channel { facts.credential = CredentialReference(kind: .key, selector: selector) }
      return facts
    }
    (facts.device, facts.tenant, facts.policyVersion) = (device, tenant, policyVersion)
    facts.protocolVersion = UInt16(protocolVersion)
    facts.credential = credential
    facts.authorities = credentialKind == .certificate ? authorities : 0
    facts.validUntilMs = validUntilMs
    facts.clockErrorMs = clockErrorMs == Conversation.unknownClock ? nil : clockErrorMs
    // Work for fixes that carry none has no room in a slot: the next hello brings it again.
    if isWelcome, extra?.work.isEmpty ?? true { facts.stream = stream }
    return facts
  }

  var isOpen: Bool { state == .greeted || isWelcome }
  var isWelcome: Bool { state == .welcome || state == .resumed }
  /// The sequencer has heard of it in this run.
  var isIntroduced: Bool { state == .greeted || state == .welcome }
  private var credential: CredentialReference { CredentialReference(kind: credentialKind, selector: credentialSelector) }

  /// As `Intake` wants it.
  func makeSession(index: Int, registry: RegistrySnapshot, extra: ConversationExtra?) -> Session {
    let id = SessionID(datagramIndex: index, generation: generation)
    var made =
      isOpen
      ? Session(
        resuming: id, transport: .datagram, registry.identity(ofDevice: device), stream: stream,
        protocolVersion: UInt32(protocolVersion), credential: credential, validUntilMs: validUntilMs)
      : Session(id: id, transport: .datagram)
    made.isOfEarlierRun = state == .awaitingHelloAgain
    made.policyVersion = policyVersion
    made.clockErrorMs = clockErrorMs == Conversation.unknownClock ? nil : clockErrorMs
    if let extra {
      made.work = extra.work
      if !isOpen { made.channel = extra.channel }
    }
    return made
  }

  /// Keeps what a message has changed.
  mutating func keep(_ made: borrowing Session) {
    policyVersion = made.policyVersion
    clockErrorMs = made.clockErrorMs ?? Conversation.unknownClock
    guard case .open(let identity, let stream) = made.state, let credential = made.credential else { return }
    device = identity.device
    protocolVersion = UInt8(clamping: made.protocolVersion)
    self.stream = stream
    (credentialKind, credentialSelector) = (credential.kind, credential.selector)
    validUntilMs = made.validUntilMs
    if state == .awaitingHello || state == .awaitingHelloAgain { state = .greeted }
  }

  /// The window that the next answer may take for known. A changed one is told three times.
  mutating func knownWindow(now window: UInt32) -> UInt32 {
    if toldWindow != window {
      toldWindow = window
      windowTellings = 3
    }
    guard windowTellings > 0 else { return window }
    windowTellings -= 1
    return ~window
  }

  /// The sequencer has taken its hello, or knows it from an earlier run.
  mutating func welcome() { state = .welcome }
  mutating func close() { state = .closing }
  mutating func extend(untilMs: Int64) { validUntilMs = untilMs }
}

/// What few conversations have.
struct ConversationExtra {
  /// What the handshake has shown; only until hello.
  var channel = ChannelProof.none
  /// Default work as an encoded field.
  var work: [UInt8] = []

  var isEmpty: Bool { channel == .none && work.isEmpty }
}
