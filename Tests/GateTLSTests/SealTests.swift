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

/// One key for many secrets gives what one for each gives, and no nonce twice.
@Test func oneKeySealsMany() throws {
  let bytes = [UInt8](repeating: 1, count: Seal.keyBytes)
  var key = try SealKey(bytes)
  var nonces: Set<[UInt8]> = []
  for number in 0..<200 as Range<UInt8> {
    let (secret, context) = ([UInt8](repeating: number, count: 32), [1, number])
    var sealed = [UInt8](repeating: 0, count: secret.count + Seal.overheadBytes)
    var room = sealed.mutableSpan
    try key.close(secret.span, context: context.span, into: &room, at: 0)
    nonces.insert(Array(sealed[..<12]))
    #expect(Seal.open(sealed, key: bytes, context: context) == secret)
    let other = try Seal.close(secret, key: bytes, context: context)
    var opened = [UInt8](repeating: 0, count: 40)
    var into = opened.mutableSpan
    #expect(key.open(other.span, context: context.span, into: &into, at: 8))
    #expect(opened == [UInt8](repeating: 0, count: 8) + secret)
    // A wrong context leaves nothing of the secret behind.
    into = opened.mutableSpan
    #expect(!key.open(other.span, context: [1].span, into: &into, at: 8))
    #expect(opened == [UInt8](repeating: 0, count: 40))
  }
  #expect(nonces.count == 200)
}
