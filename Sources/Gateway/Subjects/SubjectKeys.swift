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
      var ring = try open(in: book)
      let erased = Set(try book.erasures().filter { $0.isSealedOff && $0.target.isWhole }.map(\.target.owner))
      let owners = try RegistryStore(path: directory + "/" + GatewayServer.registryName).owners()
      try give(
        to: owners.filter { !ring.hasKey(of: $0.owner) && !erased.contains($0.owner) }, replacing: false, in: book,
        adding: &ring)
      try putInForce(ring, in: book)
    }
  }

  /// Gives owners fresh keys and puts these in force. The old ones go on opening until they are shredded.
  package func renew(_ owners: [(tenant: UInt32, owner: KeyOwner)]) throws {
    try turn.withLock { _ in
      let book = try SubjectBook(path: bookPath)
      var ring = try open(in: book)
      try give(to: owners, replacing: true, in: book, adding: &ring)
      try putInForce(ring, in: book)
    }
  }

  /// Gives every owner of a tenant who has a key a fresh one.
  /// - Returns: number of keys.
  package func renewAll(tenant: UInt32) throws -> Int {
    var owners: [(tenant: UInt32, owner: KeyOwner)] = []
    try SubjectBook(path: bookPath).forEachKey(tenant: tenant) { key, _ in
      if !key.isRetired { owners.append((tenant, key.owner)) }
    }
    try renew(owners)
    return owners.count
  }

  /// Puts in force what the book says now.
  package func reload() throws {
    try turn.withLock { _ in
      let book = try SubjectBook(path: bookPath)
      try putInForce(try open(in: book), in: book)
    }
  }

  private var bookPath: String { directory + "/" + SubjectBook.name }

  /// All that the book has; what is in force already is not opened once more.
  private func open(in book: borrowing SubjectBook) throws -> SubjectKeyRing.Builder {
    let tenants = try tenantKeys(in: book).mapValues { try TenantKey($0) }
    let before = holder.ring
    var ring = SubjectKeyRing.Builder()
    ring.reserve(try book.keyCount(tenant: tenant))
    try book.forEachKey(tenant: tenant) { key, sealed in
      try ring.add(key.number, of: key.owner, isRetired: key.isRetired) { room, at in
        guard before.copy(key.number, to: &room, at: at)
          || tenants[key.tenant]?.open(sealed, of: key.tenant, key.owner, to: &room, at: at) == true
        else { throw GatewayError.lostTenantKeys(path: keyPath) }
      }
    }
    return ring
  }

  private func putInForce(_ ring: consuming SubjectKeyRing.Builder, in book: borrowing SubjectBook) throws {
    var erased: [KeyOwner: [ClosedRange<Int64>]] = [:]
    for erasure in try book.erasures() where erasure.isSealedOff {
      erased[erasure.target.owner, default: []].append(erasure.target.times)
    }
    holder.swap(SubjectKeyRing(ring, erased: erased, highest: try book.highestKey()))
  }

  /// - Parameter replacing: as in `SubjectBook.giveKeys`.
  private func give(
    to owners: [(tenant: UInt32, owner: KeyOwner)], replacing: Bool, in book: borrowing SubjectBook,
    adding ring: inout SubjectKeyRing.Builder
  ) throws {
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
    let seals = try tenants.mapValues { try TenantKey($0) }
    var secrets = try randomBytes(owners.count * SubjectKeyRing.keyBytes)
    defer { wipe(&secrets) }
    var keys: [SubjectBook.NewKey] = []
    keys.reserveCapacity(owners.count)
    for (i, (tenant, owner)) in owners.enumerated() {
      guard let seal = seals[tenant] else { preconditionFailure("a tenant without a key") }
      let secret = secrets.span.extracting(i * SubjectKeyRing.keyBytes..<(i + 1) * SubjectKeyRing.keyBytes)
      keys.append(.init(tenant: tenant, owner: owner, sealed: try seal.close(secret, of: tenant, owner)))
    }
    let first = try book.giveKeys(keys, replacing: replacing, nowMs: SystemClock.wallMs())
    ring.reserve(keys.count)
    for (i, key) in keys.enumerated() {
      ring.add(first + UInt64(i), of: key.owner, isRetired: false) { room, at in
        for byte in 0..<SubjectKeyRing.keyBytes { room[at + byte] = secrets[i * SubjectKeyRing.keyBytes + byte] }
      }
    }
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
}

/// A tenant's key at work on those of its subjects.
private final class TenantKey {
  private var key: SealKey
  /// What a subject's key is sealed for; built here each time.
  private var context: [UInt8] = []

  init(_ key: [UInt8]) throws(TLSError) { self.key = try SealKey(key) }

  func close(_ secret: Span<UInt8>, of tenant: UInt32, _ owner: KeyOwner) throws(TLSError) -> [UInt8] {
    setContext(tenant, owner)
    let context = context
    var sealed = [UInt8](repeating: 0, count: secret.count + Seal.overheadBytes)
    var room = sealed.mutableSpan
    try key.close(secret, context: context.span, into: &room, at: 0)
    return sealed
  }

  /// - Returns: false if it is not this tenant's, or not the owner's.
  func open(
    _ sealed: Span<UInt8>, of tenant: UInt32, _ owner: KeyOwner, to room: inout MutableSpan<UInt8>, at: Int
  ) -> Bool {
    setContext(tenant, owner)
    let context = context
    return sealed.count == SubjectKeyRing.keyBytes + Seal.overheadBytes
      && key.open(sealed, context: context.span, into: &room, at: at)
  }

  private func setContext(_ tenant: UInt32, _ owner: KeyOwner) {
    context.removeAll(keepingCapacity: true)
    context += "fixgate subject key ".utf8
    context += String(tenant).utf8
    context.append(UInt8(ascii: " "))
    context += String(owner.raw).utf8
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
