import Foundation
package import GateStore
package import GateTLS

/// The content of `tls.registry_key`: keys of `Seal.keyBytes` that encrypt the external keys in the registry. The first seals,
/// all open.
///
/// Who seals reads the file within the transaction in which the sealed key is stored; `rekey` writes the file within
/// the transaction in which it seals all anew. So no key is ever stored under one that has just been dropped.
package enum RegistryKeys {
  package static let countMax = 8

  /// - Throws: `.noRegistryKey`, `.badRegistryKey`.
  package static func read(_ path: String) throws(GatewayError) -> [UInt8] {
    guard let keys = try readIfThere(path) else { throw .noRegistryKey(path: path) }
    return keys
  }

  /// - Returns: `nil` if there is no such file: then there are no external keys here.
  package static func readIfThere(_ path: String) throws(GatewayError) -> [UInt8]? {
    guard let bytes = FileManager.default.contents(atPath: path) else { return nil }
    guard bytes.count > 0, bytes.count % Seal.keyBytes == 0, bytes.count <= countMax * Seal.keyBytes else {
      throw .badRegistryKey(path: path)
    }
    return Array(bytes)
  }

  /// - Parameter keys: as in the file.
  package static func open(_ sealed: [UInt8], keys: [UInt8], context: [UInt8]) -> [UInt8]? {
    for key in RegistryKeys.keys(of: keys) {
      if let secret = Seal.open(sealed, key: key, context: context) { return secret }
    }
    return nil
  }

  /// - Parameter keys: as in the file.
  package static func seal(_ secret: [UInt8], keys: [UInt8], context: [UInt8]) throws(TLSError) -> [UInt8] {
    try Seal.close(secret, key: Array(keys.prefix(Seal.keyBytes)), context: context)
  }

  package enum RekeyError: Error, Equatable, Sendable {
    /// `tenant/device` of those whose key no key file at hand opens. Nothing was changed.
    case unopened([String])
    /// No key file at hand opens the keys of subjects. Nothing was changed.
    case unopenedSubjects
  }

  /// Seals every external key, and the tenants' keys over those of subjects, anew under a fresh key, and leaves that alone in the file. The file holds all that is needed
  /// at any moment: after a crash, run it again.
  ///
  /// - Parameters:
  ///   - path: the file.
  ///   - older: more keys that open, as in a file.
  ///   - bookPath: the book of subjects.
  ///   - tell: has the running gateway read the file and the registry anew.
  /// - Returns: number of external keys.
  /// - Throws: `RekeyError`, before anything is changed; errors of file and registry.
  package static func rekey(
    _ path: String, older: [UInt8] = [], in store: borrowing RegistryStore, bookPath: String, nowMs: Int64, tell: () throws -> Void
  ) throws -> Int {
    let fresh = try randomBytes(Seal.keyBytes)
    let book = try SubjectBook(path: bookPath)
    // From here on whoever seals takes the fresh key.
    try store.together {
      let known = (try readIfThere(path) ?? []) + older
      let sealed = try store.sealedKeys(nowMs: nowMs)
      let lost = sealed.filter { $0.isLive && open($0, keys: known) == nil }
      guard lost.isEmpty else { throw RekeyError.unopened(lost.map { "\($0.tenant)/\($0.id)" }) }
      let tenants = try book.tenantKeys()
      guard tenants.allSatisfy({ openTenant($0, $1, keys: known) != nil }) else { throw RekeyError.unopenedSubjects }
      let needed = keys(of: known).filter { key in
        sealed.contains { open($0, keys: key) != nil } || tenants.contains { openTenant($0, $1, keys: key) != nil }
      }
      try write(fresh + needed.joined(), to: path)
    }
    try tell()
    let count = try store.together {
      let keys = try read(path)
      var count = 0
      for each in try store.sealedKeys(nowMs: nowMs) {
        guard let secret = open(each, keys: keys) else { continue }
        try store.reseal(selector: each.selector, seal(secret, keys: keys, context: KeyIdentity.bytes(each.selector)))
        count += 1
      }
      return count
    }
    try store.together {
      let keys = try read(path)
      var resealed: [UInt32: [UInt8]] = [:]
      for (tenant, sealed) in try book.tenantKeys() {
        guard let key = openTenant(tenant, sealed, keys: keys) else { continue }
        resealed[tenant] = try seal(key, keys: keys, context: SubjectKeys.context(tenant))
      }
      try book.setTenantKeys(resealed)
    }
    try tell()
    try store.together {
      // Somebody else who does the same at this moment drops the older keys.
      guard try read(path).starts(with: fresh) else { return }
      try write(fresh, to: path)
    }
    return count
  }

  private static func keys(of bytes: [UInt8]) -> [[UInt8]] {
    var found: [[UInt8]] = []
    for start in stride(from: 0, to: bytes.count, by: Seal.keyBytes) {
      let key = Array(bytes[start..<start + Seal.keyBytes])
      if !found.contains(key) { found.append(key) }
    }
    return found
  }

  private static func openTenant(_ tenant: UInt32, _ sealed: [UInt8], keys: [UInt8]) -> [UInt8]? {
    open(sealed, keys: keys, context: SubjectKeys.context(tenant))
  }

  private static func open(_ sealed: RegistryStore.SealedKey, keys: [UInt8]) -> [UInt8]? {
    open(sealed.sealed, keys: keys, context: KeyIdentity.bytes(sealed.selector))
  }

  private static func write(_ keys: [UInt8], to path: String) throws {
    guard keys.count <= countMax * Seal.keyBytes else { throw GatewayError.badRegistryKey(path: path) }
    let url = URL(fileURLWithPath: path).standardizedFileURL
    try DurableFile.replace(
      url.lastPathComponent, in: try Directory(url.deletingLastPathComponent().path), with: keys.span)
  }
}
