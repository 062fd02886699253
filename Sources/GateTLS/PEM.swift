import COpenSSL
import Glibc

/// Owns one libcrypto BIO over memory.
@safe struct MemoryBIO: ~Copyable {
  let raw: OpaquePointer

  /// Collects what libcrypto writes.
  init() throws(TLSError) {
    guard let raw = unsafe BIO_new(BIO_s_secmem()) else { throw .library(code: ErrorQueue.drain()) }
    unsafe self.raw = raw
  }

  deinit { unsafe BIO_free(raw) }

  var bytes: [UInt8] {
    var data: UnsafePointer<UInt8>? = nil
    let count = unsafe gate_BIO_get_mem_data(raw, &data)
    return unsafe Array(UnsafeBufferPointer(start: data, count: count))
  }
}

/// Owns one reference to a certificate.
@safe struct CertificateHandle: ~Copyable {
  let raw: OpaquePointer
  init(taking raw: OpaquePointer) { unsafe self.raw = raw }
  deinit { unsafe X509_free(raw) }
}

/// Owns one reference to a private key.
@safe struct PrivateKeyHandle: ~Copyable {
  let raw: OpaquePointer
  init(taking raw: OpaquePointer) { unsafe self.raw = raw }
  deinit { unsafe EVP_PKEY_free(raw) }

  init(pem: [UInt8]) throws(TLSError) {
    ErrorQueue.clear()
    var encrypted = false
    let key = unsafe PEM.reading(pem) { bio in
      unsafe PEM_read_bio_PrivateKey(
        bio, nil,
        { _, _, _, asked in
          // Without a callback of ours libcrypto would ask on the terminal.
          if let asked = unsafe asked { unsafe asked.assumingMemoryBound(to: Bool.self).pointee = true }
          return -1
        }, &encrypted)
    }
    guard let key = unsafe key else {
      let code = ErrorQueue.drain()
      throw encrypted ? .keyEncrypted : .malformed(.key, code: code)
    }
    unsafe self.init(taking: key)
    ErrorQueue.clear()
  }
}

package enum PEM {
  /// Largest PEM input in bytes.
  static let bytesMax = 1 << 20

  /// Runs `body` over a BIO that reads `pem`.
  static func reading<R>(_ pem: [UInt8], _ body: (OpaquePointer) -> R?) -> R? {
    guard pem.count <= bytesMax else { return nil }
    return unsafe pem.withUnsafeBytes { bytes in
      guard let bio = unsafe BIO_new_mem_buf(bytes.baseAddress, Int32(bytes.count)) else { return nil }
      defer { unsafe BIO_free(bio) }
      return unsafe body(bio)
    }
  }

  /// Hands each certificate of `pem` to `body`, in order.
  /// - Throws: `.malformed` if there is none, or one cannot be read; what `body` throws.
  static func forEachCertificate(
    in pem: [UInt8], as input: TLSInput, _ body: (borrowing CertificateHandle) throws(TLSError) -> Void
  ) throws(TLSError) {
    ErrorQueue.clear()
    var failure: TLSError? = nil
    var number = 0
    _ = unsafe reading(pem) { bio -> Bool? in
      while let raw = unsafe PEM_read_bio_X509(bio, nil, { _, _, _, _ in -1 }, nil) {
        let certificate = unsafe CertificateHandle(taking: raw)
        number += 1
        do throws(TLSError) { try body(certificate) } catch {
          failure = error
          return nil
        }
      }
      return nil
    }
    if let failure { throw failure }
    // The end of the input shows as "no start line"; anything else is a broken entry.
    let code = ErrorQueue.drain()
    let atEnd = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE
    guard number > 0, atEnd else { throw .malformed(input, code: code) }
  }

  /// The bytes of a PEM file.
  /// - Throws: `.file`; `.malformed` above 1 MiB.
  package static func read(_ path: String, as input: TLSInput) throws(TLSError) -> [UInt8] {
    guard let file = unsafe fopen(path, "re") else { throw .file(input, errno: errno) }
    defer { unsafe fclose(file) }
    // No stdio buffer, which would keep a copy of the key.
    unsafe setvbuf(file, nil, _IONBF, 0)
    var bytes = [UInt8](repeating: 0, count: bytesMax + 1)
    var count = 0
    while count < bytes.count {
      let got = unsafe bytes.withUnsafeMutableBytes { room in
        unsafe fread(room.baseAddress! + count, 1, room.count - count, file)
      }
      if got == 0 { break }
      count += got
    }
    guard unsafe ferror(file) == 0 else { throw .file(input, errno: errno) }
    guard count <= bytesMax else { throw .malformed(input, code: 0) }
    let exact = Array(bytes[..<count])
    wipe(&bytes)
    return exact
  }
}

/// Overwrites the bytes in a way that the optimiser keeps.
package func wipe(_ bytes: inout [UInt8]) {
  var all = bytes.mutableSpan
  all.wipe()
}

extension MutableSpan where Element == UInt8 {
  /// As above, all or what lies from `start` on.
  mutating func wipe(from start: Int = 0) {
    precondition(start >= 0 && start <= count)
    unsafe withUnsafeMutableBytes { all in
      if let base = all.baseAddress { unsafe OPENSSL_cleanse(base + start, all.count - start) }
    }
  }
}
