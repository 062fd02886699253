#if JetStream
/// What NATS, or the way to it, refused. Texts are the library's or the server's own; neither has secrets or payloads in them.
package enum JetStreamError: Error, Equatable, Sendable {
  /// No server was reached. Try again.
  case unreachable(words: String)
  /// The server does not let us in. Try again once that is mended.
  case refused
  /// TLS did not come about.
  case tls(words: String)
  /// A file of credentials or certificates cannot be read.
  case file(path: String)
  /// The server, or the account, has no JetStream.
  case notEnabled
  /// There is no stream of this name.
  case noStream(String)
  /// Nobody takes messages of the stream: the cluster is choosing a leader, or the stream is gone. Try again.
  case noLeader(String)
  /// There is one, with other settings than the configuration's.
  case otherStream(String, setting: String, found: String, wanted: String)
  /// A stream with replicas needs a cluster.
  case notClustered(replicas: Int)
  /// Another stream has the subjects.
  case subjectsTaken(String)
  /// Messages would be longer than the server takes.
  case tooLarge(bytes: Int, max: Int)
  /// The stream, the account or the disk is full. Nothing was dropped.
  case full(words: String)
  /// The user may not do that.
  case notPermitted
  /// No answer in time; the connection was given up. Whether a message was stored is not known: it is sent again.
  case timedOut(seconds: Int)
  /// The connection ended. As above.
  case lost
  /// The stream has not what it acked. The value is spent.
  case acksLost
  /// The durable consumer is there with other settings.
  case otherConsumer(String, words: String)
  /// Anything else.
  case server(words: String)

  /// Whether it may be over in a moment without anybody's doing.
  package var passes: Bool {
    switch self {
    case .unreachable, .timedOut, .lost, .noLeader: true
    default: false
    }
  }
}

extension JetStreamError: CustomStringConvertible {
  /// What happened and what to do about it. The caller names the sink.
  package var description: String {
    switch self {
    case .unreachable(let words): "NATS cannot be reached: \(words)"
    case .refused:
      "NATS refuses user, password, token or credentials; check 'user', the file or variable with the secret, and the server's users"
    case .tls(let words):
      "TLS to NATS did not come about: \(words); check 'tls', root_certificate, certificate and key"
    case .file(let path): "\(path): cannot be read; check its place and its owner"
    case .notEnabled: "the NATS server has no JetStream; set 'jetstream' there, and for this account"
    case .noStream(let name): "NATS has no stream '\(name)'; run 'fixgate store migrate'"
    case .noLeader(let name): "stream '\(name)' takes no messages: it has no leader just now, or is gone; it is tried again"
    case .otherStream(let name, let setting, let found, let wanted):
      "stream '\(name)' has \(setting) \(found), the configuration wants \(wanted); change one of the two, or name another stream"
    case .notClustered(let replicas):
      "\(replicas) replicas need a NATS cluster of as many servers; set 'replicas: 1', and know that one disk is then all there is"
    case .subjectsTaken(let name): "another stream has the subjects of '\(name)'; set 'subject' to another beginning"
    case .tooLarge(let bytes, let max):
      "messages of up to \(bytes) bytes do not fit the server's or the stream's bound of \(max); lower message_bytes, or raise max_payload there"
    case .full(let words): "the stream takes no more, and has dropped nothing: \(words); let consumers catch up, or raise its bound"
    case .notPermitted: "NATS does not permit that to this user; grant it the stream's subjects, $JS.API.> and _INBOX.>"
    case .timedOut(let seconds):
      "NATS did not answer within \(seconds) s; it is tried again, see whether the stream has a leader, or raise timeout_s"
    case .lost: "the connection to NATS ended; it is made anew"
    case .acksLost: "the stream has lost what it had acked; it gets it again from the journal. See sync_interval of the servers"
    case .otherConsumer(let name, let words):
      "consumer '\(name)' of the stream has other settings (\(words)); remove it there, or choose another name with --consumer"
    case .server(let words): "NATS refused: \(words)"
    }
  }
}
#endif
