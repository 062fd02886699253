import GateTLS
import Testing

@Test func sealedSecretsOpenOnlyWithTheirKeyAndPlace() throws {
  let (key, other) = ([UInt8](repeating: 1, count: Seal.keyBytes), [UInt8](repeating: 2, count: Seal.keyBytes))
  let secret = [UInt8](0..<32)
  let sealed = try Seal.close(secret, key: key, context: [1, 2])
  #expect(sealed.count == secret.count + Seal.overheadBytes)
  #expect(try Seal.close(secret, key: key, context: [1, 2]) != sealed)
  #expect(Seal.open(sealed, key: key, context: [1, 2]) == secret)
  #expect(Seal.open(sealed, key: other, context: [1, 2]) == nil)
  #expect(Seal.open(sealed, key: key, context: [1, 3]) == nil)
  #expect(Seal.open(Array(sealed.dropLast()), key: key, context: [1, 2]) == nil)
  #expect(Seal.open([], key: key, context: []) == nil)
  for i in sealed.indices {
    var touched = sealed
    touched[i] ^= 1
    #expect(Seal.open(touched, key: key, context: [1, 2]) == nil)
  }
}
