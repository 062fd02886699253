package import GateCore

extension RegistryStore {
  /// Where a tenant's data may go: its region, and the sinks it may go to.
  package struct EgressEntry: Equatable, Sendable {
    package var tenant: String
    package var egress: TenantEgress
  }

  /// - Parameter tenant: `nil` = of all tenants.
  package func egress(tenant: String? = nil) throws(RegistryError) -> [EgressEntry] {
    if let tenant { _ = try knownTenant(tenant) }
    do throws(StoreError) {
      let statement = try SQLiteStatement(
        connection,
        """
        SELECT t.name, e.region, s.sink FROM tenant t LEFT JOIN egress e ON e.tenant = t.idx
        LEFT JOIN egress_sink s ON s.tenant = t.idx WHERE ?1 IS NULL OR t.name = ?1 ORDER BY t.name, s.sink
        """)
      if let tenant { statement.bind(tenant, at: 1) }
      var entries: [EgressEntry] = []
      while try statement.step() {
        let name = statement.text(0)
        if entries.last?.tenant != name {
          let egress =
            statement.isNull(1) ? TenantEgress() : TenantEgress(region: statement.text(1), sinks: [])
          entries.append(EgressEntry(tenant: name, egress: egress))
        }
        if !statement.isNull(1), !statement.isNull(2) {
          entries[entries.count - 1].egress.sinks.append(statement.text(2))
        }
      }
      return entries
    } catch {
      throw .store(error)
    }
  }

  package func setEgress(_ egress: TenantEgress, tenant: String) throws(RegistryError) {
    try RegistryStore.check(egress.region)
    for sink in egress.sinks { try RegistryStore.check(sink) }
    try change { () throws(RegistryError) in
      let owner = Int64(try knownTenant(tenant))
      try run("DELETE FROM egress_sink WHERE tenant = ?1", owner)
      try run("DELETE FROM egress WHERE tenant = ?1", owner)
      do throws(StoreError) {
        let region = try SQLiteStatement(connection, "INSERT INTO egress(tenant, region) VALUES (?1, ?2)")
        region.bind(owner, at: 1)
        region.bind(egress.region, at: 2)
        try region.run()
        let sink = try SQLiteStatement(connection, "INSERT OR IGNORE INTO egress_sink(tenant, sink) VALUES (?1, ?2)")
        for name in egress.sinks {
          sink.bind(owner, at: 1)
          sink.bind(name, at: 2)
          try sink.run()
        }
      } catch {
        throw .store(error)
      }
    }
  }
}
