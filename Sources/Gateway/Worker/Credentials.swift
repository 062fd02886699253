package import GateCore
package import GateProto
package import GateTLS

/// What a token proves. Layout of a token: selector (u64, little endian), then 24 random bytes. The registry finds it by
/// selector and holds the SHA-256 of the whole; a token has 192 bits nobody can guess, so the hash needs no salt.
package enum Credentials {
  package static let tokenBytes = 32

  /// A fresh token: what the device gets, and what the registry stores.
  package static func make() throws(TLSError) -> (token: [UInt8], selector: UInt64, hash: SecretHash) {
    let token = try randomBytes(tokenBytes)
    return (token, token.span.load64(at: 0), SecretHash(Digest.sha256(token.span).span))
  }

  /// - Parameter wallMs: now, ms since 1970-01-01 UTC.
  package static func prove(token: [UInt8], registry: RegistrySnapshot, wallMs: Int64) -> Session.Proof {
    guard token.count == tokenBytes else { return .unknown }
    let reference = CredentialReference(kind: .token, selector: token.span.load64(at: 0))
    guard let candidate = registry.lookup(selector: reference.selector), candidate.kind == .token else { return .unknown }
    // `==` of SecretHash takes the same time wherever the hashes differ.
    guard SecretHash(Digest.sha256(token.span).span) == candidate.secretHash else { return .unknown }
    return proof(registry, reference, candidate, wallMs: wallMs)
  }

  /// Why an open session must end, after the registry has changed; `nil`: it goes on, until its credential ends.
  package static func dismissal(
    of session: inout Session, registry: RegistrySnapshot, wallMs: Int64
  ) -> RefusalCode? {
    guard let reference = session.credential else { return nil }
    switch registry.standing(of: reference, wallMs: wallMs) {
    case .good(let untilMs):
      session.extend(untilMs: untilMs)
      return nil
    case .expired: return .credentialExpired
    case .revoked, .unknown: return .revoked
    }
  }

  /// What a credential is worth whose secret has been shown.
  private static func proof(
    _ registry: RegistrySnapshot, _ reference: CredentialReference, _ candidate: RegistrySnapshot.Candidate, wallMs: Int64
  ) -> Session.Proof {
    switch registry.standing(of: candidate, wallMs: wallMs) {
    case .good(let untilMs): .device(registry.identity(ofDevice: candidate.device), by: reference, untilMs: untilMs)
    case .revoked: .revoked
    case .expired: .expired
    case .unknown: .unknown
    }
  }
}

extension RegistrySnapshot {
  fileprivate func identity(ofDevice device: UInt32) -> DeviceIdentity {
    DeviceIdentity(device: device, tenant: tenant(ofDevice: device), subject: subject(ofDevice: device))
  }
}
