import GateConfiguration
import Gateway
import Testing

/// The list `sinks`, as operators write it.
@Suite struct SinkConfigurationTests {
  private func parse(_ text: String) throws(ConfigurationError) -> [SinkSettings] {
    try ConfigurationFile.parse(text, path: "fixgate.yaml", environment: [:]).sinks
  }

  @Test func withoutTheListThereIsTheEmbeddedStore() throws {
    #expect(try parse("workers: 1") == [.embedded])
    #expect(try parse("sinks:\n  - sqlite\n") == [.embedded])
  }

  @Test func aMappingSaysMore() throws {
    let sinks = try parse(
      """
      sinks:
        - sqlite
        - type: postgresql
          name: warehouse
          host: db.example
          port: 5433
          password_file: db.password
          sslmode: verify-ca
          optional: true
          paused: true
          batch_rows: 5_000
          start: newest
      """)
    var warehouse = SinkSettings(name: "warehouse", type: .postgresql)
    warehouse.postgres.host = "db.example"
    warehouse.postgres.port = 5_433
    warehouse.postgres.passwordFile = "db.password"
    warehouse.postgres.sslMode = .verifyCA
    warehouse.isOptional = true
    warehouse.isPaused = true
    warehouse.batchRows = 5_000
    warehouse.start = .newest
    #expect(sinks == [.embedded, warehouse])
    #expect(warehouse.passwordVariable == "FIXGATE_SINKS_WAREHOUSE_PASSWORD")
  }

  @Test func whatIsWrittenIsRead() throws {
    var configuration = Configuration()
    var sink = SinkSettings(name: "far-away", type: .postgresql)
    sink.postgres.host = "/run/postgresql"
    sink.postgres.sslMode = .disable
    sink.fields = ["position", "work"]
    configuration.sinks = [sink, .embedded]
    let text = ConfigurationFile.commented(configuration)
    #expect(try ConfigurationFile.parse(text, path: "f", environment: [:]) == configuration)
  }

  @Test(arguments: [
    ("sinks: sqlite", "'sinks' must be a list of at least one sink"),
    ("sinks: []", "'sinks' must be a list of at least one sink"),
    ("sinks: [mysql]", "'sinks' must be sqlite, or 'type:' with one of sqlite, postgresql"),
    ("sinks: [{name: a}]", "'sinks.type' must be one of sqlite, postgresql"),
    ("sinks: [{type: postgresql, pasword_file: x}]", "did you mean sinks.password_file"),
    ("sinks: [{type: postgresql, password: x}]", "no setting 'sinks.password'; did you mean sinks.password_file"),
    ("sinks: [{type: sqlite, host: x}]", "no setting 'sinks.host'"),
    ("sinks: [{type: postgresql, name: ../x}]", "'sinks.name' must be up to 32 lower-case letters"),
    ("sinks: [{type: postgresql}, {type: postgresql}]", "a name that no other sink has"),
    ("sinks: [sqlite, {type: sqlite, name: b}]", "there is one embedded store"),
    ("sinks: [{type: postgresql, start: newest}]", "'sinks.start' must be oldest for the first sink"),
    ("sinks: [{type: sqlite, start: newest}]", "no setting 'sinks.start'"),
    ("sinks: [{type: sqlite, optional: true}]", "'sinks.optional' must be false for the first sink"),
    ("sinks: [{type: postgresql, sslmode: prefer}]", "'sinks.sslmode' must be one of disable, require, verify-ca, verify-full"),
    ("sinks: [sqlite]\nsinks: [sqlite]", "duplicated key(s): 'sinks'"),
    ("sink: [sqlite]", "did you mean sinks"),
  ])
  func whatWouldNotDoIsTold(text: String, words: String) {
    do {
      let sinks = try parse(text)
      Issue.record("\(sinks)")
    } catch {
      #expect("\(error)".contains(words), "\(error)")
    }
  }
}
