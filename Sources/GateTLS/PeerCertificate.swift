import COpenSSL

/// The certificate by which a device has proven itself, as far as the gateway cares.
package struct PeerCertificate: Equatable, Sendable {
  /// SHA-256 of the DER, 32 bytes.
  package var fingerprint: [UInt8]
  /// Seconds since 1970-01-01 UTC.
  package var validUntilS: Int64
  /// Whom it names: one URI `fixgate://TENANT/DEVICE` in subjectAltName, or without any the common name `TENANT/DEVICE`.
  package var tenant: String?
  package var device: String?
  /// The tenants for which one of the authorities in force vouches; `anyTenant`: one vouches for all of them.
  package var tenants: Set<String> = []
  package var anyTenant = false

  package static let scheme = "fixgate://"

  /// Reads the first certificate of `pem`, without judging it.
  /// - Throws: `.malformed(.certificate)`.
  package static func leaf(of pem: [UInt8]) throws(TLSError) -> PeerCertificate {
    var found: PeerCertificate? = nil
    try PEM.forEachCertificate(in: pem, as: .certificate) { certificate throws(TLSError) in
      if found == nil { found = try unsafe PeerCertificate(certificate.raw) }
    }
    guard let found else { throw .malformed(.certificate, code: 0) }
    return found
  }

  init(_ raw: OpaquePointer) throws(TLSError) {
    let summary = try unsafe CertificateSummary(raw)
    fingerprint = summary.fingerprint
    validUntilS = summary.validUntilS
    let names = unsafe PeerCertificate.uris(of: raw).filter { $0.hasPrefix(PeerCertificate.scheme) }
    let text: Substring?
    switch names.count {
    case 0: text = unsafe PeerCertificate.commonName(of: raw).map { $0[...] }
    case 1: text = names[0].dropFirst(PeerCertificate.scheme.count)
    default: text = nil  // Whom of them should it be?
    }
    guard let parts = text?.split(separator: "/", omittingEmptySubsequences: false), parts.count == 2,
      !parts[0].isEmpty, !parts[1].isEmpty
    else { return }
    tenant = String(parts[0])
    device = String(parts[1])
  }

  /// `nil` for a certificate that cannot be read.
  init?(_ raw: OpaquePointer, vouchedForBy authorities: ClientAuthorities) {
    guard let peer = try? unsafe PeerCertificate(raw) else { return nil }
    self = peer
    for authority in authorities.list where unsafe authority.vouches(for: raw) {
      if let tenant = authority.tenant { tenants.insert(tenant) } else { anyTenant = true }
    }
  }

  /// - Returns: `nil` if libcrypto cannot read it.
  static func of(der: [UInt8], vouchedForBy authorities: ClientAuthorities) -> PeerCertificate? {
    unsafe der.withUnsafeBufferPointer { bytes in
      var start = bytes.baseAddress
      guard let raw = unsafe d2i_X509(nil, &start, bytes.count) else { return nil }
      defer { unsafe X509_free(raw) }
      return unsafe PeerCertificate(raw, vouchedForBy: authorities)
    }
  }

  private static func uris(of raw: OpaquePointer) -> [String] {
    guard let found = unsafe X509_get_ext_d2i(raw, NID_subject_alt_name, nil, nil) else { return [] }
    let names = OpaquePointer(found)
    defer { unsafe GENERAL_NAMES_free(names) }
    var texts: [String] = []
    let count = unsafe gate_sk_GENERAL_NAME_num(names)
    for i in 0..<max(count, 0) {
      var type: Int32 = 0
      guard let name = unsafe gate_sk_GENERAL_NAME_value(names, i),
        let value = unsafe GENERAL_NAME_get0_value(name, &type), type == GEN_URI
      else { continue }
      texts.append(unsafe text(of: value.assumingMemoryBound(to: ASN1_STRING.self)))
    }
    return texts
  }

  private static func commonName(of raw: OpaquePointer) -> String? {
    guard let subject = unsafe X509_get_subject_name(raw) else { return nil }
    let index = unsafe X509_NAME_get_index_by_NID(subject, NID_commonName, -1)
    guard index >= 0, let entry = unsafe X509_NAME_get_entry(subject, index),
      let value = unsafe X509_NAME_ENTRY_get_data(entry)
    else { return nil }
    return unsafe text(of: value)
  }

  private static func text(of value: UnsafePointer<ASN1_STRING>) -> String {
    let count = Int(unsafe ASN1_STRING_length(value))
    guard count > 0, let start = unsafe ASN1_STRING_get0_data(value) else { return "" }
    return unsafe String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
  }
}

extension TLSEngine {
  /// Server: the device's certificate, if it has shown one. A resumed session brings it along in its ticket, so it is judged
  /// anew here each time: against the clock and against the authorities in force now.
  package func peerCertificate(_ authorities: ClientAuthorities) -> PeerCertificate? {
    switch own {
    case .some(let own):
      guard isEstablished else { return nil }
      return own.peerCertificate.flatMap { PeerCertificate.of(der: $0, vouchedForBy: authorities) }
    case .none: break
    }
    guard isEstablished || takesEarlyData, let raw = unsafe rawPeerCertificate else { return nil }
    return unsafe PeerCertificate(raw, vouchedForBy: authorities)
  }
}
