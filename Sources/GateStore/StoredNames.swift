internal import GateCore

/// Names in the default sink's file. Tenants are walls: what another tenant has is not found, and not hinted at.
extension SQLiteConnection {
  /// Dense indexes of a device, looked for among its tenant's only.
  borrowing func locate(tenant: String, device: String) throws(HistoryError) -> (tenant: Int64, device: Int64) {
    do throws(StoreError) {
      let tenants = try SQLiteStatement(self, "SELECT idx FROM tenant WHERE name = ?")
      tenants.bind(tenant, at: 1)
      if try tenants.step() {
        let tenantIndex = tenants.int64(0)
        let devices = try SQLiteStatement(self, "SELECT idx FROM device WHERE tenant = ? AND id = ?")
        devices.bind(tenantIndex, at: 1)
        devices.bind(device, at: 2)
        if try devices.step() { return (tenantIndex, devices.int64(0)) }
      }
    } catch {
      throw .store(error)
    }
    throw try reason(tenant, device)
  }

  borrowing func locate(tenant: String) throws(HistoryError) -> Int64 {
    do throws(StoreError) {
      let tenants = try SQLiteStatement(self, "SELECT idx FROM tenant WHERE name = ?")
      tenants.bind(tenant, at: 1)
      if try tenants.step() { return tenants.int64(0) }
    } catch {
      throw .store(error)
    }
    throw try reason(tenant, "")
  }

  /// Why there is no such device, with the names that come near.
  private borrowing func reason(_ tenant: String, _ device: String) throws(HistoryError) -> HistoryError {
    do throws(StoreError) {
      let tenants = try names("SELECT name FROM tenant WHERE ? IS NOT NULL", tenant)
      guard tenants.contains(tenant) else {
        return .unknownTenant(tenant, nearest: nearestNames(to: tenant, among: tenants))
      }
      let devices = try names("SELECT d.id FROM device d JOIN tenant t ON t.idx = d.tenant WHERE t.name = ?", tenant)
      return .unknownDevice(tenant: tenant, id: device, nearest: nearestNames(to: device, among: devices))
    } catch {
      throw .store(error)
    }
  }

  private borrowing func names(_ sql: String, _ name: String) throws(StoreError) -> [String] {
    let statement = try SQLiteStatement(self, sql)
    statement.bind(name, at: 1)
    var names: [String] = []
    while try statement.step() { names.append(statement.text(0)) }
    return names
  }
}
