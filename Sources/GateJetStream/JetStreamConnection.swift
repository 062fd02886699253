#if JetStream
import CNATS
import GateCore
import Glibc

/// Owns one connection and its JetStream context. It does not mend itself: after an error that is not about the stream, make
/// another, maybe to another server of the cluster. The library's threads end with it.
@safe package struct JetStreamConnection: ~Copyable {
  private let raw: OpaquePointer
  private let context: OpaquePointer
  private let ledger: AckLedger
  private let ledgerNumber: UInt
  private let timeoutS: Int
  private let isOver: () -> Bool

  private static let sliceMs: Int64 = 200
  /// For one server to be reached, and for one answer.
  fileprivate static let connectMsMax: Int64 = 2_000
  private static let requestMsMax: Int64 = 5_000

  /// Connects to one of the servers.
  /// - Parameters:
  ///   - window: messages that may be under way unacked.
  ///   - isOver: asked now and then while nothing comes; true = give up.
  package static func open(
    _ server: JetStreamServer, window: Int = 256, isOver: @escaping () -> Bool = { false }
  ) throws(JetStreamError) -> JetStreamConnection {
    let first = Int.random(in: 0..<server.addresses.count)
    var failure = JetStreamError.unreachable(words: "no server is named")
    for index in server.addresses.indices {
      let address = server.addresses[(first + index) % server.addresses.count]
      do throws(JetStreamError) {
        return try connect(to: address, server, window, isOver)
      } catch {
        // That one server is away says less than what another one answers.
        if case .unreachable = failure { failure = error }
        if isOver() { break }
      }
    }
    throw failure
  }

  private static func connect(
    to address: String, _ server: JetStreamServer, _ window: Int, _ isOver: @escaping () -> Bool
  ) throws(JetStreamError) -> JetStreamConnection {
    let options = try Options()
    try options.set(address, server)
    var raw: OpaquePointer?
    let status = unsafe natsConnection_Connect(&raw, options.raw)
    guard status == NATS_OK, let raw = unsafe raw else { throw JetStreamConnection.failure(toConnect: status, address) }
    let ledger = AckLedger()
    let number = AckLedger.open(ledger)
    var settings = unsafe jsOptions()
    unsafe jsOptions_Init(&settings)
    unsafe settings.Wait = Swift.min(Int64(server.timeoutS) * 1_000, requestMsMax)
    unsafe settings.PublishAsync.MaxPending = Int64(window)
    unsafe settings.PublishAsync.StallWait = sliceMs
    unsafe settings.PublishAsync.AckHandler = AckLedger.handler()
    unsafe settings.PublishAsync.AckHandlerClosure = UnsafeMutableRawPointer(bitPattern: number)
    var context: OpaquePointer?
    guard unsafe natsConnection_JetStream(&context, raw, &settings) == NATS_OK, let context = unsafe context else {
      AckLedger.close(number)
      unsafe natsConnection_Destroy(raw)
      throw .lost
    }
    return unsafe JetStreamConnection(raw, context, ledger, number, server.timeoutS, isOver)
  }

  @unsafe private init(
    _ raw: OpaquePointer, _ context: OpaquePointer, _ ledger: AckLedger, _ number: UInt, _ timeoutS: Int,
    _ isOver: @escaping () -> Bool
  ) {
    unsafe self.raw = raw
    unsafe self.context = context
    self.ledger = ledger
    ledgerNumber = number
    self.timeoutS = timeoutS
    self.isOver = isOver
  }

  deinit {
    AckLedger.close(ledgerNumber)
    unsafe jsCtx_Destroy(context)
    unsafe natsConnection_Destroy(raw)
  }

  // MARK: Streams

  /// Whether the stream is there, and as it should be.
  package borrowing func check(_ settings: StreamSettings) throws(JetStreamError) {
    let max = unsafe natsConnection_GetMaxPayload(raw)
    guard settings.longestMessageBytes <= max else { throw .tooLarge(bytes: settings.longestMessageBytes, max: Int(max)) }
    if let difference = try find(settings).difference(from: settings) { throw difference }
  }

  /// Messages of all kinds in the stream.
  package borrowing func messageCount(_ settings: StreamSettings) throws(JetStreamError) -> UInt64 {
    try find(settings).messageCount
  }

  /// Makes the stream if there is none of this name; one that is there is checked.
  /// - Returns: whether it was made.
  package borrowing func migrate(_ settings: StreamSettings) throws(JetStreamError) -> Bool {
    do throws(JetStreamError) {
      try check(settings)
      return false
    } catch .noStream {}
    try make(settings)
    try check(settings)
    return true
  }

  private borrowing func find(_ settings: StreamSettings) throws(JetStreamError) -> FoundStream {
    var info: UnsafeMutablePointer<jsStreamInfo>?
    var code = jsErrCode(0)
    let status = unsafe js_GetStreamInfo(&info, context, settings.name, nil, &code)
    guard status == NATS_OK, let info = unsafe info else { throw error(status, code, settings.name) }
    defer { unsafe jsStreamInfo_Destroy(info) }
    let config = unsafe info.pointee.Config.pointee
    var found = FoundStream()
    for i in unsafe 0..<Int(config.SubjectsLen) {
      if let subject = unsafe config.Subjects[i] { found.subjects.append(unsafe String(cString: subject)) }
    }
    found.messageCount = unsafe info.pointee.State.Msgs
    found.isOnDisk = unsafe config.Storage == js_FileStorage
    found.replicas = unsafe Int(config.Replicas)
    switch unsafe config.Retention {
    case js_WorkQueuePolicy: found.retention = .workqueue
    case js_LimitsPolicy: found.retention = .limits
    default: found.retention = nil
    }
    found.maxAgeS = unsafe config.MaxAge / 1_000_000_000
    found.maxBytes = unsafe config.MaxBytes
    found.maxMessageBytes = unsafe Int(config.MaxMsgSize)
    found.refusesWhenFull = unsafe config.Discard == js_DiscardNew
    if unsafe config.MaxMsgsPerSubject > 0 { found.otherBounds.append("max_msgs_per_subject") }
    if unsafe config.NoAck { found.otherBounds.append("no_ack") }
    if unsafe config.Sealed { found.otherBounds.append("sealed") }
    if unsafe config.Mirror != nil { found.otherBounds.append("mirror") }
    return found
  }

  private borrowing func make(_ settings: StreamSettings) throws(JetStreamError) {
    var code = jsErrCode(0)
    let status = unsafe settings.name.withCString { name in
      unsafe settings.recordSubjects.withCString { records in
        unsafe settings.gatewaySubjects.withCString { gateways in
          var subjects = unsafe [Optional(records), Optional(gateways)]
          return unsafe subjects.withUnsafeMutableBufferPointer { subjects in
            var config = unsafe jsStreamConfig()
            unsafe jsStreamConfig_Init(&config)
            unsafe config.Name = name
            unsafe config.Subjects = subjects.baseAddress
            unsafe config.SubjectsLen = 2
            unsafe config.Retention = settings.retention == .workqueue ? js_WorkQueuePolicy : js_LimitsPolicy
            unsafe config.Storage = js_FileStorage
            unsafe config.Discard = js_DiscardNew
            unsafe config.Replicas = Int64(settings.replicas)
            unsafe config.MaxAge = settings.maxAgeS * 1_000_000_000
            if settings.maxBytes > 0 { unsafe config.MaxBytes = settings.maxBytes }
            return unsafe js_AddStream(nil, context, &config, nil, &code)
          }
        }
      }
    }
    if code == JSStreamReplicasNotSupportedErr || code == JSClusterNoPeersErr { throw .notClustered(replicas: settings.replicas) }
    if code == JSStreamSubjectOverlapErr { throw .subjectsTaken(settings.name) }
    // Another gateway may have made it in the meantime.
    guard status == NATS_OK || code == JSStreamNameExistErr else { throw error(status, code, settings.name) }
  }

  // MARK: Publishing

  /// Publishes all of the messages and waits for their acks.
  /// - Throws: some of them may be stored all the same. The connection is done with.
  borrowing func publish(_ messages: [StreamMessages.Message], to stream: String) throws(JetStreamError) {
    let before = ledger.count
    var patience = Patience(timeoutS: timeoutS, isOver: isOver)
    for message in messages {
      while true {
        let status = try send(message, stream)
        if status == NATS_OK { break }
        guard status == NATS_TIMEOUT else { throw error(status, jsErrCode(0), stream) }
        // As many as the window takes are unacked.
        try look(&patience, stream)
      }
      if let failure = ledger.failure { throw error(failure, stream) }
    }
    while ledger.count < before + UInt64(messages.count) {
      var options = unsafe jsPubOptions()
      unsafe jsPubOptions_Init(&options)
      unsafe options.MaxWait = JetStreamConnection.sliceMs
      _ = unsafe js_PublishAsyncComplete(context, &options)
      try look(&patience, stream)
    }
    if let failure = ledger.failure { throw error(failure, stream) }
  }

  private borrowing func send(_ message: StreamMessages.Message, _ stream: String) throws(JetStreamError) -> natsStatus {
    unsafe message.id.withCString { id in
      unsafe stream.withCString { stream in
        var options = unsafe jsPubOptions()
        unsafe jsPubOptions_Init(&options)
        unsafe options.MsgId = id
        unsafe options.ExpectStream = stream
        return unsafe message.bytes.withUnsafeBytes {
          unsafe js_PublishAsync(context, message.subject, $0.baseAddress, Int32($0.count), &options)
        }
      }
    }
  }

  /// While acks are waited for: whether that is of use.
  private borrowing func look(_ patience: inout Patience, _ stream: String) throws(JetStreamError) {
    if let failure = ledger.failure { throw error(failure, stream) }
    guard unsafe !natsConnection_IsClosed(raw) else { throw .lost }
    try patience.check(progress: ledger.count)
  }

  /// Publishes one message and waits for its ack.
  /// - Parameter newest: sequence of the newest message on that subject; `nil` = there must be none.
  /// - Returns: its sequence in the stream.
  /// - Throws: `.acksLost`: the newest is another one.
  package borrowing func publish(
    _ bytes: [UInt8], on subject: String, after newest: UInt64?, to stream: String
  ) throws(JetStreamError) -> UInt64 {
    var ack: UnsafeMutablePointer<jsPubAck>?
    var code = jsErrCode(0)
    let status = unsafe stream.withCString { stream in
      var options = unsafe jsPubOptions()
      unsafe jsPubOptions_Init(&options)
      unsafe options.ExpectStream = stream
      if let newest { unsafe options.ExpectLastSubjectSeq = newest } else { unsafe options.ExpectNoMessage = true }
      return unsafe bytes.withUnsafeBytes {
        unsafe js_Publish(&ack, context, subject, $0.baseAddress, Int32($0.count), &options, &code)
      }
    }
    if code == JSStreamWrongLastSequenceErr { throw .acksLost }
    if status == NATS_NO_RESPONDERS { throw .noLeader(stream) }
    guard status == NATS_OK, let ack = unsafe ack else { throw error(status, code, stream) }
    defer { unsafe jsPubAck_Destroy(ack) }
    return unsafe ack.pointee.Sequence
  }

  // MARK: Single messages

  /// The newest message on a subject; `nil` if there is none.
  borrowing func last(on subject: String, of stream: String) throws(JetStreamError) -> (sequence: UInt64, bytes: [UInt8])? {
    var message: OpaquePointer?
    var code = jsErrCode(0)
    let status = unsafe js_GetLastMsg(&message, context, stream, subject, nil, &code)
    return unsafe try taken(message, status, code, stream)
  }

  /// The message at this place of the stream; `nil` if there is none.
  borrowing func message(at sequence: UInt64, of stream: String) throws(JetStreamError) -> (sequence: UInt64, bytes: [UInt8])? {
    var message: OpaquePointer?
    var code = jsErrCode(0)
    let status = unsafe js_GetMsg(&message, context, stream, sequence, nil, &code)
    return unsafe try taken(message, status, code, stream)
  }

  @unsafe private borrowing func taken(
    _ message: OpaquePointer?, _ status: natsStatus, _ code: jsErrCode, _ stream: String
  ) throws(JetStreamError) -> (sequence: UInt64, bytes: [UInt8])? {
    if code == JSNoMessageFoundErr || (status == NATS_NOT_FOUND && code != JSStreamNotFoundErr) { return nil }
    guard status == NATS_OK, let message = unsafe message else { throw error(status, code, stream) }
    defer { unsafe natsMsg_Destroy(message) }
    return unsafe (natsMsg_GetSequence(message), JetStreamConnection.payload(message))
  }

  @unsafe static func payload(_ message: OpaquePointer) -> [UInt8] {
    let count = unsafe Int(natsMsg_GetDataLength(message))
    guard count > 0, let data = unsafe natsMsg_GetData(message) else { return [] }
    return unsafe Array(UnsafeRawBufferPointer(start: data, count: count))
  }

  /// Removes messages on `subject` below `sequence`.
  package borrowing func purge(_ subject: String, below sequence: UInt64, of stream: String) throws(JetStreamError) {
    var code = jsErrCode(0)
    let status = unsafe subject.withCString { subject in
      var options = unsafe jsOptions()
      unsafe jsOptions_Init(&options)
      unsafe options.Stream.Purge.Subject = subject
      unsafe options.Stream.Purge.Sequence = sequence
      return unsafe js_PurgeStream(context, stream, &options, &code)
    }
    guard status == NATS_OK else { throw error(status, code, stream) }
  }

  // MARK: Consumers

  /// A subscription to a durable consumer, which is made if there is none.
  /// - Returns: the caller owns it.
  @unsafe borrowing func subscribe(
    _ consumer: ConsumerSettings, of settings: StreamSettings
  ) throws(JetStreamError) -> OpaquePointer {
    var code = jsErrCode(0)
    var subscription: OpaquePointer?
    let status = unsafe consumer.name.withCString { name in
      unsafe settings.recordSubjects.withCString { filter in
        unsafe settings.name.withCString { stream in
          var config = unsafe jsConsumerConfig()
          unsafe jsConsumerConfig_Init(&config)
          unsafe config.Durable = name
          unsafe config.DeliverPolicy = js_DeliverAll
          unsafe config.AckPolicy = js_AckExplicit
          unsafe config.AckWait = Int64(consumer.ackWaitS) * 1_000_000_000
          unsafe config.MaxAckPending = Int64(consumer.messagesMax)
          unsafe config.FilterSubject = filter
          let made = unsafe js_AddConsumer(nil, context, stream, &config, nil, &code)
          guard made == NATS_OK else { return made }
          var options = unsafe jsSubOptions()
          unsafe jsSubOptions_Init(&options)
          unsafe options.Stream = stream
          unsafe options.Consumer = name
          return unsafe js_PullSubscribe(&subscription, context, filter, name, nil, &options, &code)
        }
      }
    }
    guard status == NATS_OK, let subscription = unsafe subscription else {
      let failure = error(status, code, settings.name)
      if case .server(let words) = failure { throw .otherConsumer(consumer.name, words: words) }
      throw failure
    }
    return unsafe subscription
  }

  /// Messages that the consumer has not acked yet, given out or not.
  borrowing func remaining(_ consumer: String, of stream: String) throws(JetStreamError) -> UInt64 {
    var info: UnsafeMutablePointer<jsConsumerInfo>?
    var code = jsErrCode(0)
    let status = unsafe js_GetConsumerInfo(&info, context, stream, consumer, nil, &code)
    guard status == NATS_OK, let info = unsafe info else { throw error(status, code, stream) }
    defer { unsafe jsConsumerInfo_Destroy(info) }
    return unsafe info.pointee.NumPending + UInt64(max(info.pointee.NumAckPending, 0))
  }

  /// Waits until the server has read all that was sent.
  borrowing func flush(_ stream: String) throws(JetStreamError) {
    let status = unsafe natsConnection_FlushTimeout(raw, JetStreamConnection.requestMsMax)
    guard status == NATS_OK else { throw error(status, jsErrCode(0), stream) }
  }

  var isClosed: Bool { unsafe natsConnection_IsClosed(raw) }

  // MARK: Errors

  private static func failure(toConnect status: natsStatus, _ address: String) -> JetStreamError {
    let words = lastWords(status)
    switch status {
    case NATS_CONNECTION_AUTH_FAILED, NATS_NOT_PERMITTED: return .refused
    case NATS_SSL_ERROR, NATS_SECURE_CONNECTION_WANTED, NATS_SECURE_CONNECTION_REQUIRED: return .tls(words: words)
    default: return .unreachable(words: "\(address): \(words)")
    }
  }

  private borrowing func error(_ failure: AckLedger.Failure, _ stream: String) -> JetStreamError {
    let status = natsStatus(failure.status)
    return status == NATS_NO_RESPONDERS ? .noLeader(stream) : error(status, jsErrCode(failure.code), stream, failure.words)
  }

  borrowing func error(
    _ status: natsStatus, _ code: jsErrCode, _ stream: String, _ words: String? = nil
  ) -> JetStreamError {
    switch code {
    case JSNotEnabledErr, JSNotEnabledForAccountErr, JSNoAccountErr: return .notEnabled
    case JSStreamNotFoundErr, JSStreamNotMatchErr: return .noStream(stream)
    case JSStreamMessageExceedsMaximumErr:
      return .server(words: "a message is longer than the stream takes; lower message_bytes")
    case JSAccountResourcesExceededErr, JSInsufficientResourcesErr, JSMemoryResourcesExceededErr, JSStorageResourcesExceededErr,
      JSStreamLimitsErr, JSStreamStoreFailedErr, JSStreamMaxStreamBytesExceededErr:
      return .full(words: words ?? JetStreamConnection.lastWords(status))
    default: break
    }
    switch status {
    case NATS_TIMEOUT: return .timedOut(seconds: timeoutS)
    case NATS_NO_RESPONDERS: return .notEnabled
    case NATS_CONNECTION_CLOSED, NATS_CONNECTION_DISCONNECTED, NATS_IO_ERROR, NATS_STALE_CONNECTION: return .lost
    case NATS_NOT_PERMITTED: return .notPermitted
    case NATS_MAX_PAYLOAD: return .server(words: "a message is longer than max_payload; lower message_bytes")
    default: return unsafe natsConnection_IsClosed(raw) ? .lost : .server(words: words ?? JetStreamConnection.lastWords(status))
    }
  }

  /// What the library says of the last call of this thread that failed.
  private static func lastWords(_ status: natsStatus) -> String {
    var code = status
    let words = unsafe nats_GetLastError(&code).map { unsafe String(cString: $0) } ?? ""
    let plain = unsafe natsStatus_GetText(status).map { unsafe String(cString: $0) } ?? "status \(status.rawValue)"
    return String((words.isEmpty ? plain : words).prefix(300))
  }
}

