package import GateCore

extension RegistryStore {
  /// Everybody who has records of his own: subjects, and devices for when nobody carries them.
  package func owners() throws(StoreError) -> [(tenant: UInt32, owner: KeyOwner)] {
    var owners: [(tenant: UInt32, owner: KeyOwner)] = []
    let statement = try SQLiteStatement(
      connection, "SELECT tenant, idx, 0 FROM subject UNION ALL SELECT tenant, idx, 1 FROM device")
    while try statement.step() {
      let index = UInt32(clamping: statement.int64(1))
      owners.append((UInt32(clamping: statement.int64(0)), statement.int64(2) == 0 ? .subject(index) : .device(index)))
    }
    return owners
  }

  /// Devices that hold or held something of the owner: its own, or all that the subject has ever carried.
  package func devices(of owner: KeyOwner) throws(StoreError) -> [UInt32] {
    if owner.isDevice { return [owner.index] }
    let statement = try SQLiteStatement(connection, "SELECT DISTINCT device FROM assignment WHERE subject = ?1")
    statement.bind(Int64(owner.index), at: 1)
    var devices: [UInt32] = []
    while try statement.step() { devices.append(UInt32(clamping: statement.int64(0))) }
    return devices
  }

  /// The owner that an operator names: a subject, or a device for when nobody carried it.
  package func owner(
    tenant: String, subject: String?, device: String?
  ) throws(RegistryError) -> (tenant: UInt32, owner: KeyOwner) {
    let index = try knownTenant(tenant)
    if let device { return (index, .device(try knownDevice(tenant, device))) }
    let name = subject ?? ""
    if let found = try find("SELECT idx FROM subject WHERE tenant = ?2 AND name = ?1", name, Int64(index)) {
      return (index, .subject(found))
    }
    let others = try names("SELECT name FROM subject WHERE tenant = ?1", Int64(index))
    throw .unknownSubject(tenant: tenant, name: name, nearest: nearestNames(to: name, among: others))
  }

  /// The names that go with indexes, for a receipt: they are never given twice.
  package func names(tenant: UInt32, owner: KeyOwner) throws(StoreError) -> (tenant: String, owner: String) {
    let statement = try SQLiteStatement(
      connection,
      owner.isDevice
        ? "SELECT t.name, d.id FROM tenant t, device d WHERE t.idx = ?1 AND d.idx = ?2"
        : "SELECT t.name, s.name FROM tenant t, subject s WHERE t.idx = ?1 AND s.idx = ?2")
    statement.bind(Int64(tenant), at: 1)
    statement.bind(Int64(owner.index), at: 2)
    return try statement.step() ? (statement.text(0), statement.text(1)) : ("", "")
  }

  /// - Throws: `.unknownTenant`.
  package func index(ofTenant name: String) throws(RegistryError) -> UInt32 { try knownTenant(name) }
}

/// Whose rows they are where numbers are not the registry's own.
package struct OwnerNames: Equatable, Sendable {
  package var tenant: String
  /// `nil`: what a device sent while nobody carried it.
  package var subject: String?
  /// All that the subject has ever carried, or the device itself.
  package var devices: [String]

  package init(tenant: String, subject: String?, devices: [String]) {
    self.tenant = tenant
    self.subject = subject
    self.devices = devices
  }
}

extension RegistryStore {
  package func allNames(of target: SubjectRange) throws(StoreError) -> OwnerNames {
    let names = try names(tenant: target.tenant, owner: target.owner)
    return OwnerNames(
      tenant: names.tenant, subject: target.owner.isDevice ? nil : names.owner,
      devices: Array(Set(try carried(by: target.owner).map(\.id))))
  }

  /// When which device was the owner's; ms since 1970-01-01 UTC, `nil` = until now. A device is its own always.
  package func carried(by owner: KeyOwner) throws(StoreError) -> [(device: UInt32, id: String, sinceMs: Int64?, untilMs: Int64?)] {
    let statement = try SQLiteStatement(
      connection,
      owner.isDevice
        ? "SELECT idx, id, NULL, NULL FROM device WHERE idx = ?1"
        : """
          SELECT a.device, d.id, a.since_ms, a.until_ms FROM assignment a JOIN device d ON d.idx = a.device
          WHERE a.subject = ?1 ORDER BY a.since_ms
          """)
    statement.bind(Int64(owner.index), at: 1)
    var carried: [(device: UInt32, id: String, sinceMs: Int64?, untilMs: Int64?)] = []
    while try statement.step() {
      carried.append((UInt32(clamping: statement.int64(0)), statement.text(1), statement.optional(2), statement.optional(3)))
    }
    return carried
  }
}
