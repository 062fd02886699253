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
  /// - Returns: the device's dense index.
  package func addDevice(
    tenant: String, id: String, credential: NewCredential, nowMs: Int64
  ) throws(RegistryError) -> UInt32 {
    try RegistryStore.check(id)
    return try change { () throws(RegistryError) in
      let owner = try knownTenant(tenant)
      if try deviceIndex(owner, id) != nil { throw .deviceExists(tenant: tenant, id: id) }
      let device = try insert("INSERT INTO device(tenant, id, created_ms) VALUES (?3, ?1, ?2)", id, nowMs, Int64(owner))
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

  func insert(_ credential: NewCredential, _ device: UInt32, _ nowMs: Int64) throws(RegistryError) {
    do throws(StoreError) {
      let statement = try SQLiteStatement(
        connection,
        """
        INSERT OR IGNORE INTO credential(selector, secret_hash, device, created_ms, kind, sealed)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        """)
      let selector = credential.selector
      let bytes = InlineArray<8, UInt8> { UInt8(truncatingIfNeeded: selector &>> (8 &* UInt64($0))) }
      statement.bind(bytes.span, at: 1)
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
