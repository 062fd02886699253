package import GateCore

/// One read token, without its secret. Times are ms since 1970-01-01 UTC.
package struct ReadTokenEntry: Sendable {
  package enum State: String, Sendable { case good, expired, revoked }

  package var number: Int64
  package var tenant: String
  package var roles: ReadRoles
  /// SHA-256 of the token.
  package var hash: SecretHash
  package var createdMs: Int64
  package var expiresMs: Int64?
  package var revokedMs: Int64?

  package func state(at nowMs: Int64) -> State {
    if revokedMs != nil { return .revoked }
    return nowMs < expiresMs ?? .max ? .good : .expired
  }
}

extension RegistryStore {
  /// Enters a read token.
  /// - Returns: the token's number.
  package func addReadToken(
    tenant: String, roles: ReadRoles, hash: SecretHash, expiresMs: Int64?, nowMs: Int64
  ) throws(RegistryError) -> Int64 {
    precondition(!roles.isEmpty)
    return try change { () throws(RegistryError) in
      let owner = try knownTenant(tenant)
      guard try readTokens(tenant: tenant).count < Limits.readTokensPerTenantMax else { throw .tooManyReadTokens }
      do throws(StoreError) {
        let statement = try SQLiteStatement(
          connection,
          "INSERT INTO read_token(tenant, roles, secret_hash, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5)")
        statement.bind(Int64(owner), at: 1)
        statement.bind(Int64(roles.rawValue), at: 2)
        statement.bind(hash.bytes.span, at: 3)
        statement.bind(nowMs, at: 4)
        statement.bind(expiresMs, at: 5)
        try statement.run()
        return connection.lastInsertRowID
      } catch {
        throw .store(error)
      }
    }
  }

  /// Ends a token at once. Doing so twice changes nothing.
  package func revokeReadToken(tenant: String, number: Int64, nowMs: Int64) throws(RegistryError) {
    try change { () throws(RegistryError) in
      let all = try readTokens(tenant: tenant)
      guard all.contains(where: { $0.number == number }) else {
        throw .unknownReadToken(number, known: all.filter { $0.revokedMs == nil }.map(\.number))
      }
      try run("UPDATE read_token SET revoked_ms = ?1 WHERE number = ?2 AND revoked_ms IS NULL", nowMs, number)
    }
  }

  /// - Parameter tenant: `nil` = of all tenants.
  package func readTokens(tenant: String?) throws(RegistryError) -> [ReadTokenEntry] {
    if let tenant { _ = try knownTenant(tenant) }
    return try readTokens("(?1 IS NULL OR t.name = ?1)", tenant, nil)
  }

  package func readToken(_ number: Int64) throws(RegistryError) -> ReadTokenEntry? {
    try readTokens("(?1 IS NULL AND r.number = ?2)", nil, number).first
  }

  private func readTokens(
    _ condition: String, _ tenant: String?, _ number: Int64?
  ) throws(RegistryError) -> [ReadTokenEntry] {
    do throws(StoreError) {
      let statement = try SQLiteStatement(
        connection,
        """
        SELECT r.number, t.name, r.roles, r.secret_hash, r.created_ms, r.expires_ms, r.revoked_ms
        FROM read_token r JOIN tenant t ON t.idx = r.tenant WHERE \(condition) ORDER BY r.number
        """)
      if let tenant { statement.bind(tenant, at: 1) }
      if let number { statement.bind(number, at: 2) }
      var entries: [ReadTokenEntry] = []
      while try statement.step() {
        entries.append(
          ReadTokenEntry(
            number: statement.int64(0), tenant: statement.text(1),
            roles: ReadRoles(rawValue: UInt8(clamping: statement.int64(2))),
            hash: statement.withBytes(3) { SecretHash($0) }, createdMs: statement.int64(4),
            expiresMs: statement.optional(5), revokedMs: statement.optional(6)))
      }
      return entries
    } catch {
      throw .store(error)
    }
  }
}
