package import GateTLS
import Synchronization

/// The DTLS context that new handshakes get. Swapped as a whole by a reload; handshakes under way keep theirs.
package final class DTLSHolder: Sendable {
  private let context: Mutex<DTLSServerContext>
  private let swaps = Atomic<UInt64>(0)

  package init(_ context: DTLSServerContext) { self.context = Mutex(context) }

  /// Changes with every swap; cheap to look at.
  package var version: UInt64 { swaps.load(ordering: .acquiring) }
  package var current: DTLSServerContext { context.withLock { $0 } }

  package func swap(_ fresh: DTLSServerContext) {
    context.withLock { $0 = fresh }
    swaps.wrappingAdd(1, ordering: .releasing)
  }
}

extension TLSMaterial {
  /// The same certificate, authorities and pre-shared keys as over TCP. A certificate of another kind than P-256 leaves the
  /// pre-shared keys.
  /// - Throws: the errors of `DTLSServerContext`; `GatewayError.noDTLSProof`.
  package func makeDTLSContext(registry: RegistryHolder) throws -> DTLSServerContext {
    let identity = isP256 ? identity : nil
    guard let registryKey else {
      guard let identity else { throw GatewayError.noDTLSProof }
      return try DTLSServerContext(identity: identity, authorities: authorities)
    }
    return try DTLSServerContext(identity: identity, authorities: authorities) { identity, key in
      let name = identity.indices.map { identity[$0] }
      guard var secret = KeyIdentity.secret(of: name, in: registry.snapshot, under: registryKey),
        secret.count <= key.count
      else { return nil }
      defer { wipe(&secret) }
      for i in secret.indices { key[i] = secret[i] }
      return secret.count
    }
  }
}
