import GateCore

/// One place that the journal is drained to, as the list `sinks` names it. The first of the list is the one that the equation
/// in `status` speaks of.
package struct SinkSettings: Equatable, Sendable {
  package enum Kind: String, CaseIterable, Sendable {
    /// The embedded store; its file and bounds are in the section `sqlite`.
    case sqlite
    case postgresql
    case jetstream
  }

  /// Where a sink begins that has nothing of this journal yet.
  package enum Start: String, CaseIterable, Sendable {
    /// With the oldest record that the journal still has.
    case oldest
    /// With what comes from then on.
    case newest
  }

  package var name: String
  package var type: Kind
  package var start = Start.oldest
  /// It takes nothing; what it lacks stays in the journal.
  package var isPaused = false
  /// The journal goes on without it at its bounds: what it lacks then, it never gets.
  package var isOptional = false
  /// Where it is and what for: a tenant's data goes only where the tenant lets it.
  package var region = SinkLabel.localRegion
  package var purpose = SinkLabel(name: "").purpose
  /// Names of `FieldMask` that it gets; empty = all.
  package var fields: [String] = []
  /// Rows in one transaction at most. The embedded store has its own in the section `sqlite`, and so for the next.
  package var batchRows = 20_000
  /// Time between transactions at least, while little is to be stored.
  package var intervalMs = 200
  package var postgres = PostgresSettings()
  package var jetStream = JetStreamSettings()

  package init(name: String, type: Kind) {
    self.name = name
    self.type = type
  }

  /// Today's embedded store.
  package static let embedded = SinkSettings(name: Kind.sqlite.rawValue, type: .sqlite)

  /// Names stand in file names, in names of the environment and in logs.
  package static func isName(_ text: String) -> Bool {
    (1...32).contains(text.utf8.count)
      && text.utf8.allSatisfy { (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2D || $0 == 0x5F }
  }

  var label: SinkLabel { SinkLabel(name: name, region: region, purpose: purpose, fields: fields) }
  /// `nil` = it gets everything.
  var mask: FieldMask? { fields.isEmpty ? nil : FieldMask(fields) }

  /// Where the environment may have the password, or the token, of this sink.
  package var passwordVariable: String {
    "FIXGATE_SINKS_" + name.uppercased().map { $0 == "-" ? "_" : String($0) }.joined() + "_PASSWORD"
  }
}

/// A PostgreSQL server and the database in it.
package struct PostgresSettings: Equatable, Sendable {
  package enum TLSMode: String, CaseIterable, Sendable {
    case disable, require
    case verifyCA = "verify-ca"
    case verifyFull = "verify-full"
  }

  /// Name, address, or the folder of a Unix socket.
  package var host = "localhost"
  package var port = 5_432
  package var database = "fixgate"
  package var user = "fixgate"
  /// Empty: from the environment, or none.
  package var passwordFile = ""
  package var sslMode = TLSMode.verifyFull
  package var rootCertificate = ""
  /// Parts that `store migrate` makes of table `fix`, by hash of tenant and device; 0 = one table.
  package var partitions = 0
  /// An answer that takes longer counts as none.
  package var timeoutS = 30
  /// How long held and refused fixes are kept.
  package var quarantineDays = 30

  package init() {}
}

/// Keys of one entry of `sinks`.
package enum SinkKey: SettingTable {
  typealias Settings = SinkSettings

  package static func all(of type: SinkSettings.Kind) -> [SettingKey<SinkSettings>] {
    switch type {
    case .sqlite: common
    case .postgresql: common + pace + postgres
    case .jetstream: common + pace + jetStream
    }
  }

  private static let common = [
    SettingKey<SinkSettings>(
      path: "name", comment: "", expects: "up to 32 lower-case letters, digits, - and _", isList: false,
      set: { sink, values in
        guard values.count == 1, SinkSettings.isName(values[0]) else { return false }
        sink.name = values[0]
        return true
      },
      get: { [$0.name] }),
    choice("type", "", \.type),
    flag("paused", "", \.isPaused),
    flag("optional", "", \.isOptional),
    text("region", "", \.region, expects: "a word"),
    text("purpose", "", \.purpose, expects: "a word"),
    list(
      "fields", "", \.fields, expects: "fields: \(FieldMask.names.joined(separator: ", "))", mayBeEmpty: true,
      check: { FieldMask([$0]) != nil }),
  ]

  private static let pace = [
    choice("start", "", \.start),
    number("batch_rows", "", \.batchRows, 100...1_000_000),
    number("interval_ms", "", \.intervalMs, 1...60_000),
  ]

  private static let postgres = [
    text("host", "", \.postgres.host, expects: "a name, an address or the folder of a Unix socket"),
    number("port", "", \.postgres.port, 1...65_535),
    text("database", "", \.postgres.database, expects: "a name"),
    text("user", "", \.postgres.user, expects: "a name"),
    text("password_file", "", \.postgres.passwordFile),
    choice("sslmode", "", \.postgres.sslMode),
    text("root_certificate", "", \.postgres.rootCertificate),
    number("partitions", "", \.postgres.partitions, 0...1_024),
    number("timeout_s", "", \.postgres.timeoutS, 1...3_600),
    number("quarantine_days", "", \.postgres.quarantineDays, 1...3_650),
  ]
}
