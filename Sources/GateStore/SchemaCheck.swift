/// Looks at a file of ours without changing it: for `fixgate config check`.
package enum SchemaCheck {
  /// - Throws: `.schemaTooNew`, `.notADatabase`, `.cannotOpen` and the others: the gateway could not start on it.
  package static func registry(_ path: String) throws(StoreError) { try check(path, RegistryStore.migrations.count) }
  package static func store(_ path: String) throws(StoreError) { try check(path, FixTable.migrations.count) }

  private static func check(_ path: String, _ supported: Int) throws(StoreError) {
    let connection = try SQLiteConnection(path: path, access: .readOnly)
    try connection.checkVersion(supported: supported)
  }
}
