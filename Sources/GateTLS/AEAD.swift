/// The ciphers of the record layers, TLS and DTLS.
enum AEAD {
  case aes128GCM
  case aes256GCM
  case aes128CCM8
  case chaCha20Poly1305

  static let nonceBytes = 12
  static let tagBytesMax = 16

  var keyBytes: Int {
    switch self {
    case .aes128GCM, .aes128CCM8: 16
    case .aes256GCM, .chaCha20Poly1305: 32
    }
  }
  var tagBytes: Int { self == .aes128CCM8 ? 8 : 16 }

  /// As libcrypto calls it.
  var name: String {
    switch self {
    case .aes128GCM: "AES-128-GCM"
    case .aes256GCM: "AES-256-GCM"
    case .aes128CCM8: "AES-128-CCM"
    case .chaCha20Poly1305: "ChaCha20-Poly1305"
    }
  }
}
