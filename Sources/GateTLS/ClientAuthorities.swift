import COpenSSL
import GateCore

/// Who may certify devices: the authorities of the tenants. Each must sign the devices' certificates itself, or its file must
/// hold the intermediate that does.
///
/// Sendable: libcrypto counts references atomically, and nothing is set after `init`.
package final class ClientAuthorities: Sendable {
  let list: [ClientAuthority]
  /// Tells these authorities from others, also those of another run.
  let mark: UInt32

  /// - Parameter authorities: PEM of each, and the one tenant that it certifies for; `nil` = all of them.
  /// - Throws: `.malformed(.authority)`, `.library`.
  package init(_ authorities: [(tenant: String?, pem: [UInt8])]) throws(TLSError) {
    var list: [ClientAuthority] = []
    var bytes: [UInt8] = []
    for each in authorities {
      list.append(try ClientAuthority(tenant: each.tenant, pem: each.pem))
      bytes += Array((each.tenant ?? "").utf8) + [0] + each.pem + [0]
    }
    let digest = Digest.sha256(bytes.span)
    mark = digest.span.load32(at: 0)
    self.list = list
  }

  package var isEmpty: Bool { list.isEmpty }
}

/// Owns one `X509_STORE`.
@safe final class ClientAuthority: @unchecked Sendable {
  let tenant: String?
  let pem: [UInt8]
  private let store: OpaquePointer

  init(tenant: String?, pem: [UInt8]) throws(TLSError) {
    ErrorQueue.clear()
    guard let store = unsafe X509_STORE_new() else { throw .library(code: ErrorQueue.drain()) }
    self.tenant = tenant
    self.pem = pem
    unsafe self.store = store
    try unsafe ClientAuthority.fill(store, pem)
  }

  deinit { unsafe X509_STORE_free(store) }

  private static func fill(_ store: OpaquePointer, _ pem: [UInt8]) throws(TLSError) {
    try PEM.forEachCertificate(in: pem, as: .authority) { certificate throws(TLSError) in
      guard unsafe X509_STORE_add_cert(store, certificate.raw) == 1 else { throw .library(code: ErrorQueue.drain()) }
    }
    // The authority named is the anchor, whether or not somebody has certified it in turn.
    unsafe X509_STORE_set_flags(store, UInt(X509_V_FLAG_PARTIAL_CHAIN))
  }

  /// Whether a certificate is this authority's, meant for clients, and valid now.
  func vouches(for certificate: OpaquePointer) -> Bool {
    ErrorQueue.clear()
    defer { ErrorQueue.clear() }
    guard let context = unsafe X509_STORE_CTX_new() else { return false }
    defer { unsafe X509_STORE_CTX_free(context) }
    guard unsafe X509_STORE_CTX_init(context, store, certificate, nil) == 1,
      unsafe X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_CLIENT) == 1
    else { return false }
    return unsafe X509_verify_cert(context) == 1
  }
}
