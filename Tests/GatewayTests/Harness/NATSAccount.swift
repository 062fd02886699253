#if JetStream
import Foundation

/// An account with JetStream and one user, signed by an operator, as NATS's own tool would make them (JWT v2, Ed25519 by openssl).
struct NATSAccount {
  /// For a server's configuration.
  let configuration: String
  /// What the user has: JWT and seed.
  let credentials: String

  /// - Parameter folder: for files of openssl's.
  init(folder: String) throws {
    let operatorKey = try Key(.operator, folder)
    let account = try Key(.account, folder)
    // The servers' own, which JetStream wants beside any other.
    let system = try Key(.account, folder)
    let user = try Key(.user, folder)
    let usual = ["subs", "data", "payload", "imports", "exports", "conn", "leaf"]
    let jetStream = ["mem_storage", "disk_storage", "streams", "consumer"]
    let ownLicence = try operatorKey.sign(about: operatorKey, "\"type\": \"operator\", \"version\": 2")
    func licence(_ account: Key, _ bounds: [String]) throws -> String {
      let limits = bounds.map { "\"\($0)\": -1" }.joined(separator: ", ") + ", \"wildcards\": true"
      return try operatorKey.sign(about: account, "\"type\": \"account\", \"version\": 2, \"limits\": {\(limits)}")
    }
    let pass = try account.sign(
      about: user, "\"type\": \"user\", \"version\": 2, \"pub\": {}, \"sub\": {}, \"subs\": -1, \"data\": -1, \"payload\": -1")
    configuration = """
      operator: "\(ownLicence)"
      resolver: MEMORY
      system_account: \(system.id)
      resolver_preload: { \(account.id): "\(try licence(account, usual + jetStream))", \(system.id): "\(try licence(system, usual))" }
      """
    credentials = """
      -----BEGIN NATS USER JWT-----
      \(pass)
      ------END NATS USER JWT------

      -----BEGIN USER NKEY SEED-----
      \(user.seed)
      ------END USER NKEY SEED------

      """
  }

  private struct Key {
    enum Kind: UInt8 {
      case account = 0
      case `operator` = 112
      case user = 160
    }

    /// Both in NATS's spelling.
    let id: String
    let seed: String
    private let folder: String
    private let file: String

    init(_ kind: Kind, _ folder: String) throws {
      self.folder = folder
      file = folder + "/\(UUID().uuidString).der"
      let secret = (0..<32).map { _ in UInt8.random(in: 0...255) }
      // RFC 8410: an Ed25519 key in PKCS #8 is these bytes and the secret.
      let head: [UInt8] = [0x30, 0x2E, 2, 1, 0, 0x30, 5, 6, 3, 0x2B, 0x65, 0x70, 4, 0x22, 4, 0x20]
      try Data(head + secret).write(to: URL(fileURLWithPath: file))
      let publicFile = file + ".pub"
      try Key.openssl(["pkey", "-inform", "DER", "-in", file, "-pubout", "-outform", "DER", "-out", publicFile])
      let publicKey = try Data(contentsOf: URL(fileURLWithPath: publicFile)).suffix(32)
      id = Key.spelled([kind.rawValue] + publicKey)
      seed = Key.spelled([144 | kind.rawValue >> 5, (kind.rawValue & 31) << 3] + secret)
    }

    func sign(about other: Key, _ claims: String) throws -> String {
      let head = Key.url(Data("{\"typ\": \"JWT\", \"alg\": \"ed25519-nkey\"}".utf8))
      let body = """
        {"jti": "\(UUID().uuidString)", "iat": 1700000000, "iss": "\(id)", "sub": "\(other.id)", "name": "test", "nats": {\(claims)}}
        """
      let text = head + "." + Key.url(Data(body.utf8))
      let (input, output) = (folder + "/text", folder + "/signature")
      try Data(text.utf8).write(to: URL(fileURLWithPath: input))
      try Key.openssl(["pkeyutl", "-sign", "-rawin", "-keyform", "DER", "-inkey", file, "-in", input, "-out", output])
      return text + "." + Key.url(try Data(contentsOf: URL(fileURLWithPath: output)))
    }

    private static func openssl(_ arguments: [String]) throws {
      let outcome = try Child("/usr/bin/env", ["openssl"] + arguments).wait(seconds: 60)
      guard outcome?.status == 0 else { throw GatewayProcess.Failure(description: "openssl: \(outcome?.errors ?? "does not end")") }
    }

    private static func url(_ data: Data) -> String {
      data.base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }

    /// Base32 (RFC 4648) of the bytes and their CRC-16/XMODEM, without padding.
    private static func spelled(_ bytes: [UInt8]) -> String {
      var crc: UInt16 = 0
      for byte in bytes {
        crc ^= UInt16(byte) << 8
        for _ in 0..<8 { crc = crc & 0x8000 == 0 ? crc << 1 : crc << 1 ^ 0x1021 }
      }
      let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
      var (text, word, bits) = ("", 0, 0)
      for byte in bytes + [UInt8(crc & 0xFF), UInt8(crc >> 8)] {
        word = word << 8 | Int(byte)
        bits += 8
        while bits >= 5 {
          bits -= 5
          text.append(letters[word >> bits & 31])
        }
        word &= (1 << bits) - 1
      }
      if bits > 0 { text.append(letters[word << (5 - bits) & 31]) }
      return text
    }
  }
}
#endif
