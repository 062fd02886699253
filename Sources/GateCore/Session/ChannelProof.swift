/// What the transport has shown about the device before its hello: the device is who it says, if the registry agrees.
package enum ChannelProof: Equatable, Sendable {
  case none
  /// It holds the external key with this identity.
  case key(selector: UInt64)
  case certificate(CertificateClaim)
  /// An earlier hello of this session has proven the device by that credential, and until then.
  case session(device: UInt32, by: CredentialReference, untilMs: Int64)
}

/// A client certificate whose private key the device has shown to hold.
package struct CertificateClaim: Equatable, Sendable {
  /// SHA-256 of the DER.
  package var fingerprint: SecretHash
  /// ms since 1970-01-01 UTC.
  package var validUntilMs: Int64
  /// Whom it names, if anybody.
  package var tenant: String?
  package var device: String?
  /// Tenants for which an authority in force vouches.
  package var tenants: Set<String>
  /// An authority vouches for all tenants.
  package var anyTenant: Bool

  package init(
    fingerprint: SecretHash, validUntilMs: Int64, tenant: String?, device: String?, tenants: Set<String>, anyTenant: Bool
  ) {
    self.fingerprint = fingerprint
    self.validUntilMs = validUntilMs
    self.tenant = tenant
    self.device = device
    self.tenants = tenants
    self.anyTenant = anyTenant
  }

  /// Where the registry has it, if it was entered there.
  package var selector: UInt64 { fingerprint.bytes.span.load64(at: 0) }
  package func isVouched(for tenant: String) -> Bool { anyTenant || tenants.contains(tenant) }
}
