import COpenSSL
import Glibc

/// What an operator is told about a certificate.
package struct CertificateSummary: Equatable, Sendable {
  /// Seconds since 1970-01-01 UTC.
  package var validFromS: Int64
  package var validUntilS: Int64
  /// SHA-256 of the DER.
  package var fingerprint: [UInt8]
  /// Its key is one of ECDSA on P-256, the curve that modems have.
  package var isP256: Bool

  /// The first certificate of `pem`, which is the leaf.
  /// - Throws: `.malformed(.certificate)`.
  package static func leaf(of pem: [UInt8]) throws(TLSError) -> CertificateSummary {
    var summary: CertificateSummary? = nil
    try PEM.forEachCertificate(in: pem, as: .certificate) { certificate throws(TLSError) in
      guard summary == nil else { return }
      summary = try unsafe CertificateSummary(certificate.raw)
    }
    guard let summary else { throw .malformed(.certificate, code: 0) }
    return summary
  }

  /// Whole days until the certificate ends, rounded down; negative once it has.
  package func daysLeft(nowS: Int64) -> Int64 {
    let (left, overflow) = validUntilS.subtractingReportingOverflow(nowS)
    guard !overflow else { return validUntilS < 0 ? .min / 86_400 : .max / 86_400 }
    return left >= 0 ? left / 86_400 : -((-(left + 1)) / 86_400) - 1
  }

  init(_ certificate: OpaquePointer) throws(TLSError) {
    ErrorQueue.clear()
    guard let from = unsafe CertificateSummary.seconds(X509_get0_notBefore(certificate)),
      let until = unsafe CertificateSummary.seconds(X509_get0_notAfter(certificate))
    else { throw .malformed(.certificate, code: ErrorQueue.drain()) }
    validFromS = from
    validUntilS = until
    var digest = [UInt8](repeating: 0, count: Digest.sha256Bytes)
    guard unsafe X509_digest(certificate, EVP_sha256(), &digest, nil) == 1 else {
      throw .library(code: ErrorQueue.drain())
    }
    fingerprint = digest
    isP256 = unsafe CertificateSummary.groupName(of: certificate) == "prime256v1"
  }

  private static func groupName(of certificate: OpaquePointer) -> String? {
    guard let key = unsafe X509_get0_pubkey(certificate) else { return nil }
    var name = [CChar](repeating: 0, count: 64)
    var count = 0
    let found = unsafe EVP_PKEY_get_group_name(key, &name, name.count, &count) == 1
    ErrorQueue.clear()
    return found ? String(decoding: name[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self) : nil
  }

  private static func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int64? {
    var broken = unsafe tm()
    guard unsafe ASN1_TIME_to_tm(time, &broken) == 1 else { return nil }
    return Int64(unsafe timegm(&broken))
  }
}
