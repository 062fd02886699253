package import GateCore

/// Indexes of tenants, devices and subjects for whoever knows them by their names only, as a consumer of a stream does. A name keeps
/// its index; the default sink's file remembers them.
package struct NameIndexes {
  private struct Key: Hashable {
    var tenant: UInt32
    var name: String
  }

  /// What the snapshot is made of.
  private var builder = RegistrySnapshot.Builder()
  private var made: RegistrySnapshot?
  private var generation: UInt64 = 0
  private var tenants: [String: UInt32] = [:]
  private var devices: [Key: UInt32] = [:]
  private var subjects: [Key: UInt32] = [:]
  /// Of subjects in the file, which does not say whose they are: whoever asks for the name first has it.
  private var ownerless: [String: UInt32] = [:]
  private var (highestTenant, highestDevice, highestSubject): (UInt32, UInt32, UInt32) = (0, 0, 0)

  package init() {}

  /// Those of a default sink's file.
  package init(file: String) throws(StoreError) {
    let connection = try SQLiteConnection(path: file, access: .readOnly)
    let tenantRows = try SQLiteStatement(connection, "SELECT idx, name FROM tenant")
    while try tenantRows.step() { add(tenant: UInt32(clamping: tenantRows.int64(0)), tenantRows.text(1)) }
    let deviceRows = try SQLiteStatement(connection, "SELECT idx, tenant, id FROM device")
    while try deviceRows.step() {
      add(device: UInt32(clamping: deviceRows.int64(0)), tenant: UInt32(clamping: deviceRows.int64(1)), deviceRows.text(2))
    }
    let subjectRows = try SQLiteStatement(connection, "SELECT idx, name FROM subject")
    while try subjectRows.step() {
      let index = UInt32(clamping: subjectRows.int64(0))
      ownerless[subjectRows.text(1)] = index
      builder.addSubject(index, name: subjectRows.text(1))
      highestSubject = max(highestSubject, index)
    }
  }

  /// Whether a name could be an operator's. What others write into a stream may be anything.
  package static func isName(_ text: String) -> Bool {
    (1...64).contains(text.utf8.count) && text.utf8.allSatisfy { (0x21...0x7E).contains($0) }
  }

  package mutating func device(_ name: String, of tenantName: String) -> (tenant: UInt32, device: UInt32) {
    let tenant: UInt32
    if let known = tenants[tenantName] {
      tenant = known
    } else {
      tenant = highestTenant + 1
      add(tenant: tenant, tenantName)
    }
    if let known = devices[Key(tenant: tenant, name: name)] { return (tenant, known) }
    let device = highestDevice + 1
    add(device: device, tenant: tenant, name)
    return (tenant, device)
  }

  package mutating func subject(_ name: String, of tenant: UInt32) -> UInt32 {
    let key = Key(tenant: tenant, name: name)
    if let known = subjects[key] { return known }
    let index = ownerless.removeValue(forKey: name) ?? highestSubject + 1
    subjects[key] = index
    if index > highestSubject {
      highestSubject = index
      builder.addSubject(index, name: name)
      made = nil
    }
    return index
  }

  /// All names so far, as sinks want them.
  package var snapshot: RegistrySnapshot {
    mutating get {
      if let made { return made }
      generation += 1
      let snapshot = RegistrySnapshot(builder, generation: generation)
      made = snapshot
      return snapshot
    }
  }

  private mutating func add(tenant index: UInt32, _ name: String) {
    tenants[name] = index
    builder.addTenant(index, name: name)
    highestTenant = max(highestTenant, index)
    made = nil
  }

  private mutating func add(device index: UInt32, tenant: UInt32, _ name: String) {
    devices[Key(tenant: tenant, name: name)] = index
    builder.addDevice(index, tenant: tenant, externalID: name, revoked: false)
    highestDevice = max(highestDevice, index)
    made = nil
  }
}
