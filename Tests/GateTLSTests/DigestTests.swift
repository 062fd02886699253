import GateTLS
import Testing

@Test(arguments: [
  ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
  ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
  (
    "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
  ),
])
func sha256Vectors(text: String, hex: String) {  // FIPS 180-4
  let digest = Digest.sha256(Array(text.utf8).span)
  #expect(digest.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() == hex)
}

@Test(arguments: [
  ([], [], true), ([1, 2], [1, 2], true), ([1, 2], [1, 3], false), ([1, 2], [1, 2, 3], false), ([], [0], false),
] as [([UInt8], [UInt8], Bool)])
func constantTimeEquality(a: [UInt8], b: [UInt8], equal: Bool) {
  let result = constantTimeEqual(a.span, b.span)
  #expect(result == equal)
}

@Test func randomBytesDiffer() throws {
  #expect(try randomBytes(0) == [])
  #expect(try randomBytes(33).count == 33)
  #expect(try randomBytes(16) != randomBytes(16))
}

@Test func wiping() {
  var key: [UInt8] = [1, 2, 3]
  wipe(&key)
  #expect(key == [0, 0, 0])
}