/// Owns the options of one connection to be.
@safe private struct Options: ~Copyable {
  let raw: OpaquePointer

  init() throws(JetStreamError) {
    var made: OpaquePointer?
    guard unsafe natsOptions_Create(&made) == NATS_OK, let made = unsafe made else {
      throw .unreachable(words: "out of memory")
    }
    unsafe raw = made
  }

  deinit { unsafe natsOptions_Destroy(raw) }

  borrowing func set(_ address: String, _ server: JetStreamServer) throws(JetStreamError) {
    unsafe natsOptions_SetURL(raw, "nats://" + address)
    unsafe natsOptions_SetName(raw, "fixgate")
    unsafe natsOptions_SetAllowReconnect(raw, false)
    unsafe natsOptions_SetTimeout(raw, min(Int64(server.timeoutS) * 1_000, JetStreamConnection.connectMsMax))
    switch server.login {
    case .none: break
    case .user(let user, let password): unsafe natsOptions_SetUserInfo(raw, user, password)
    case .token(let token): unsafe natsOptions_SetToken(raw, token)
    case .credentials(let path): unsafe natsOptions_SetUserCredentialsFromFiles(raw, path, nil)
    }
    guard let tls = server.tls else { return }
    unsafe natsOptions_SetSecure(raw, true)
    unsafe natsOptions_SetExpectedHostname(raw, JetStreamServer.host(of: address))
    if let path = tls.rootCertificate, unsafe natsOptions_LoadCATrustedCertificates(raw, path) != NATS_OK {
      throw .file(path: path)
    }
    if let path = tls.certificate, let key = tls.key, unsafe natsOptions_LoadCertificatesChain(raw, path, key) != NATS_OK {
      throw .file(path: path)
    }
  }
}

/// How long to wait for something that comes bit by bit: until nothing has come for a while.
struct Patience {
  private let timeoutS: Int
  private let isOver: () -> Bool
  private var seen: UInt64 = .max
  private var since = Instant(ns: 0)

  init(timeoutS: Int, isOver: @escaping () -> Bool) {
    self.timeoutS = timeoutS
    self.isOver = isOver
  }

  /// - Parameter progress: what has come by now.
  mutating func check(progress: UInt64) throws(JetStreamError) {
    let now = MonotonicClock.now()
    if progress != seen {
      seen = progress
      since = now
    }
    guard !isOver(), now.since(since) < UInt64(timeoutS) * 1_000_000_000 else { throw .timedOut(seconds: timeoutS) }
  }
}

enum MonotonicClock {
  static func now() -> Instant {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(ns: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
  }
}
#endif
