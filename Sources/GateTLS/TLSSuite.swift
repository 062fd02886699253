import COpenSSL

/// The cipher suites of TLS 1.3 that the record layer has, by IANA number.
package enum TLSSuite: UInt16, CaseIterable, Sendable {
  case aes128GCM = 0x1301
  case aes256GCM = 0x1302
  case chaCha20Poly1305 = 0x1303

  /// As registered with IANA, which is also what libssl calls it.
  package var name: String {
    switch self {
    case .aes128GCM: "TLS_AES_128_GCM_SHA256"
    case .aes256GCM: "TLS_AES_256_GCM_SHA384"
    case .chaCha20Poly1305: "TLS_CHACHA20_POLY1305_SHA256"
    }
  }

  var aead: AEAD {
    switch self {
    case .aes128GCM: .aes128GCM
    case .aes256GCM: .aes256GCM
    case .chaCha20Poly1305: .chaCha20Poly1305
    }
  }

  /// Bytes of a traffic secret: of the suite's hash.
  package var secretBytes: Int { self == .aes256GCM ? 48 : 32 }

  private static let secretBytesMax = 48

  /// HKDF-Expand-Label (RFC 8446 section 7.1) without a context, of at most one block of the hash, which is all that records need.
  /// - Parameter secret: `secretBytes` bytes; `output` may overlap it.
  /// - Throws: `.library`.
  func expand(
    _ secret: UnsafePointer<UInt8>, _ label: StaticString, to output: UnsafeMutableBufferPointer<UInt8>
  ) throws(TLSError) {
    precondition(output.count <= secretBytes)
    let labelBytes = label.utf8CodeUnitCount
    // Length of the output (2), of the label (1), "tls13 " and the label, length of the context (1), number of the block (1).
    let infoBytes = 2 + 1 + 6 + labelBytes + 1 + 1
    precondition(infoBytes <= 32)
    ErrorQueue.clear()
    let done = unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 32 + TLSSuite.secretBytesMax) { scratch in
      unsafe scratch.initialize(repeating: 0)
      defer { unsafe OPENSSL_cleanse(scratch.baseAddress, scratch.count) }
      unsafe scratch[1] = UInt8(output.count)
      unsafe scratch[2] = UInt8(6 + labelBytes)
      for (i, byte) in "tls13 ".utf8.enumerated() { unsafe scratch[3 + i] = byte }
      for i in 0..<labelBytes { unsafe scratch[9 + i] = unsafe label.utf8Start[i] }
      unsafe scratch[infoBytes - 1] = 1
      let block = unsafe scratch.baseAddress! + 32
      let hash = unsafe self == .aes256GCM ? EVP_sha384() : EVP_sha256()
      guard unsafe HMAC(hash, secret, Int32(secretBytes), scratch.baseAddress, infoBytes, block, nil) != nil else {
        return false
      }
      for i in output.indices { unsafe output[i] = block[i] }
      return true
    }
    guard done else { throw .library(code: ErrorQueue.drain()) }
  }
}
