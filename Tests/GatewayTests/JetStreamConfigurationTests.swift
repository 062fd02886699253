import GateConfiguration
import Gateway
import Testing

/// Entries of type jetstream in the list `sinks`.
@Suite struct JetStreamConfigurationTests {
  private func parse(_ text: String) throws(ConfigurationError) -> [SinkSettings] {
    try ConfigurationFile.parse(text, path: "fixgate.yaml", environment: [:]).sinks
  }

  @Test func aMappingSaysMore() throws {
    let sinks = try parse(
      """
      sinks:
        - sqlite
        - type: jetstream
          name: stream
          servers: ["n1.example:4222", "tls://n2.example"]
          credentials_file: fixgate.creds
          root_certificate: nats-ca.crt
          retention: limits
          max_days: 7
          max_bytes: 1_000_000_000
          sync_interval_s: 10
          batch_rows: 5_000
      """)
    var stream = SinkSettings(name: "stream", type: .jetstream)
    stream.jetStream.servers = ["n1.example:4222", "tls://n2.example"]
    stream.jetStream.credentialsFile = "fixgate.creds"
    stream.jetStream.rootCertificate = "nats-ca.crt"
    stream.jetStream.retention = .limits
    stream.jetStream.maxDays = 7
    stream.jetStream.maxBytes = 1_000_000_000
    stream.jetStream.syncIntervalS = 10
    stream.batchRows = 5_000
    #expect(sinks == [.embedded, stream])
  }

  @Test func whatIsWrittenIsRead() throws {
    var configuration = Configuration()
    var sink = SinkSettings(name: "far-away", type: .jetstream)
    sink.jetStream.servers = ["[::1]:4222"]
    sink.jetStream.user = "fixgate"
    sink.jetStream.usesTLS = false
    configuration.sinks = [sink, .embedded]
    let text = ConfigurationFile.commented(configuration)
    #expect(try ConfigurationFile.parse(text, path: "f", environment: [:]) == configuration)
  }

  @Test(arguments: [
    ("n1.example:4222", "n1.example:4222"), ("n1.example", "n1.example:4222"), ("tls://n1:7", "n1:7"), ("nats://n1", "n1:4222"),
    ("[::1]", "[::1]:4222"), ("[::1]:7", "[::1]:7"),
  ])
  func serversHaveAPort(text: String, address: String) { #expect(JetStreamSettings.address(text) == address) }

  @Test(arguments: [
    ("servers: [\"nats://fixgate:secret@n1\"]", "without user or password"),
    ("servers: [\"http://n1\"]", "without user or password"),
    ("stream: a.b", "'sinks.stream' must be up to 64 letters"),
    ("subject: \"a.*\"", "'sinks.subject' must be letters"),
    ("retention: interest", "'sinks.retention' must be one of workqueue, limits"),
    ("replicas: 6", "'sinks.replicas' must be a whole number from 1 to 5"),
    ("password: x", "no setting 'sinks.password'; did you mean sinks.password_file"),
  ])
  func whatWouldNotDoIsTold(line: String, words: String) {
    do {
      let sinks = try parse("sinks:\n  - type: jetstream\n    \(line)\n")
      Issue.record("\(sinks)")
    } catch {
      #expect("\(error)".contains(words), "\(error)")
    }
  }
}
