import Foundation
import GateCore
import GateStore
import GateTLS
import Gateway
import Testing

@Suite struct SubjectKeysTests {
  /// The keys that a run goes on with are those that the next one finds, also where they are stored many at a time.
  @Test(arguments: [1, 64, 150]) func keysAreThoseOfTheBook(count: Int) throws {
    let scratch = try Scratch()
    let keyPath = scratch.path + "/registry.key"
    try Data(repeating: 7, count: Seal.keyBytes).write(to: URL(filePath: keyPath))
    let store = try RegistryStore(path: scratch.path + "/" + GatewayServer.registryName)
    for tenant in ["one", "two"] { _ = try store.createTenant(tenant, nowMs: 0) }
    func add(_ number: Int) throws {
      _ = try store.addDevice(
        tenant: number % 3 == 0 ? "one" : "two", id: "device-\(number)", tokenSelector: UInt64(number),
        tokenHash: SecretHash([UInt8](repeating: 1, count: 32).span), nowMs: 0)
    }
    for number in 1...count { try add(number) }
    let owners = (1...UInt32(count)).map { KeyOwner.device($0) }
    let keys = try #require(try SubjectKeys.open(directory: scratch.path, keyPath: keyPath))
    let first = SubjectKeysTests.inForce(keys, owners)
    #expect(Set(first.values).count == count)
    #expect(SubjectKeysTests.inForce(try SubjectKeys.open(directory: scratch.path, keyPath: keyPath), owners) == first)
    // Who is new gets a key, the others keep theirs.
    try add(count + 1)
    try keys.cover()
    let more = SubjectKeysTests.inForce(keys, owners + [.device(UInt32(count) + 1)])
    #expect(more.count == count + 1 && more.filter { first[$0.key] != nil } == first)
    // Renewed ones take the place of theirs, which go on opening.
    let before = owners.compactMap { keys.holder.ring.key(of: $0) }
    _ = try keys.renewAll(tenant: 2)
    let renewed = SubjectKeysTests.inForce(keys, owners)
    #expect(owners.enumerated().allSatisfy { (renewed[$1] == first[$1]) == (($0 + 1) % 3 == 0) })
    #expect(before.allSatisfy { SubjectKeysTests.key($0, of: keys.holder.ring) != nil })
    let later = try #require(try SubjectKeys.open(directory: scratch.path, keyPath: keyPath))
    #expect(SubjectKeysTests.inForce(later, owners) == renewed)
    #expect(before.allSatisfy { SubjectKeysTests.key($0, of: later.holder.ring) == SubjectKeysTests.key($0, of: keys.holder.ring) })
    #expect(later.holder.ring.highest == keys.holder.ring.highest)
  }

  private static func inForce(_ keys: SubjectKeys?, _ owners: [KeyOwner]) -> [KeyOwner: [UInt8]] {
    guard let ring = keys?.holder.ring else { return [:] }
    return owners.reduce(into: [:]) { found, owner in
      found[owner] = ring.key(of: owner).flatMap { key($0, of: ring) }
    }
  }

  private static func key(_ number: UInt64, of ring: SubjectKeyRing) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: SubjectKeyRing.keyBytes)
    var room = bytes.mutableSpan
    return ring.copy(number, to: &room, at: 0) ? bytes : nil
  }
}
