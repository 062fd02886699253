import COpenSSL

/// The libssl that is linked at run time.
package enum TLSLibrary {
  package enum Status: Equatable, Sendable {
    /// 3.0, which Debian 12 and Ubuntu 24.04 bring and the tests ran with.
    case supported
    /// Newer: it should work, the tests did not run with it. Log a warning.
    case newer(major: UInt32, minor: UInt32)
  }

  /// Call once at start.
  /// - Throws: `.unsupportedLibrary`: stop; `.library`: libssl could not be set up.
  package static func check() throws(TLSError) -> Status {
    ErrorQueue.clear()
    guard OPENSSL_init_ssl(0, nil) == 1 else { throw .library(code: ErrorQueue.drain()) }
    return try status(major: OPENSSL_version_major(), minor: OPENSSL_version_minor())
  }

  /// As libssl calls itself, such as `OpenSSL 3.0.17 1 Jul 2025`.
  package static var name: String { unsafe String(cString: OpenSSL_version(OPENSSL_VERSION)) }

  static func status(major: UInt32, minor: UInt32) throws(TLSError) -> Status {
    if major < 3 { throw .unsupportedLibrary(major: major, minor: minor) }
    return major == 3 && minor == 0 ? .supported : .newer(major: major, minor: minor)
  }
}
