import Foundation
package import GateCore
import GateNet
package import GateTLS
import Synchronization

/// The TLS context that new connections get. Swapped as a whole by a reload; connections keep theirs.
package final class TLSHolder: Sendable {
  private let context: Mutex<TLSServerContext>
  package init(_ context: TLSServerContext) { self.context = Mutex(context) }
  package var current: TLSServerContext { context.withLock { $0 } }
  package func swap(_ fresh: TLSServerContext) { context.withLock { $0 = fresh } }
}

/// All that the gateway reads from files for TLS, checked: what `serve` starts with, what SIGHUP reads anew, and what
/// `config check` looks at.
package struct TLSMaterial: Sendable {
  package var identity: TLSIdentity
  /// Whole days until the certificate ends; negative once it has.
  package var daysLeft: Int64
  /// The certificate's key is of P-256: DTLS can use it.
  package var isP256: Bool
  /// A multiple of `TLSServerContext.ticketKeyBytes`: the first key seals, all open.
  package let ticketKeys: [UInt8]
  package let authorities: ClientAuthorities?
  /// Open the external keys in the registry: `RegistryKeys`. `nil` = there are none here.
  package let registryKey: [UInt8]?

  /// Most ticket keys at a time: a new one a day outlives the tickets.
  package static let ticketKeysMax = 8

  /// - Parameter folder: relative paths of the configuration start here.
  /// - Throws: `TLSError`, `GatewayError`: do not start, or go on with what was read before.
  package init(_ configuration: Configuration, folder: String, nowS: Int64) throws {
    func path(_ text: String) -> String { text.hasPrefix("/") ? text : folder + "/" + text }
    let (certificatePath, keyPath) = (path(configuration.tls.certificate), path(configuration.tls.key))
    do throws(TLSError) {
      identity = try TLSIdentity(certificateFile: certificatePath, keyFile: keyPath)
    } catch .file(let input, let code) {
      throw GatewayError.unreadable(path: input == .key ? keyPath : certificatePath, .file(input, errno: code))
    }
    let leaf = try CertificateSummary.leaf(of: identity.certificatePEM)
    daysLeft = leaf.daysLeft(nowS: nowS)
    isP256 = leaf.isP256
    let ticketPath = path(configuration.tls.ticketKeys)
    let size = TLSServerContext.ticketKeyBytes
    guard let keys = FileManager.default.contents(atPath: ticketPath), keys.count > 0, keys.count % size == 0,
      keys.count <= TLSMaterial.ticketKeysMax * size
    else { throw GatewayError.badTicketKeys(path: ticketPath) }
    ticketKeys = Array(keys)
    var named: [(tenant: String?, pem: [UInt8])] = []
    for entry in configuration.tls.clientAuthority {
      let parts = entry.split(separator: "=", maxSplits: 1)
      let file = path(String(parts.last ?? ""))
      let pem: [UInt8]
      do throws(TLSError) { pem = try PEM.read(file, as: .authority) } catch {
        throw GatewayError.unreadable(path: file, error)
      }
      named.append((tenant: parts.count == 2 ? String(parts[0]) : nil, pem: pem))
    }
    authorities = named.isEmpty ? nil : try ClientAuthorities(named)
    registryKey = try RegistryKeys.readIfThere(path(configuration.tls.registryKey))
  }

  /// - Parameter earlierTicketKeys: those of before a reload, which go on opening tickets as long as there is room.
  /// - Throws: `.keyMismatch` and the other errors of `TLSServerContext`.
  package func makeContext(
    _ configuration: Configuration, registry: RegistryHolder, earlierTicketKeys: [UInt8] = []
  ) throws(TLSError) -> (context: TLSServerContext, ticketKeys: [UInt8]) {
    let size = TLSServerContext.ticketKeyBytes
    var keys = ticketKeys
    for start in stride(from: 0, to: earlierTicketKeys.count, by: size) {
      let key = Array(earlierTicketKeys[start..<start + size])
      let isThere = stride(from: 0, to: keys.count, by: size).contains { keys[$0..<$0 + size].elementsEqual(key) }
      if !isThere, keys.count < TLSMaterial.ticketKeysMax * size { keys += key }
    }
    let findKey = registryKey.map { key in
      { @Sendable (identity: [UInt8]) in KeyIdentity.secret(of: identity, in: registry.snapshot, under: key) }
    }
    let earlyData: EarlyDataGate = { carried, peer in
      TicketIdentity.isGood(carried, peer, registry: registry.snapshot, wallMs: SystemClock.wallMs())
    }
    let context = try TLSServerContext(
      identity: identity, ticketKeys: keys, allowTLS12: configuration.tls.allowTLS12,
      ownRecords: configuration.tls.ownRecords,
      proof: ClientProof(
        authorities: authorities, findKey: findKey, earlyData: configuration.tls.earlyData ? earlyData : nil))
    return (context, keys)
  }

  /// A line for the log when the certificate has ended or soon will.
  package func warn(_ configuration: Configuration, _ log: Log) {
    if daysLeft < 0 {
      log(.error, "\(GatewayError.expired(path: configuration.tls.certificate, days: -daysLeft))")
    } else if daysLeft < 21 {
      log(.warning, "the certificate expires in \(daysLeft) days")
    }
    if !isP256, !configuration.listen.dtls.isEmpty {
      log(
        .warning,
        "the certificate is not of P-256: over UDP only devices with a pre-shared key are let in; use an ECDSA certificate on P-256 for the others"
      )
    }
  }
}

/// The identity of an external key on the wire: `fixgate-` and its selector as 16 hexadecimal digits.
package enum KeyIdentity {
  private static let prefix = Array("fixgate-".utf8)

  package static func bytes(_ selector: UInt64) -> [UInt8] {
    prefix + (0..<16).map { Array("0123456789abcdef".utf8)[Int(truncatingIfNeeded: selector &>> (60 &- 4 &* UInt64($0))) & 15] }
  }

  package static func selector(_ identity: [UInt8]) -> UInt64? {
    guard identity.count == 24, identity.starts(with: prefix) else { return nil }
    guard let selector = UInt64(String(decoding: identity[8...], as: UTF8.self), radix: 16) else { return nil }
    return bytes(selector) == identity ? selector : nil
  }

  /// - Parameter keys: as in `TLSMaterial.registryKey`.
  /// Revoked keys are found too, so that their owners hear "revoked".
  package static func secret(of identity: [UInt8], in registry: RegistrySnapshot, under keys: [UInt8]) -> [UInt8]? {
    guard let selector = selector(identity), let sealed = registry.sealedKey(selector: selector) else { return nil }
    return RegistryKeys.open(sealed, keys: keys, context: bytes(selector))
  }
}
