/// How a device proves who it is. Raw values are stored in the registry.
package enum CredentialKind: UInt8, Sendable, BitwiseCopyable, CaseIterable {
  /// In `hello`, over a server-authenticated session. Selector: its first 8 bytes.
  case token = 1
  /// A client certificate. Selector: the first 8 bytes of its fingerprint, which is the secret hash.
  case certificate = 2
  /// An external pre-shared key of TLS 1.3. Selector: its identity.
  case key = 3
}

/// What a session was opened with, so that it can be judged again whenever the registry changes.
package struct CredentialReference: Equatable, Sendable, BitwiseCopyable {
  package var kind: CredentialKind
  package var selector: UInt64
  package init(kind: CredentialKind, selector: UInt64) {
    self.kind = kind
    self.selector = selector
  }
}

extension RegistrySnapshot {
  /// How a credential stands at one moment.
  package enum Standing: Equatable, Sendable {
    /// Good, and until when (ms since 1970-01-01 UTC; `.max` = no end).
    case good(untilMs: Int64)
    case expired
    case revoked
    case unknown
  }

  /// - Parameter wallMs: now, ms since 1970-01-01 UTC.
  package func standing(of reference: CredentialReference, wallMs: Int64) -> Standing {
    guard let candidate = lookup(selector: reference.selector), candidate.kind == reference.kind else { return .unknown }
    return standing(of: candidate, wallMs: wallMs)
  }

  package func standing(of candidate: Candidate, wallMs: Int64) -> Standing {
    // Revoked first: it is for good, whatever the clock says.
    if candidate.revoked || isRevoked(device: candidate.device) { return .revoked }
    return wallMs < candidate.expiresMs ? .good(untilMs: candidate.expiresMs) : .expired
  }
}
