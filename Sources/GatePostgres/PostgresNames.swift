#if PostgreSQL
import GateCore
import GateStore

/// What this gateway's indexes of tenants, devices and subjects are called in the database. Names that are new there are given
/// a number; numbers are looked up once a connection.
struct PostgresNames {
  /// By the gateway's index; 0 = not looked up.
  private var tenants: [Int32] = []
  private var devices: [Int32] = []
  private var subjects: [Int32] = []

  func device(_ index: UInt32) -> (tenant: Int32, device: Int32)? {
    guard Int(index) < devices.count, devices[Int(index)] != 0 else { return nil }
    return (tenantOfDevice[Int(index)], devices[Int(index)])
  }

  /// `nil`: it has no name.
  func subject(_ index: UInt32) -> Int32? {
    guard index != 0, Int(index) < subjects.count, subjects[Int(index)] != 0 else { return nil }
    return subjects[Int(index)]
  }

  private var tenantOfDevice: [Int32] = []

  /// Looks up what these records name. In a transaction of its own, so that gateways do not wait for each other's rows.
  mutating func resolve(
    _ pending: borrowing PendingRecords, _ registry: RegistrySnapshot, _ connection: borrowing PostgresConnection
  ) throws(PostgresError) {
    var newDevices: Set<UInt32> = []
    var newSubjects: [UInt32: UInt32] = [:]
    let bytes = pending.bytes
    for entries in [pending.fixes, pending.others] {
      for entry in entries {
        if device(entry.device) == nil, registry.knows(device: entry.device) { newDevices.insert(entry.device) }
        let index = bytes.span.load32(at: entry.at + Record.subjectOffset)
        if index != 0, subject(index) == nil, !registry.subjectName(index).isEmpty, registry.knows(device: entry.device) {
          newSubjects[index] = registry.tenant(ofDevice: entry.device)
        }
      }
    }
    if newDevices.isEmpty && newSubjects.isEmpty { return }
    let owners = newDevices.map { registry.tenant(ofDevice: $0) } + newSubjects.values
    try resolve(tenants: Set(owners), registry, connection)
    try look(
      up: newDevices.map { (tenants[Int(registry.tenant(ofDevice: $0))], registry.externalID(ofDevice: $0), $0) },
      in: "device", name: "id", connection
    ) { index, tenant, number in
      PostgresNames.set(&devices, index, number)
      PostgresNames.set(&tenantOfDevice, index, tenant)
    }
    try look(
      up: newSubjects.map { (tenants[Int($0.value)], registry.subjectName($0.key), $0.key) }, in: "subject", name: "name",
      connection
    ) { index, _, number in PostgresNames.set(&subjects, index, number) }
  }

  private mutating func resolve(
    tenants wanted: Set<UInt32>, _ registry: RegistrySnapshot, _ connection: borrowing PostgresConnection
  ) throws(PostgresError) {
    for index in wanted.sorted() where Int(index) >= tenants.count || tenants[Int(index)] == 0 {
      let name = registry.tenantName(index)
      let find = "SELECT idx FROM fixgate.tenant WHERE name = $1"
      var found = try connection.query(find, [name])
      if found.isEmpty {
        _ = try connection.query("INSERT INTO fixgate.tenant(name) VALUES ($1) ON CONFLICT DO NOTHING", [name])
        found = try connection.query(find, [name])
      }
      guard let number = found.first?.first?.flatMap({ Int32($0) }) else { throw .cursorMoved }
      PostgresNames.set(&tenants, index, number)
    }
  }

  /// Finds numbers by tenant and name, and makes those that are missing.
  private func look(
    up wanted: [(tenant: Int32, name: String, index: UInt32)], in table: String, name column: String,
    _ connection: borrowing PostgresConnection, _ body: (_ index: UInt32, _ tenant: Int32, _ number: Int32) -> Void
  ) throws(PostgresError) {
    if wanted.isEmpty { return }
    let names = [
      "{" + wanted.map { "\($0.tenant)" }.joined(separator: ",") + "}",
      "{" + wanted.map { PostgresNames.quoted($0.name) }.joined(separator: ",") + "}",
    ]
    let asked = "unnest($1::integer[], $2::text[]) WITH ORDINALITY AS w(tenant, name, place)"
    let find = """
      SELECT w.place, t.idx FROM \(asked) JOIN fixgate.\(table) t ON t.tenant = w.tenant AND t.\(column) = w.name
      """
    var found = try connection.query(find, names)
    if found.count < wanted.count {
      _ = try connection.query(
        """
        INSERT INTO fixgate.\(table)(tenant, \(column)) SELECT w.tenant, w.name FROM \(asked)
        WHERE NOT EXISTS (SELECT FROM fixgate.\(table) t WHERE t.tenant = w.tenant AND t.\(column) = w.name)
        ORDER BY w.tenant, w.name ON CONFLICT DO NOTHING
        """, names)
      found = try connection.query(find, names)
    }
    for row in found {
      guard row.count == 2, let place = row[0].flatMap({ Int($0) }), let number = row[1].flatMap({ Int32($0) }) else {
        continue
      }
      let entry = wanted[place - 1]
      body(entry.index, entry.tenant, number)
    }
  }

  private static func quoted(_ text: String) -> String {
    "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
  }

  private static func set(_ numbers: inout [Int32], _ index: UInt32, _ number: Int32) {
    if numbers.count <= Int(index) { numbers += [Int32](repeating: 0, count: Int(index) + 1 - numbers.count) }
    numbers[Int(index)] = number
  }
}
#endif
