package import GateCore
import GateNet
import GateStore
package import GateTLS
import Synchronization

/// The keys of subjects in this process: made for everybody who may send, opened for the threads that seal and read.
///
/// A key is random, sealed under its tenant's key, which is random too and sealed under the registry's (`RegistryKeys`). All
/// lie in the book of subjects.
package final class SubjectKeys: Sendable {
  package let holder: SubjectKeyHolder
  private let directory: String
  private let keyPath: String
  /// `nil`: of all tenants.
  private let tenant: UInt32?
  private let turn = Mutex(())

  /// - Parameters:
  ///   - directory: the data directory.
  ///   - keyPath: the content of `tls.registry_key`.
  /// - Returns: `nil` if there is no such file and never was: then nothing is sealed.
  /// - Throws: `GatewayError.noRegistryKey`, `.badRegistryKey`, `.lostTenantKeys`; `StoreError`, `TLSError`.
  package static func open(directory: String, keyPath: String) throws -> SubjectKeys? {
    let book = try SubjectBook(path: directory + "/" + SubjectBook.name)
    if try RegistryKeys.readIfThere(keyPath) == nil {
      guard try book.tenantKeys().isEmpty else { throw GatewayError.noRegistryKey(path: keyPath) }
      return nil
    }
    let keys = SubjectKeys(directory: directory, keyPath: keyPath)
    try keys.cover()
    return keys
  }

  /// For a process beside the gateway: opens what keys a tenant has, and makes none.
  /// - Returns: `nil` if nothing was ever sealed.
  /// - Throws: `GatewayError.noRegistryKey`, `.badRegistryKey`, `.lostTenantKeys`; `StoreError`.
  package static func reading(tenant: UInt32, directory: String, keyPath: String) throws -> SubjectKeys? {
    guard try !SubjectBook(path: directory + "/" + SubjectBook.name).tenantKeys().isEmpty else { return nil }
    let keys = SubjectKeys(directory: directory, keyPath: keyPath, tenant: tenant)
    try keys.reload()
    return keys
  }

  private init(directory: String, keyPath: String, tenant: UInt32? = nil) {
    self.directory = directory
    self.keyPath = keyPath
    self.tenant = tenant
    holder = SubjectKeyHolder(SubjectKeyRing([], highest: 0))
  }

  /// Makes keys for those in the registry who have none, and puts all in force. Call it before anybody new may send.
  package func cover() throws {
    try turn.withLock { _ in
      let book = try SubjectBook(path: bookPath)
      let known = try book.keys().keys.reduce(into: Set<KeyOwner>()) { if !$1.isRetired { $0.insert($1.owner) } }
      let erased = Set(try book.erasures().filter { $0.isSealedOff && $0.target.isWhole }.map(\.target.owner))
      let owners = try RegistryStore(path: directory + "/" + GatewayServer.registryName).owners()
      try give(to: owners.filter { !known.contains($0.owner) && !erased.contains($0.owner) }, in: book)
      try load(from: book)
    }
  }

  /// Gives owners fresh keys and puts these in force. The old ones go on opening until they are shredded.
  package func renew(_ owners: [(tenant: UInt32, owner: KeyOwner)]) throws {
    try turn.withLock { _ in
      let book = try SubjectBook(path: bookPath)
      try give(to: owners, in: book)
      try load(from: book)
    }
  }

  /// Gives every owner of a tenant who has a key a fresh one.
  /// - Returns: number of keys.
  package func renewAll(tenant: UInt32) throws -> Int {
    let keys = try SubjectBook(path: bookPath).keys().keys.filter { $0.tenant == tenant && !$0.isRetired }
    try renew(keys.map { ($0.tenant, $0.owner) })
    return keys.count
  }

  /// Puts in force what the book says now.
  package func reload() throws {
    try turn.withLock { _ in try load(from: try SubjectBook(path: bookPath)) }
  }

  private var bookPath: String { directory + "/" + SubjectBook.name }

  private func load(from book: borrowing SubjectBook) throws {
    let tenants = try tenantKeys(in: book)
    let before = holder.ring
    let (sealed, highest) = try book.keys(tenant: tenant)
    var entries: [SubjectKeyRing.Entry] = []
    entries.reserveCapacity(sealed.count)
    for key in sealed {
      guard let tenant = tenants[key.tenant],
        let opened = before.copy(key.number)
          ?? Seal.open(key.sealed, key: tenant, context: SubjectKeys.context(key.tenant, key.owner))
      else { throw GatewayError.lostTenantKeys(path: keyPath) }
      entries.append(.init(number: key.number, owner: key.owner, isRetired: key.isRetired, key: opened))
    }
    var erased: [KeyOwner: [ClosedRange<Int64>]] = [:]
    for erasure in try book.erasures() where erasure.isSealedOff {
      erased[erasure.target.owner, default: []].append(erasure.target.times)
    }
    holder.swap(SubjectKeyRing(entries, erased: erased, highest: highest))
  }

  private func give(to owners: [(tenant: UInt32, owner: KeyOwner)], in book: borrowing SubjectBook) throws {
    guard !owners.isEmpty else { return }
    var tenants = try tenantKeys(in: book)
    let new = Set(owners.map(\.tenant)).subtracting(tenants.keys)
    if !new.isEmpty {
      for tenant in new { tenants[tenant] = try randomBytes(Seal.keyBytes) }
      // As all who seal under the registry's key do: within a transaction that `RegistryKeys.rekey` waits for.
      try RegistryStore(path: directory + "/" + GatewayServer.registryName).together {
        let registryKey = try RegistryKeys.read(keyPath)
        var sealed: [UInt32: [UInt8]] = [:]
        for tenant in new {
          guard let key = tenants[tenant] else { continue }
          sealed[tenant] = try RegistryKeys.seal(key, keys: registryKey, context: SubjectKeys.context(tenant))
        }
        try book.setTenantKeys(sealed)
      }
    }
    var keys: [SubjectBook.NewKey] = []
    for (tenant, owner) in owners {
      guard let tenantKey = tenants[tenant] else { preconditionFailure("a tenant without a key") }
      let sealed = try Seal.close(
        try randomBytes(SubjectKeyRing.keyBytes), key: tenantKey, context: SubjectKeys.context(tenant, owner))
      keys.append(SubjectBook.NewKey(tenant: tenant, owner: owner, sealed: sealed))
    }
    try book.giveKeys(keys, nowMs: SystemClock.wallMs())
  }

  private func tenantKeys(in book: borrowing SubjectBook) throws -> [UInt32: [UInt8]] {
    let sealed = try book.tenantKeys()
    guard !sealed.isEmpty else { return [:] }
    let registryKey = try RegistryKeys.read(keyPath)
    var opened: [UInt32: [UInt8]] = [:]
    for (tenant, key) in sealed {
      guard let key = RegistryKeys.open(key, keys: registryKey, context: SubjectKeys.context(tenant)) else {
        throw GatewayError.lostTenantKeys(path: keyPath)
      }
      opened[tenant] = key
    }
    return opened
  }

  /// What a tenant's key is sealed for.
  static func context(_ tenant: UInt32) -> [UInt8] { Array("fixgate tenant key \(tenant)".utf8) }

  private static func context(_ tenant: UInt32, _ owner: KeyOwner) -> [UInt8] {
    Array("fixgate subject key \(tenant) \(owner.raw)".utf8)
  }
}

