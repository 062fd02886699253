package import GateCore
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

  package static func prove(token: [UInt8], registry: RegistrySnapshot) -> Session.Proof {
    guard token.count == tokenBytes, let candidate = registry.lookup(selector: token.span.load64(at: 0)) else {
      return .unknown
    }
    // `==` of SecretHash takes the same time wherever the hashes differ.
    guard SecretHash(Digest.sha256(token.span).span) == candidate.secretHash else { return .unknown }
    if candidate.revoked || registry.isRevoked(device: candidate.device) { return .revoked }
    return .device(
      DeviceIdentity(
        device: candidate.device, tenant: registry.tenant(ofDevice: candidate.device),
        subject: registry.subject(ofDevice: candidate.device)))
  }
}
