/// Servers of a NATS cluster and the stream there.
package struct JetStreamSettings: Equatable, Sendable {
  package enum Retention: String, CaseIterable, Sendable {
    /// A message goes once the consumer has it.
    case workqueue
    /// It stays for `maxDays`, for any number of consumers.
    case limits
  }

  /// `host:port`, or with a scheme in front.
  package var servers = ["localhost:4222"]
  package var stream = "FIXGATE"
  /// First tokens of all subjects.
  package var subject = "fixgate"
  /// Parts into which a tenant's devices are split.
  package var shards = 16
  package var replicas = 3
  package var retention = Retention.workqueue
  /// 0 = for ever. So is the next as large as the server lets it be.
  package var maxDays = 0
  package var maxBytes: Int64 = 0
  /// About how long a message gets.
  package var messageBytes = 32_768
  /// Messages that may be under way unacked.
  package var window = 256
  /// The servers sync what they have acked at least so often: `sync_interval` there.
  package var syncIntervalS = 120
  /// With a user the secret is its password, without one a token.
  package var user = ""
  package var passwordFile = ""
  package var credentialsFile = ""
  package var usesTLS = true
  package var rootCertificate = ""
  package var certificate = ""
  package var key = ""
  /// An answer that takes longer counts as none.
  package var timeoutS = 10

  package init() {}

  /// Such as `nats.example:4222`: without a scheme, with a port.
  package static func address(_ server: String) -> String {
    let address = server.split(separator: "://", maxSplits: 1).last.map(String.init) ?? server
    let port = address.drop { $0 != "]" }.isEmpty ? address.contains(":") : address.contains("]:")
    return port ? address : address + ":4222"
  }

  /// Secrets do not belong into addresses.
  static func isServer(_ text: String) -> Bool {
    let hasScheme = text.contains("://")
    return (!hasScheme || text.hasPrefix("nats://") || text.hasPrefix("tls://"))
      && !address(text).hasPrefix(":") && text.utf8.allSatisfy { $0 > 0x20 && $0 != 0x40 && $0 != 0x7F }
  }

  /// Of a stream: letters, digits, - and _.
  static func isName(_ text: String) -> Bool {
    (1...64).contains(text.utf8.count) && text.utf8.allSatisfy(isTokenByte)
  }

  /// Tokens with dots between them.
  static func isSubject(_ text: String) -> Bool {
    text.utf8.count <= 64
      && text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy {
        !$0.isEmpty && $0.allSatisfy(isTokenByte)
      }
  }

  private static func isTokenByte(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x5F: true
    default: false
    }
  }
}

extension SinkKey {
  static let jetStream = [
    list(
      "servers", "", \.jetStream.servers, expects: "host:port of each server, without user or password",
      check: JetStreamSettings.isServer),
    name("stream", \.jetStream.stream, expects: "up to 64 letters, digits, - and _", JetStreamSettings.isName),
    name("subject", \.jetStream.subject, expects: "letters, digits, - and _ with dots between", JetStreamSettings.isSubject),
    number("shards", "", \.jetStream.shards, 1...1_024),
    number("replicas", "", \.jetStream.replicas, 1...5),
    choice("retention", "", \.jetStream.retention),
    number("max_days", "", \.jetStream.maxDays, 0...3_650),
    number("max_bytes", "", \.jetStream.maxBytes, 0...Int64.max),
    number("message_bytes", "", \.jetStream.messageBytes, 1_024...(8 << 20)),
    number("window", "", \.jetStream.window, 1...16_384),
    number("sync_interval_s", "", \.jetStream.syncIntervalS, 0...3_600),
    text("user", "", \.jetStream.user, expects: "a name"),
    text("password_file", "", \.jetStream.passwordFile),
    text("credentials_file", "", \.jetStream.credentialsFile),
    flag("tls", "", \.jetStream.usesTLS),
    text("root_certificate", "", \.jetStream.rootCertificate),
    text("certificate", "", \.jetStream.certificate),
    text("key", "", \.jetStream.key),
    number("timeout_s", "", \.jetStream.timeoutS, 1...3_600),
  ]

  private static func name(
    _ path: String, _ at: any WritableKeyPath<SinkSettings, String> & Sendable, expects: String,
    _ check: @escaping @Sendable (String) -> Bool
  ) -> SettingKey<SinkSettings> {
    SettingKey(
      path: path, comment: "", expects: expects, isList: false,
      set: { sink, values in
        guard values.count == 1, check(values[0]) else { return false }
        sink[keyPath: at] = values[0]
        return true
      },
      get: { [$0[keyPath: at]] })
  }
}
