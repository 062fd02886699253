package import GateCore

/// What a device gets to prove itself by, as the registry stores it. A secret itself is never in it, but for a key's, sealed.
package enum NewCredential: Sendable {
  /// `selector`: 8 random bytes as a little-endian number; `hash`: SHA-256 of the token.
  case token(selector: UInt64, hash: SecretHash)
  /// SHA-256 of the certificate's DER.
  case certificate(fingerprint: SecretHash)
  /// `hash`: SHA-256 of the secret; `sealed`: the secret, encrypted under the operator's key file.
  case key(selector: UInt64, hash: SecretHash, sealed: [UInt8])

  var kind: CredentialKind {
    switch self {
    case .token: .token
    case .certificate: .certificate
    case .key: .key
    }
  }

  var selector: UInt64 {
    switch self {
    case .token(let selector, _), .key(let selector, _, _): selector
    case .certificate(let fingerprint): fingerprint.bytes.span.load64(at: 0)
    }
  }

  var hash: SecretHash {
    switch self {
    case .token(_, let hash), .key(_, let hash, _): hash
    case .certificate(let fingerprint): fingerprint
    }
  }
}

extension RegistryStore {
  /// Adds a device and its first credential.
  /// - Parameter devicesMax: what the gateway has room for, `data.devices_max`.
  /// - Returns: the device's dense index.
  /// - Throws: `.devicesFull` where its index would lie beyond that.
  package func addDevice(
    tenant: String, id: String, credential: NewCredential, devicesMax: Int = .max, nowMs: Int64
  ) throws(RegistryError) -> UInt32 {
    try RegistryStore.check(id)
    return try change { () throws(RegistryError) in
      let owner = try knownTenant(tenant)
      if try deviceIndex(owner, id) != nil { throw .deviceExists(tenant: tenant, id: id) }
      let device = try insertDevice(owner, id, devicesMax: devicesMax, nowMs)
      try insert(credential, device, nowMs)
      return device
    }
  }

  /// Gives a device one more credential.
  package func addCredential(
    tenant: String, id: String, credential: NewCredential, nowMs: Int64
  ) throws(RegistryError) {
    try change { () throws(RegistryError) in
      let device = try knownDevice(tenant, id)
      try refuseRevoked(device, tenant, id)
      try insert(credential, device, nowMs)
    }
  }

  /// Gives a device a new credential; those that it has end after the overlap, or earlier where that was settled already.
  /// A certificate that was never entered here ends by its own date.
  /// - Parameter overlapMs: 0 ends them at once.
  package func rotate(
    tenant: String, id: String, to credential: NewCredential, overlapMs: Int64, nowMs: Int64
  ) throws(RegistryError) {
    try change { () throws(RegistryError) in
      let device = try knownDevice(tenant, id)
      try refuseRevoked(device, tenant, id)
      let (end, overflow) = nowMs.addingReportingOverflow(max(overlapMs, 0))
      try run(
        """
        UPDATE credential SET expires_ms = ?1
        WHERE device = ?2 AND revoked_ms IS NULL AND (expires_ms IS NULL OR expires_ms > ?1)
        """, overflow ? .max : end, Int64(device))
      try insert(credential, device, nowMs)
    }
  }

  /// What the device was given last.
  package func newestKind(tenant: String, id: String) throws(RegistryError) -> CredentialKind? {
    let device = try knownDevice(tenant, id)
    do throws(StoreError) {
      let statement = try SQLiteStatement(
        connection, "SELECT kind FROM credential WHERE device = ?1 AND revoked_ms IS NULL ORDER BY created_ms DESC, rowid DESC")
      statement.bind(Int64(device), at: 1)
      return try statement.step() ? CredentialKind(rawValue: UInt8(clamping: statement.int64(0))) : nil
    } catch {
      throw .store(error)
    }
  }

  /// One external key as it is stored, with its owner.
  package struct SealedKey: Equatable, Sendable {
    package var selector: UInt64
    package var sealed: [UInt8]
    package var tenant: String
    package var id: String
    /// Neither revoked nor ended.
    package var isLive: Bool
  }