/// The keys as a process beside the gateway has them: each refresh takes them from the book anew.
package final class BookCipher: SubjectCipher {
  private let keys: SubjectKeys
  private let cipher: RingCipher

  package init(_ keys: SubjectKeys) throws(TLSError) {
    self.keys = keys
    cipher = try RingCipher(keys.holder)
  }

  package func refresh() {
    // What is in hand still opens what it did.
    try? keys.reload()
    cipher.refresh()
  }

  package func key(of owner: KeyOwner) -> UInt64? { cipher.key(of: owner) }
  package func isErased(_ owner: KeyOwner, fixTimeMs: Int64?) -> Bool { cipher.isErased(owner, fixTimeMs: fixTimeMs) }

  package func seal(
    under key: UInt64, nonce: SealedRun.Nonce, clear: Range<Int>, text: Range<Int>, in bytes: inout MutableSpan<UInt8>
  ) { cipher.seal(under: key, nonce: nonce, clear: clear, text: text, in: &bytes) }

  package func open(
    under key: UInt64, nonce: SealedRun.Nonce, clear: Range<Int>, text: Range<Int>, in bytes: inout MutableSpan<UInt8>
  ) -> SealedRun.Opening { cipher.open(under: key, nonce: nonce, clear: clear, text: text, in: &bytes) }
}
