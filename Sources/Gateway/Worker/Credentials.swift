package import GateCore
package import GateProto
package import GateStore
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

  /// A fresh external key: what the device gets, and what the registry stores.
  /// - Parameter registryKey: as `RegistryKeys` reads it.
  package static func makeKey(
    sealedUnder registryKey: [UInt8]
  ) throws(TLSError) -> FreshKey {
    let random = try randomBytes(8)
    let selector = random.span.load64(at: 0)
    let identity = KeyIdentity.bytes(selector)
    let secret = try randomBytes(ExternalKey.secretBytes)
    let hash = SecretHash(Digest.sha256(secret.span).span)
    let sealed = try RegistryKeys.seal(secret, keys: registryKey, context: identity)
    return FreshKey(
      key: ExternalKey(identity: identity, secret: secret), selector: selector, hash: hash, sealed: sealed)
  }

  /// A token in hello decides; without one it is what the transport has shown.
  /// - Parameter wallMs: now, ms since 1970-01-01 UTC.
  package static func prove(
    token: [UInt8], channel: ChannelProof, registry: RegistrySnapshot, wallMs: Int64
  ) -> Session.Proof {
    guard token.isEmpty else { return prove(token: token, registry: registry, wallMs: wallMs) }
    switch channel {
    case .none: return .unknown
    case .key(let selector):
      let reference = CredentialReference(kind: .key, selector: selector)
      guard let candidate = registry.lookup(selector: selector), candidate.kind == .key else { return .unknown }
      return proof(registry, reference, candidate, wallMs: wallMs)
    case .certificate(let claim): return prove(claim, registry: registry, wallMs: wallMs)
    case .session(let device, let reference, let untilMs):
      switch standing(of: reference, of: device, validUntilMs: untilMs, registry: registry, wallMs: wallMs) {
      case .good(let untilMs): return .device(registry.identity(ofDevice: device), by: reference, untilMs: untilMs)
      case .revoked: return .revoked
      case .expired: return .expired
      case .unknown: return .unknown
      }
    }
  }

  /// How the credential stands by which a session over UDP was opened, maybe in an earlier run. A certificate that the
  /// registry has not entered is known only by whom it named and when it ends.
  package static func standing(
    of reference: CredentialReference, of device: UInt32, validUntilMs: Int64, registry: RegistrySnapshot, wallMs: Int64
  ) -> RegistrySnapshot.Standing {
    if reference.kind == .certificate {
      if registry.isRevoked(device: device) { return .revoked }
      guard wallMs < validUntilMs else { return .expired }
      guard let entered = registry.lookup(selector: reference.selector), entered.kind == .certificate else {
        return .good(untilMs: validUntilMs)
      }
      // Entered for another device since: it proves that one now.
      guard entered.device == device else { return .unknown }
      let standing = registry.standing(of: entered, wallMs: wallMs)
      return standing == .good(untilMs: entered.expiresMs) ? .good(untilMs: min(entered.expiresMs, validUntilMs)) : standing
    }
    return registry.standing(of: reference, wallMs: wallMs)
  }

  /// A certificate proves the device that the registry has entered it for, or else the one that it names; in both cases only
  /// if an authority vouches for that device's tenant.
  private static func prove(_ claim: CertificateClaim, registry: RegistrySnapshot, wallMs: Int64) -> Session.Proof {
    let reference = CredentialReference(kind: .certificate, selector: claim.selector)
    let device: UInt32
    if let entered = registry.lookup(selector: claim.selector), entered.kind == .certificate {
      guard entered.secretHash == claim.fingerprint else { return .unknown }
      switch registry.standing(of: entered, wallMs: wallMs) {
      case .revoked: return .revoked
      case .expired: return .expired
      case .unknown: return .unknown
      case .good: device = entered.device
      }
    } else {
      guard let tenant = claim.tenant, let id = claim.device, let named = registry.device(tenant: tenant, id: id) else {
        return .unknown
      }
      device = named
    }
    guard claim.isVouched(for: registry.tenantName(registry.tenant(ofDevice: device))) else { return .unknown }
    if registry.isRevoked(device: device) { return .revoked }
    guard wallMs < claim.validUntilMs else { return .expired }
    return .device(registry.identity(ofDevice: device), by: reference, untilMs: claim.validUntilMs)
  }

  /// What a credential is worth now that was proven before, when the ticket that names it was given.
  package static func prove(
    _ reference: CredentialReference, channel: ChannelProof, registry: RegistrySnapshot, wallMs: Int64
  ) -> Session.Proof {
    if reference.kind == .certificate { return prove(token: [], channel: channel, registry: registry, wallMs: wallMs) }
    guard let candidate = registry.lookup(selector: reference.selector), candidate.kind == reference.kind else {
      return .unknown
    }
    return proof(registry, reference, candidate, wallMs: wallMs)
  }

  /// What a handshake has shown, judged by the authorities in force.
  package static func channel(_ engine: borrowing TLSEngine, _ authorities: ClientAuthorities?) -> ChannelProof {
    if let authorities, let peer = engine.peerCertificate(authorities) { return .certificate(CertificateClaim(peer)) }
    if let identity = engine.keyIdentity, let selector = KeyIdentity.selector(identity) { return .key(selector: selector) }
    return .none
  }

  /// What a handshake over UDP has shown.
  package static func channel(_ peer: DTLSPeer) -> ChannelProof {
    switch peer {
    case .preSharedKey(let identity): KeyIdentity.selector(identity).map { .key(selector: $0) } ?? .none
    case .certificate(let certificate): .certificate(CertificateClaim(certificate))
    case .anonymous: .none
    }
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
    if reference.kind == .certificate {
      switch prove(token: [], channel: session.channel, registry: registry, wallMs: wallMs) {
      case .device(_, _, let untilMs):
        session.extend(untilMs: untilMs)
        return nil
      case .expired: return .credentialExpired
      case .revoked, .unknown: return .revoked
      }
    }
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

/// An external key that was just made.
package struct FreshKey: Sendable {
  package let key: ExternalKey
  package let selector: UInt64
  package let hash: SecretHash
  package let sealed: [UInt8]

  /// What the registry stores.
  package var credential: NewCredential { .key(selector: selector, hash: hash, sealed: sealed) }
}

extension RegistrySnapshot {
  package func identity(ofDevice device: UInt32) -> DeviceIdentity {
    DeviceIdentity(device: device, tenant: tenant(ofDevice: device), subject: subject(ofDevice: device))
  }
}

extension CertificateClaim {
  init(_ peer: PeerCertificate) {
    self.init(
      fingerprint: SecretHash(peer.fingerprint.span), validUntilMs: peer.validUntilS.multipliedOrMax(by: 1_000),
      tenant: peer.tenant, device: peer.device, tenants: peer.tenants, anyTenant: peer.anyTenant)
  }
}

extension Int64 {
  fileprivate func multipliedOrMax(by factor: Int64) -> Int64 {
    let (product, overflow) = multipliedReportingOverflow(by: factor)
    return overflow ? .max : product
  }
}
