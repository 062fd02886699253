/// Looks at a file of ours without changing it: for `fixgate config check`.
package enum SchemaCheck {
  /// - Throws: `.schemaTooNew`, `.notADatabase`, `.cannotOpen` and the others: the gateway could not start on it.
  package static func registry(_ path: String) throws(StoreError) { try check(path, RegistryStore.migrations.count) }
  package static func store(_ path: String) throws(StoreError) { try check(path, FixTable.migrations.count) }

  /// Highest index that a device was ever given, 0 for none; `nil` if there is no registry yet.
  package static func highestDevice(_ path: String) throws(StoreError) -> Int? {
    let connection: SQLiteConnection
    do throws(StoreError) { connection = try SQLiteConnection(path: path, access: .readOnly) } catch .cannotOpen {
      return nil
    }
    return Int(clamping: try connection.integer("SELECT coalesce(max(idx), 0) FROM device"))
  }

  private static func check(_ path: String, _ supported: Int) throws(StoreError) {
    let connection = try SQLiteConnection(path: path, access: .readOnly)
    try connection.checkVersion(supported: supported)
  }
}
