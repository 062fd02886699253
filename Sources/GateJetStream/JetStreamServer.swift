#if JetStream
/// Where the servers of a cluster are and who asks.
package struct JetStreamServer: Sendable {
  package enum Login: Sendable {
    case none
    case user(String, password: String)
    case token(String)
    /// A file with a user's JWT and seed, as `nsc` writes it.
    case credentials(path: String)
  }

  package struct TLS: Sendable {
    /// PEM; `nil` = what the system trusts.
    package var rootCertificate: String?
    /// PEM, of the client; both or neither.
    package var certificate: String?
    package var key: String?

    package init(rootCertificate: String?, certificate: String?, key: String?) {
      self.rootCertificate = rootCertificate
      self.certificate = certificate
      self.key = key
    }
  }

  /// `host:port`, each a server of the same cluster.
  package var addresses: [String]
  package var login: Login
  /// `nil`: in the clear.
  package var tls: TLS?
  /// For each answer.
  package var timeoutS: Int

  package init(addresses: [String], login: Login, tls: TLS?, timeoutS: Int) {
    self.addresses = addresses
    self.login = login
    self.tls = tls
    self.timeoutS = timeoutS
  }

  /// The name or address in front of the port, as a certificate has it.
  static func host(of address: String) -> String {
    if address.hasPrefix("[") { return String(address.dropFirst().prefix { $0 != "]" }) }
    return String(address.prefix { $0 != ":" })
  }
}

/// A stream, as the configuration wants it.
package struct StreamSettings: Equatable, Sendable {
  package enum Retention: String, CaseIterable, Sendable {
    /// A message goes once the consumer has it.
    case workqueue
    /// Messages stay until their age or the stream's size says otherwise; any number of consumers.
    case limits
  }

  package var name: String
  /// First tokens of all subjects.
  package var subject: String
  package var replicas: Int
  package var retention: Retention
  /// 0 = for ever.
  package var maxAgeS: Int64
  /// 0 = as the server has room.
  package var maxBytes: Int64
  /// A message is about as long as this.
  package var messageBytes: Int

  package init(
    name: String, subject: String, replicas: Int, retention: Retention, maxAgeS: Int64, maxBytes: Int64, messageBytes: Int
  ) {
    self.name = name
    self.subject = subject
    self.replicas = replicas
    self.retention = retention
    self.maxAgeS = maxAgeS
    self.maxBytes = maxBytes
    self.messageBytes = messageBytes
  }

  /// Records: tenant and shard. What a gateway says of itself: one token. proto/README, "Stored records".
  var recordSubjects: String { subject + ".*.*" }
  var gatewaySubjects: String { subject + ".*" }
  func gatewaySubject(_ gateway: String) -> String { subject + "." + gateway }
  func asideSubject(_ gateway: String) -> String { subject + "." + gateway + ".aside" }

  /// Tenants' names may have dots, which would part a token in two.
  static func token(_ tenant: String) -> String { tenant.replacing(".", with: "%2E") }

  /// Longest message that a sink sends, its header included.
  var longestMessageBytes: Int { messageBytes + StreamMessages.slackBytes }
}

/// What a server says of a stream.
struct FoundStream: Equatable, Sendable {
  var messageCount: UInt64 = 0
  var subjects: [String] = []
  var isOnDisk = true
  var replicas = 1
  /// `nil`: another policy.
  var retention: StreamSettings.Retention?
  var maxAgeS: Int64 = 0
  /// 0 or less: no bound. So is the next.
  var maxBytes: Int64 = 0
  var maxMessageBytes = 0
  var refusesWhenFull = true
  /// Bounds that fixgate does not set, by their names.
  var otherBounds: [String] = []

  /// The first difference that matters, in the words of the configuration or of NATS.
  func difference(from settings: StreamSettings) -> JetStreamError? {
    func differs(_ setting: String, _ found: some CustomStringConvertible, _ wanted: some CustomStringConvertible) -> JetStreamError {
      .otherStream(settings.name, setting: setting, found: found.description, wanted: wanted.description)
    }
    for subject in [settings.recordSubjects, settings.gatewaySubjects]
    where !subjects.contains(subject) && !subjects.contains(settings.subject + ".>") && !subjects.contains(">") {
      return differs("subjects", subjects.joined(separator: ","), subject)
    }
    if !isOnDisk { return differs("storage", "memory", "file") }
    if replicas != settings.replicas { return differs("replicas", replicas, settings.replicas) }
    if retention != settings.retention {
      return differs("retention", retention?.rawValue ?? "interest", settings.retention.rawValue)
    }
    if !refusesWhenFull { return differs("discard", "old", "new, or what was acked is dropped") }
    if maxAgeS != settings.maxAgeS { return differs("max_age in seconds", maxAgeS, settings.maxAgeS) }
    if max(maxBytes, 0) != settings.maxBytes { return differs("max_bytes", max(maxBytes, 0), settings.maxBytes) }
    if let other = otherBounds.first { return differs(other, "set", "it not to be") }
    if maxMessageBytes > 0, maxMessageBytes < settings.longestMessageBytes {
      return .tooLarge(bytes: settings.longestMessageBytes, max: maxMessageBytes)
    }
    return nil
  }
}
#endif