  package func sealedKeys(nowMs: Int64) throws(StoreError) -> [SealedKey] {
    let statement = try SQLiteStatement(
      connection,
      """
      SELECT c.selector, c.sealed, t.name, d.id, c.revoked_ms IS NULL AND coalesce(c.expires_ms > ?1, 1)
      FROM credential c JOIN device d ON d.idx = c.device JOIN tenant t ON t.idx = d.tenant
      WHERE c.kind = 3 ORDER BY t.name, d.id
      """)
    statement.bind(nowMs, at: 1)
    var keys: [SealedKey] = []
    while try statement.step() {
      keys.append(
        SealedKey(
          selector: statement.withBytes(0) { $0.load64(at: 0) },
          sealed: statement.withBytes(1) { bytes in bytes.indices.map { bytes[$0] } }, tenant: statement.text(2),
          id: statement.text(3), isLive: statement.int64(4) != 0))
    }
    return keys
  }

  /// Puts an external key in its new seal.
  package func reseal(selector: UInt64, _ sealed: [UInt8]) throws(RegistryError) {
    try change { () throws(RegistryError) in
      do throws(StoreError) {
        let statement = try SQLiteStatement(connection, "UPDATE credential SET sealed = ?1 WHERE selector = ?2 AND kind = 3")
        statement.bind(sealed.span, at: 1)
        statement.bind(RegistryStore.blob(selector).span, at: 2)
        try statement.run()
      } catch {
        throw .store(error)
      }
    }
  }

  /// Takes back one certificate of a device for good, whether or not it was entered here before. The device and its other
  /// credentials go on.
  package func revokeCertificate(
    tenant: String, id: String, fingerprint: SecretHash, nowMs: Int64
  ) throws(RegistryError) {
    try change { () throws(RegistryError) in
      let device = try knownDevice(tenant, id)
      let certificate = NewCredential.certificate(fingerprint: fingerprint)
      do throws(RegistryError) { try insert(certificate, device, nowMs) } catch .selectorTaken {}
      do throws(StoreError) {
        let statement = try SQLiteStatement(
          connection,
          """
          UPDATE credential SET revoked_ms = ?1
          WHERE secret_hash = ?2 AND device = ?3 AND kind = 2 AND revoked_ms IS NULL
          """)
        statement.bind(nowMs, at: 1)
        statement.bind(fingerprint.bytes.span, at: 2)
        statement.bind(Int64(device), at: 3)
        try statement.run()
      } catch {
        throw .store(error)
      }
    }
  }

  func refuseRevoked(_ device: UInt32, _ tenant: String, _ id: String) throws(RegistryError) {
    let sql = "SELECT idx FROM device WHERE id = ?1 AND idx = ?2 AND revoked_ms IS NOT NULL"
    if try find(sql, id, Int64(device)) != nil { throw .deviceRevoked(tenant: tenant, id: id) }
  }

  func insertDevice(
    _ owner: UInt32, _ id: String, devicesMax: Int, _ nowMs: Int64
  ) throws(RegistryError) -> UInt32 {
    let device = try insert("INSERT INTO device(tenant, id, created_ms) VALUES (?3, ?1, ?2)", id, nowMs, Int64(owner))
    guard Int(device) <= devicesMax else { throw .devicesFull(max: devicesMax) }
    return device
  }

  /// A selector as it is stored: 8 bytes, little endian.
  static func blob(_ selector: UInt64) -> InlineArray<8, UInt8> {
    InlineArray { UInt8(truncatingIfNeeded: selector &>> (8 &* UInt64($0))) }
  }

  func insert(_ credential: NewCredential, _ device: UInt32, _ nowMs: Int64) throws(RegistryError) {
    do throws(StoreError) {
      let statement = try SQLiteStatement(
        connection,
        """
        INSERT OR IGNORE INTO credential(selector, secret_hash, device, created_ms, kind, sealed)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        """)
      statement.bind(RegistryStore.blob(credential.selector).span, at: 1)
      statement.bind(credential.hash.bytes.span, at: 2)
      statement.bind(Int64(device), at: 3)
      statement.bind(nowMs, at: 4)
      statement.bind(Int64(credential.kind.rawValue), at: 5)
      if case .key(_, _, let sealed) = credential { statement.bind(sealed.span, at: 6) } else { statement.bindNull(at: 6) }
      try statement.run()
    } catch {
      throw .store(error)
    }
    if connection.changes == 0 { throw .selectorTaken }
  }
}
