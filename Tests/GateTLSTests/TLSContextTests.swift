import Foundation
import GateTLS
import Testing

@Test func identityFromFiles() throws {
  let identity = try Fixture.identity.get()
  let directory = try TemporaryDirectory()
  try directory.write(identity.certificatePEM, to: "server.pem")
  try directory.write(identity.keyPEM, to: "server.key")
  let read = try TLSIdentity(certificateFile: directory / "server.pem", keyFile: directory / "server.key")
  #expect(read.certificatePEM == identity.certificatePEM && read.keyPEM == identity.keyPEM)
  _ = try TLSServerContext(identity: read, ticketKeys: Fixture.ticketKeys)
  #expect(throws: TLSError.file(.certificate, errno: ENOENT)) {
    try TLSIdentity(certificateFile: directory / "none.pem", keyFile: directory / "server.key")
  }
  #expect(throws: TLSError.file(.key, errno: ENOENT)) {
    try TLSIdentity(certificateFile: directory / "server.pem", keyFile: directory / "none.key")
  }
  #expect(throws: TLSError.file(.key, errno: EISDIR)) {
    try TLSIdentity(certificateFile: directory / "server.pem", keyFile: directory.path)
  }
}

@Test func keyOfAnotherCertificate() throws {
  let identity = try Fixture.identity.get()
  let other = try Fixture.authority.get().serverIdentity(nowS: realNowS)
  #expect(throws: TLSError.keyMismatch) {
    try TLSServerContext(
      identity: TLSIdentity(certificatePEM: identity.certificatePEM, keyPEM: other.keyPEM), ticketKeys: Fixture.ticketKeys)
  }
}

/// `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:x`, shortened: libcrypto asks for the
/// passphrase before it looks at the content.
let encryptedKey = """
  -----BEGIN EC PRIVATE KEY-----
  Proc-Type: 4,ENCRYPTED
  DEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF

  AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
  -----END EC PRIVATE KEY-----

  """

@Test func encryptedKeyIsNamedAndNobodyIsAsked() throws {
  let identity = TLSIdentity(certificatePEM: try Fixture.identity.get().certificatePEM, keyPEM: Array(encryptedKey.utf8))
  #expect(throws: TLSError.keyEncrypted) { try TLSServerContext(identity: identity, ticketKeys: Fixture.ticketKeys) }
}

@Test func wrongPEM() throws {
  let good = try Fixture.identity.get()
  let cut = Array(good.certificatePEM.dropLast(60))
  for (certificate, key, input) in [
    (good.keyPEM, good.keyPEM, TLSInput.certificate), (good.certificatePEM, good.certificatePEM, .key),
    ([], good.keyPEM, .certificate), (good.certificatePEM, [], .key), (cut, good.keyPEM, .certificate),
    (good.certificatePEM + cut, good.keyPEM, .certificate), (good.certificatePEM, Array(good.keyPEM.dropLast(40)), .key),
    (Array("nonsense".utf8), good.keyPEM, .certificate),
    ([UInt8](repeating: 10, count: 1 << 21), good.keyPEM, .certificate),
  ] {
    var failure: TLSError? = nil
    do throws(TLSError) {
      _ = try TLSServerContext(
        identity: TLSIdentity(certificatePEM: certificate, keyPEM: key), ticketKeys: Fixture.ticketKeys)
    } catch { failure = error }
    guard case .malformed(input, _)? = failure else {
      Issue.record("\(String(describing: failure)) instead of \(input)")
      continue
    }
  }
  for pem in [[], Array("nonsense".utf8), good.keyPEM, cut] {
    #expect(throws: TLSError.self) { try TLSClientContext(authorityPEM: pem) }
  }
}

@Test func chainIsSentWhole() throws {
  // The authority rides along as if it were an intermediate: the flight grows by about its size.
  let authority = try Fixture.authority.get()
  let leaf = try Fixture.identity.get()
  let chain = TLSIdentity(certificatePEM: leaf.certificatePEM + authority.certificatePEM, keyPEM: leaf.keyPEM)
  var sizes: [Int] = []
  for identity in [leaf, chain] {
    var pair = try Pair(
      server: TLSServerContext(identity: identity, ticketKeys: Fixture.ticketKeys), client: Fixture.client())
    _ = try pair.server.feed(pair.client.takeOutput())
    sizes.append(pair.server.outputCount)
    try pair.settle()
    #expect(pair.client.isEstablished && pair.server.isEstablished)
  }
  #expect(sizes[1] - sizes[0] > 300)
}

@Test func connectionOutlivesItsContext() throws {
  var server: TLSServerContext? = try Fixture.server()
  var engine = try TLSEngine(server: #require(server))
  server = nil
  var client = try TLSEngine(client: Fixture.client(), serverName: "localhost")
  _ = try engine.feed(client.takeOutput())
  _ = try client.feed(engine.takeOutput())
  _ = try engine.feed(client.takeOutput())
  #expect(engine.isEstablished == true)
}

@Test func errorsSayWhatToDo() throws {
  for error in [
    TLSError.keyMismatch, .keyEncrypted, .certificateRefused(result: 10), .nameMismatch(result: 62), .alert(48),
    .file(.key, errno: ENOENT), .malformed(.authority, code: 0), .noSharedVersion(code: 0),
  ] { #expect(error.description.count > 20) }
  #expect(TLSError.alert(48).description.contains("unknown CA"))
  #expect(TLSError.certificateRefused(result: 10).description.contains("expired"))
}

/// A directory that goes at the end.
struct TemporaryDirectory: ~Copyable {
  let path: String

  init() throws {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("fixgate-" + UUID().uuidString)
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: false)
    path = url.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  static func / (directory: borrowing TemporaryDirectory, name: String) -> String { directory.path + "/" + name }

  func write(_ bytes: [UInt8], to name: String) throws {
    try Data(bytes).write(to: URL(fileURLWithPath: path + "/" + name))
  }
}
