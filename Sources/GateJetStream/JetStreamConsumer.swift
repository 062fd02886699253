#if JetStream
import CNATS

/// Who takes messages out of a stream.
package struct ConsumerSettings: Equatable, Sendable {
  /// Of the durable consumer. The server keeps for it what it has not acked.
  package var name: String
  /// Messages that are not acked for so long are given out again.
  package var ackWaitS: Int
  /// Messages that may be out unacked.
  package var messagesMax: Int

  package init(name: String, ackWaitS: Int, messagesMax: Int) {
    self.name = name
    self.ackWaitS = ackWaitS
    self.messagesMax = messagesMax
  }
}

/// A durable pull consumer of the records in a stream. What is fetched is held until it is acked or given back.
@safe package struct JetStreamConsumer: ~Copyable {
  private let connection: JetStreamConnection
  private let subscription: OpaquePointer
  private let settings: StreamSettings
  private let consumer: String
  private var held: [OpaquePointer] = unsafe []

  /// Connects, checks the stream and makes the consumer if there is none.
  package init(
    _ server: JetStreamServer, _ settings: StreamSettings, _ consumer: ConsumerSettings,
    isOver: @escaping () -> Bool = { false }
  ) throws(JetStreamError) {
    let opened = try JetStreamConnection.open(server, isOver: isOver)
    try opened.check(settings)
    let subscribed = unsafe try opened.subscribe(consumer, of: settings)
    connection = opened
    unsafe subscription = subscribed
    self.settings = settings
    self.consumer = consumer.name
  }

  deinit {
    // At once, and not once they have waited for an ack that does not come.
    for unsafe message in unsafe held {
      _ = unsafe natsMsg_Nak(message, nil)
      unsafe natsMsg_Destroy(message)
    }
    unsafe natsSubscription_Destroy(subscription)
  }

  /// Payloads of the next messages, at most `count`; none if none come in time.
  package mutating func fetch(count: Int, waitMs: Int) throws(JetStreamError) -> [[UInt8]] {
    var list = unsafe natsMsgList()
    var code = jsErrCode(0)
    let status = unsafe natsSubscription_Fetch(&list, subscription, Int32(count), Int64(waitMs), &code)
    guard status == NATS_OK else {
      if status == NATS_TIMEOUT, !connection.isClosed { return [] }
      throw connection.error(status, code, settings.name)
    }
    var payloads: [[UInt8]] = []
    for i in unsafe 0..<Int(list.Count) {
      guard let message = unsafe list.Msgs[i] else { continue }
      // It is ours from now on.
      unsafe list.Msgs[i] = nil
      unsafe payloads.append(JetStreamConnection.payload(message))
      unsafe held.append(message)
    }
    unsafe natsMsgList_Destroy(&list)
    return payloads
  }

  /// What was fetched is stored: it is not given out again.
  package mutating func acknowledge() throws(JetStreamError) {
    var failure: JetStreamError?
    let messages = unsafe held
    unsafe held = []
    for unsafe message in unsafe messages {
      let status = unsafe natsMsg_Ack(message, nil)
      if status != NATS_OK { failure = failure ?? connection.error(status, jsErrCode(0), settings.name) }
      unsafe natsMsg_Destroy(message)
    }
    if let failure { throw failure }
    try connection.flush(settings.name)
  }

  /// Messages that this consumer has not acked yet, given out or not.
  package borrowing func remaining() throws(JetStreamError) -> UInt64 {
    try connection.remaining(consumer, of: settings.name)
  }
}
#endif
