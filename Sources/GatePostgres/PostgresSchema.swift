#if PostgreSQL
import GateCore
import GateStore

/// The tables of fixgate in a PostgreSQL database, all in the schema `fixgate`. Column names are those of the embedded store;
/// `tenant`, `device` and `subject` are numbers of this database, which its own tables name, so that gateways with registries
/// of their own write the same rows for the same device.
package enum PostgresSchema {
  static var version: Int { 1 }

  /// - Parameter partitions: of table `fix`, by hash of (tenant, device); 0 = one table.
  private static func tables(partitions: Int) -> String {
    let columns = Column.allCases.map { "\($0.wireName) \(type(of: $0))" }.joined(separator: ", ")
    var text = """
      CREATE TABLE fixgate.fix(
        tenant integer NOT NULL, device integer NOT NULL, stream bigint NOT NULL, sequence bigint NOT NULL,
        receive_time_ms bigint NOT NULL, verdict integer NOT NULL, lane integer NOT NULL, transport integer NOT NULL,
        policy_version bigint, subject integer, fix_time_ms bigint, latitude_e7 integer, longitude_e7 integer,
        \(columns), monotonic_ms bigint, work_subject text, task text, stop text, originals jsonb, attributes jsonb,
        PRIMARY KEY (tenant, device, stream, sequence)) \(partitions > 0 ? "PARTITION BY HASH (tenant, device)" : "");
      CREATE INDEX fix_received ON fixgate.fix USING brin (receive_time_ms);
      CREATE INDEX fix_time ON fixgate.fix USING brin (fix_time_ms);

      """
    for part in 0..<partitions {
      text += """
        CREATE TABLE fixgate.fix_\(part) PARTITION OF fixgate.fix FOR VALUES WITH (MODULUS \(partitions), REMAINDER \(part));

        """
    }
    return text + """
      CREATE TABLE fixgate.latest(
        device integer PRIMARY KEY, tenant integer NOT NULL, subject integer, stream bigint NOT NULL,
        sequence bigint NOT NULL, fix_time_ms bigint NOT NULL, receive_time_ms bigint NOT NULL,
        latitude_e7 integer NOT NULL, longitude_e7 integer NOT NULL, horizontal_accuracy_dm bigint,
        speed_cm_per_s bigint, course_cdeg bigint, battery_percent bigint);
      CREATE TABLE fixgate.quarantine(
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant integer NOT NULL, device integer NOT NULL,
        stream bigint NOT NULL, sequence bigint NOT NULL, code integer NOT NULL, receive_time_ms bigint NOT NULL,
        record bytea, UNIQUE (tenant, device, stream, sequence));
      CREATE INDEX quarantine_received ON fixgate.quarantine(receive_time_ms);
      CREATE TABLE fixgate.refused(
        tenant integer NOT NULL, device integer NOT NULL, stream bigint NOT NULL, sequence bigint NOT NULL,
        code integer NOT NULL, receive_time_ms bigint NOT NULL, PRIMARY KEY (tenant, device, stream, sequence));
      CREATE INDEX refused_received ON fixgate.refused(receive_time_ms);
      CREATE TABLE fixgate.gap(
        tenant integer NOT NULL, device integer NOT NULL, stream bigint NOT NULL, first bigint NOT NULL,
        count bigint NOT NULL, reason integer NOT NULL, receive_time_ms bigint NOT NULL,
        PRIMARY KEY (tenant, device, stream, first));
      CREATE TABLE fixgate.set_aside(
        gateway text NOT NULL, lsn bigint NOT NULL, count bigint NOT NULL, reason text NOT NULL, record bytea,
        PRIMARY KEY (gateway, lsn));
      CREATE TABLE fixgate.tenant(idx integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE);
      CREATE TABLE fixgate.device(
        idx integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant integer NOT NULL, id text NOT NULL,
        UNIQUE (tenant, id));
      CREATE TABLE fixgate.subject(
        idx integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant integer NOT NULL, name text NOT NULL,
        UNIQUE (tenant, name));
      CREATE TABLE fixgate.cursor(
        gateway text PRIMARY KEY, next_lsn bigint NOT NULL, stored bigint NOT NULL DEFAULT 0,
        already_stored bigint NOT NULL DEFAULT 0, held bigint NOT NULL DEFAULT 0, refused bigint NOT NULL DEFAULT 0,
        gaps bigint NOT NULL DEFAULT 0, set_aside bigint NOT NULL DEFAULT 0, changed timestamptz NOT NULL DEFAULT now());
      CREATE VIEW fixgate.track AS SELECT
        t.name AS tenant, d.id AS device, s.name AS subject,
        CASE WHEN f.fix_time_ms BETWEEN 0 AND 32503680000000 THEN to_timestamp(f.fix_time_ms / 1000.0) END AS time,
        f.latitude_e7 / 1e7::float8 AS latitude, f.longitude_e7 / 1e7::float8 AS longitude,
        f.horizontal_accuracy_dm / 10::float8 AS accuracy_m, f.speed_cm_per_s / 100::float8 AS speed_m_per_s,
        f.course_cdeg / 100::float8 AS course_deg, f.battery_percent, f.altitude_ellipsoid_dm / 10::float8 AS altitude_ellipsoid_m,
        f.altitude_msl_dm / 10::float8 AS altitude_msl_m, f.vertical_accuracy_dm / 10::float8 AS vertical_accuracy_m,
        f.satellites_used, f.hdop_tenths / 10::float8 AS hdop, f.event, f.priority, f.odometer_m, f.verdict, f.task, f.stop,
        f.stream, f.sequence
        FROM fixgate.fix f LEFT JOIN fixgate.device d ON d.idx = f.device LEFT JOIN fixgate.tenant t ON t.idx = f.tenant
        LEFT JOIN fixgate.subject s ON s.idx = f.subject;
      CREATE TABLE fixgate.schema(version integer NOT NULL, partitions integer NOT NULL);
      INSERT INTO fixgate.schema VALUES (1, \(partitions));
      """
  }

  /// Unsigned columns of 32 bits do not fit `integer`.
  static func isWide(_ column: Column) -> Bool { Column.unsigned.contains(FixFields(column)) }
  private static func type(of column: Column) -> String { isWide(column) ? "bigint" : "integer" }

  /// What the sink fills by COPY and empties with each transaction. Not in any log of the server, gone with the connection.
  static let staging = """
    CREATE TEMP TABLE staged_fix(is_latest boolean, LIKE fixgate.fix) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE staged_other(
      kind smallint, tenant integer, device integer, stream bigint, sequence bigint, code integer, receive_time_ms bigint,
      count bigint, record bytea) ON COMMIT DELETE ROWS;
    """

  // MARK: Versions

  private static func state(
    _ connection: borrowing PostgresConnection
  ) throws(PostgresError) -> (version: Int, partitions: Int)? {
    guard try connection.query("SELECT to_regclass('fixgate.schema')").first?.first.flatMap({ $0 }) != nil else { return nil }
    let row = try connection.query("SELECT version, partitions FROM fixgate.schema").first ?? []
    guard row.count == 2, let version = row[0].flatMap({ Int($0) }), let partitions = row[1].flatMap({ Int($0) }) else {
      return nil
    }
    return (version, partitions)
  }

  /// Whether a sink can work with what is there.
  package static func check(_ connection: borrowing PostgresConnection) throws(PostgresError) {
    guard let found = try state(connection) else { throw .noSchema }
    if found.version > version { throw .schemaTooNew(found: found.version, supported: version) }
    if found.version < version { throw .schemaTooOld(found: found.version, supported: version) }
  }

  /// As `check`, and whether the user may do what a sink, an erasure and retention do. Changes nothing.
  package static func checkAll(_ connection: borrowing PostgresConnection) throws(PostgresError) {
    try check(connection)
    try connection.run("BEGIN; \(staging) SELECT 1 FROM fixgate.track LIMIT 0; ROLLBACK")
    let row = try connection.query(
      """
      SELECT bool_and(has_table_privilege('fixgate.' || name, 'SELECT') AND has_table_privilege('fixgate.' || name, 'INSERT')
      AND (name NOT IN ('fix', 'latest', 'quarantine', 'refused')
      OR has_table_privilege('fixgate.' || name, 'UPDATE') AND has_table_privilege('fixgate.' || name, 'DELETE')))
      FROM unnest(ARRAY['fix', 'latest', 'quarantine', 'refused', 'gap', 'set_aside', 'tenant', 'device', 'subject', 'cursor'])
      AS name
      """)
    guard row.first?.first == "t" else { throw .server(state: "42501") }
  }

  /// Makes or updates the tables, in one transaction; two that try at once wait for each other.
  /// - Parameter partitions: for new tables; those that are there must have so many.
  /// - Returns: the version that was there before; `nil` = none.
  package static func migrate(
    _ connection: borrowing PostgresConnection, partitions: Int
  ) throws(PostgresError) -> Int? {
    try connection.run("BEGIN; SELECT pg_advisory_xact_lock(7443)")
    do throws(PostgresError) {
      let found = try state(connection)
      if let found {
        if found.version > version { throw .schemaTooNew(found: found.version, supported: version) }
        if found.partitions != partitions { throw .partitions(found: found.partitions, wanted: partitions) }
      } else {
        try connection.run("CREATE SCHEMA IF NOT EXISTS fixgate; " + tables(partitions: partitions))
      }
      try connection.run("COMMIT")
      return found?.version
    } catch {
      _ = try? connection.run("ROLLBACK")
      throw error
    }
  }
}
#endif
