internal import GateCore

extension Column {
  /// The unsigned ones (uint32 in `Fix`), by `index`.
  static let unsigned: FixFields = {
    var fields = FixFields()
    for column in allCases {
      switch column {
      case .altitudeEllipsoidDm, .altitudeMslDm, .signalDbm, .fixMode, .source, .trigger, .event, .priority, .activity,
        .charging, .connectivity:
        break
      default: fields.insert(FixFields(column))
      }
    }
    return fields
  }()
}

/// The schema of the default sink's file.
///
/// `fix` has a rowid and a unique index instead of its key as the table: a batch then touches a leaf of the index, not of
/// the rows, for each device. Measured with batches of 50,000: 10 to 60 percent more rows a second for 16 percent more bytes.
enum FixTable {
  /// Names of `Column.allCases`, in the order of `Column.index`.
  static let columnNames = Column.allCases.map(\.wireName)

  static let migrations = [
    """
    CREATE TABLE fix(
      device INTEGER, stream INTEGER, sequence INTEGER, tenant INTEGER, receive_time_ms INTEGER, verdict INTEGER,
      lane INTEGER, transport INTEGER, policy_version INTEGER, subject INTEGER, fix_time_ms INTEGER,
      latitude_e7 INTEGER, longitude_e7 INTEGER, \(columnNames.map { $0 + " INTEGER" }.joined(separator: ", ")),
      monotonic_ms INTEGER, work_subject TEXT, task TEXT, stop TEXT, originals TEXT, attributes TEXT,
      UNIQUE (device, stream, sequence));
    CREATE TABLE latest(
      device INTEGER PRIMARY KEY, tenant INTEGER, subject INTEGER, stream INTEGER, sequence INTEGER, fix_time_ms INTEGER,
      receive_time_ms INTEGER, latitude_e7 INTEGER, longitude_e7 INTEGER, horizontal_accuracy_dm INTEGER,
      speed_cm_per_s INTEGER, course_cdeg INTEGER, battery_percent INTEGER) STRICT;
    CREATE TABLE quarantine(
      id INTEGER PRIMARY KEY AUTOINCREMENT, device INTEGER, stream INTEGER, sequence INTEGER, tenant INTEGER, code INTEGER,
      receive_time_ms INTEGER, record BLOB, UNIQUE (device, stream, sequence)) STRICT;
    CREATE INDEX quarantine_age ON quarantine(receive_time_ms);
    CREATE TABLE refused(
      id INTEGER PRIMARY KEY AUTOINCREMENT, device INTEGER, stream INTEGER, sequence INTEGER, tenant INTEGER, code INTEGER,
      receive_time_ms INTEGER, UNIQUE (device, stream, sequence)) STRICT;
    CREATE INDEX refused_age ON refused(receive_time_ms);
    CREATE TABLE gap(
      device INTEGER, stream INTEGER, first INTEGER, count INTEGER, tenant INTEGER, reason INTEGER, receive_time_ms INTEGER,
      PRIMARY KEY (device, stream, first)) STRICT, WITHOUT ROWID;
    CREATE TABLE set_aside(
      lsn INTEGER PRIMARY KEY, count INTEGER NOT NULL, reason TEXT NOT NULL, record BLOB) STRICT;
    CREATE TABLE tenant(idx INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
    CREATE TABLE subject(idx INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
    CREATE TABLE device(idx INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, id TEXT NOT NULL, UNIQUE (tenant, id)) STRICT;
    CREATE TABLE cursor(
      id INTEGER PRIMARY KEY CHECK (id = 1), next_lsn INTEGER NOT NULL, syncs INTEGER NOT NULL, stored INTEGER NOT NULL,
      already_stored INTEGER NOT NULL, held INTEGER NOT NULL, refused INTEGER NOT NULL, gaps INTEGER NOT NULL,
      set_aside INTEGER NOT NULL) STRICT;
    CREATE VIEW track AS SELECT
      t.name AS tenant, d.id AS device, s.name AS subject,
      strftime('%Y-%m-%dT%H:%M:%S', f.fix_time_ms / 1000, 'unixepoch') || printf('.%03dZ', f.fix_time_ms % 1000) AS time,
      f.latitude_e7 / 1e7 AS latitude, f.longitude_e7 / 1e7 AS longitude,
      f.horizontal_accuracy_dm / 10.0 AS accuracy_m, f.speed_cm_per_s / 100.0 AS speed_m_per_s,
      f.course_cdeg / 100.0 AS course_deg, f.battery_percent, f.altitude_ellipsoid_dm / 10.0 AS altitude_ellipsoid_m,
      f.altitude_msl_dm / 10.0 AS altitude_msl_m, f.vertical_accuracy_dm / 10.0 AS vertical_accuracy_m,
      f.satellites_used, f.hdop_tenths / 10.0 AS hdop, f.event, f.priority, f.odometer_m, f.verdict, f.task, f.stop,
      f.stream, f.sequence
      FROM fix f LEFT JOIN device d ON d.idx = f.device LEFT JOIN tenant t ON t.idx = f.tenant
      LEFT JOIN subject s ON s.idx = f.subject;
    """,
    // `month`: year x 100 + month.
    """
    CREATE TABLE usage(
      tenant INTEGER, month INTEGER, fixes INTEGER NOT NULL, held INTEGER NOT NULL, refused INTEGER NOT NULL,
      bytes INTEGER NOT NULL, PRIMARY KEY (tenant, month)) STRICT, WITHOUT ROWID;
    CREATE TABLE usage_device(
      month INTEGER, tenant INTEGER, device INTEGER, PRIMARY KEY (month, tenant, device)) STRICT, WITHOUT ROWID;
    """,
  ]
}

/// Which columns of `fix` one row fills. A statement names only those: the others are NULL at no cost of binding.
struct RowShape: Equatable, Hashable, BitwiseCopyable {
  struct Extras: OptionSet, Hashable, BitwiseCopyable {
    let rawValue: UInt32
    static let subject = Extras(rawValue: 1)
    static let policyVersion = Extras(rawValue: 2)
    static let workSubject = Extras(rawValue: 4)
    static let task = Extras(rawValue: 8)
    static let stop = Extras(rawValue: 16)
    static let originals = Extras(rawValue: 32)
    static let attributes = Extras(rawValue: 64)
    static let all = Extras(rawValue: 127)
  }

  var fields: FixFields
  var extras: Extras

  var hasText: Bool { !extras.intersection([.workSubject, .task, .stop, .originals, .attributes]).isEmpty }

  /// Every column.
  static let full = RowShape(
    fields: FixFields.columns.union([.monotonic, .position, .time]), extras: .all)

  /// Names of the columns in the order in which `RowInserter` binds them.
  var columns: [String] {
    var names = ["device", "stream", "sequence", "tenant", "receive_time_ms", "verdict", "lane", "transport"]
    if fields.contains(.time) { names.append("fix_time_ms") }
    if fields.contains(.position) { names += ["latitude_e7", "longitude_e7"] }
    for column in Column.allCases where fields.contains(FixFields(column)) { names.append(column.wireName) }
    if fields.contains(.monotonic) { names.append("monotonic_ms") }
    if extras.contains(.subject) { names.append("subject") }
    if extras.contains(.policyVersion) { names.append("policy_version") }
    if extras.contains(.workSubject) { names.append("work_subject") }
    if extras.contains(.task) { names.append("task") }
    if extras.contains(.stop) { names.append("stop") }
    if extras.contains(.originals) { names.append("originals") }
    if extras.contains(.attributes) { names.append("attributes") }
    return names
  }
}
