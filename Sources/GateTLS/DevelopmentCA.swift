import COpenSSL

/// Makes the certificates that `fixgate init` starts with: an authority of one's own and a server certificate from it.
package struct DevelopmentCA: Sendable {
  /// Ten years.
  package static let authorityDays = 3_653
  /// Phones refuse server certificates that live longer.
  package static let serverDays = 825
  package static let deviceDays = 365
  /// A device's clock may be this far behind.
  package static let backdatedSeconds: Int64 = 86_400
  /// Names that every server certificate bears.
  package static let usualNames = ["localhost", "127.0.0.1", "::1"]

  /// Give it to devices.
  package let certificatePEM: [UInt8]
  /// Keep it 0600, or away: whoever holds it can pose as the gateway.
  package let keyPEM: [UInt8]

  /// A new authority: P-256, self-signed.
  /// - Throws: `.library`.
  package static func make(commonName: String = "fixgate development CA", nowS: Int64) throws(TLSError) -> DevelopmentCA {
    let key = try PrivateKeyHandle.generateP256()
    let certificate = try CertificateHandle.blank(
      subject: commonName, key: key, nowS: nowS, days: authorityDays)
    try certificate.setIssuer(toSubjectOf: certificate)
    try certificate.add(NID_basic_constraints, "critical,CA:TRUE,pathlen:0", issuer: certificate)
    try certificate.add(NID_key_usage, "critical,keyCertSign,cRLSign", issuer: certificate)
    try certificate.add(NID_subject_key_identifier, "hash", issuer: certificate)
    try certificate.add(NID_authority_key_identifier, "keyid:always", issuer: certificate)
    try certificate.sign(with: key)
    return DevelopmentCA(certificatePEM: try certificate.pem(), keyPEM: try key.pem())
  }

  /// An authority that was kept as PEM.
  package init(certificatePEM: [UInt8], keyPEM: [UInt8]) {
    self.certificatePEM = certificatePEM
    self.keyPEM = keyPEM
  }

  /// A server certificate with a key of its own, for `usualNames` and `names`.
  /// - Parameter names: DNS names (a first label `*` is allowed) or address literals.
  /// - Throws: `.name(index:)`, `.malformed(.authority)`, `.malformed(.key)`, `.keyEncrypted`, `.keyMismatch`, `.library`.
  package func serverIdentity(names: [String] = [], nowS: Int64) throws(TLSError) -> TLSIdentity {
    var entries: [String] = []
    for (index, name) in (DevelopmentCA.usualNames + names).enumerated() {
      guard let checked = CertificateName(name) else {
        throw .name(index: index - DevelopmentCA.usualNames.count)
      }
      let entry = checked.extensionEntry
      if !entries.contains(entry) { entries.append(entry) }
    }
    let key = try PrivateKeyHandle.generateP256()
    let certificate = try issue(
      "fixgate gateway", to: key, days: DevelopmentCA.serverDays, usage: "serverAuth", names: entries, nowS: nowS)
    return TLSIdentity(certificatePEM: certificate, keyPEM: try key.pem())
  }

  /// A device's certificate with a key of its own: it names the device as `fixgate://TENANT/DEVICE`.
  /// - Parameters:
  ///   - tenant, device: names of the registry's alphabet; anything else throws `.name(index:)`, 0 or 1.
  /// - Throws: as `serverIdentity`.
  package func deviceIdentity(
    tenant: String, device: String, days: Int = deviceDays, nowS: Int64
  ) throws(TLSError) -> TLSIdentity {
    let key = try PrivateKeyHandle.generateP256()
    let certificate = try issue(to: key, tenant, device, days: days, nowS: nowS)
    return TLSIdentity(certificatePEM: certificate, keyPEM: try key.pem())
  }

  /// A device's certificate for a key that was made elsewhere.
  /// - Parameter request: PKCS #10, PEM. Only its key is taken: whom the certificate names is said here, whatever it asks for.
  /// - Returns: PEM.
  /// - Throws: as `deviceIdentity`; `.malformed(.request)`, also where it is not signed by its own key; `.weakKey`.
  package func deviceCertificate(
    request: [UInt8], tenant: String, device: String, days: Int = deviceDays, nowS: Int64
  ) throws(TLSError) -> [UInt8] {
    ErrorQueue.clear()
    let raw = unsafe PEM.reading(request) { bio in unsafe PEM_read_bio_X509_REQ(bio, nil, { _, _, _, _ in -1 }, nil) }
    guard let raw = unsafe raw else { throw .malformed(.request, code: ErrorQueue.drain()) }
    defer { unsafe X509_REQ_free(raw) }
    guard let taken = unsafe X509_REQ_get_pubkey(raw) else { throw .malformed(.request, code: ErrorQueue.drain()) }
    let key = unsafe PrivateKeyHandle(taking: taken)
    guard unsafe X509_REQ_verify(raw, key.raw) == 1 else { throw .malformed(.request, code: ErrorQueue.drain()) }
    // What TLS of security level 2 takes: P-256, Ed25519, RSA of 2048.
    guard unsafe EVP_PKEY_get_security_bits(key.raw) >= 112 else { throw .weakKey }
    return try issue(to: key, tenant, device, days: days, nowS: nowS)
  }

  private func issue(
    to key: borrowing PrivateKeyHandle, _ tenant: String, _ device: String, days: Int, nowS: Int64
  ) throws(TLSError) -> [UInt8] {
    for (index, name) in [tenant, device].enumerated() {
      let isPlain = name.utf8.allSatisfy { byte in
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
          || byte == 0x2E || byte == 0x5F || byte == 0x2D
      }
      guard isPlain, (1...64).contains(name.utf8.count) else { throw .name(index: index) }
    }
    return try issue(
      "fixgate device", to: key, days: days, usage: "clientAuth",
      names: ["URI:" + PeerCertificate.scheme + tenant + "/" + device], nowS: nowS)
  }

  private func issue(
    _ subject: String, to key: borrowing PrivateKeyHandle, days: Int, usage: String, names: [String], nowS: Int64
  ) throws(TLSError) -> [UInt8] {
    let issuer = try CertificateHandle(authorityPEM: certificatePEM)
    let issuerKey = try PrivateKeyHandle(pem: keyPEM)
    ErrorQueue.clear()
    guard unsafe X509_check_private_key(issuer.raw, issuerKey.raw) == 1 else {
      ErrorQueue.clear()
      throw .keyMismatch
    }
    let certificate = try CertificateHandle.blank(
      subject: subject, key: key, nowS: nowS, days: days)
    try certificate.setIssuer(toSubjectOf: issuer)
    try certificate.add(NID_basic_constraints, "critical,CA:FALSE", issuer: issuer)
    try certificate.add(NID_key_usage, "critical,digitalSignature", issuer: issuer)
    try certificate.add(NID_ext_key_usage, usage, issuer: issuer)
    try certificate.add(NID_subject_key_identifier, "hash", issuer: issuer)
    try certificate.add(NID_authority_key_identifier, "keyid:always", issuer: issuer)
    try certificate.add(NID_subject_alt_name, names.joined(separator: ","), issuer: issuer)
    try certificate.sign(with: issuerKey)
    return try certificate.pem()
  }
}

extension PrivateKeyHandle {
  fileprivate static func generateP256() throws(TLSError) -> PrivateKeyHandle {
    ErrorQueue.clear()
    guard let raw = unsafe gate_EVP_EC_gen_P256() else { throw .library(code: ErrorQueue.drain()) }
    return unsafe PrivateKeyHandle(taking: raw)
  }

  /// PKCS #8, not encrypted.
  fileprivate func pem() throws(TLSError) -> [UInt8] {
    let out = try MemoryBIO()
    guard unsafe PEM_write_bio_PKCS8PrivateKey(out.raw, raw, nil, nil, 0, nil, nil) == 1 else {
      throw .library(code: ErrorQueue.drain())
    }
    return out.bytes
  }
}

extension CertificateHandle {
  /// The first certificate of the authority's PEM.
  fileprivate init(authorityPEM pem: [UInt8]) throws(TLSError) {
    ErrorQueue.clear()
    let raw = unsafe PEM.reading(pem) { bio in unsafe PEM_read_bio_X509(bio, nil, { _, _, _, _ in -1 }, nil) }
    guard let raw = unsafe raw else { throw .malformed(.authority, code: ErrorQueue.drain()) }
    unsafe self.init(taking: raw)
  }

  /// Version 3, random serial number of 127 bits, subject and public key set.
  fileprivate static func blank(
    subject: String, key: borrowing PrivateKeyHandle, nowS: Int64, days: Int
  ) throws(TLSError) -> CertificateHandle {
    ErrorQueue.clear()
    guard let raw = unsafe X509_new() else { throw .library(code: ErrorQueue.drain()) }
    let certificate = unsafe CertificateHandle(taking: raw)
    var serial = try randomBytes(16)
    // Positive, and never shorter than 16 bytes.
    serial[0] = serial[0] & 0x7F | 0x40
    let subjectBytes = Array(subject.utf8)
    let from = Int(nowS - DevelopmentCA.backdatedSeconds)
    let until = Int(nowS) + days * 86_400
    guard let number = unsafe BN_bin2bn(serial, Int32(serial.count), nil) else {
      throw .library(code: ErrorQueue.drain())
    }
    defer { unsafe BN_free(number) }
    let done = unsafe X509_set_version(raw, 2) == 1
      && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(raw)) != nil
      && ASN1_TIME_set(X509_getm_notBefore(raw), from) != nil
      && ASN1_TIME_set(X509_getm_notAfter(raw), until) != nil
      && X509_set_pubkey(raw, key.raw) == 1
      && X509_NAME_add_entry_by_NID(
        X509_get_subject_name(raw), NID_commonName, MBSTRING_UTF8, subjectBytes, Int32(subjectBytes.count), -1, 0) == 1
    guard done else { throw .library(code: ErrorQueue.drain()) }
    return certificate
  }

  fileprivate borrowing func setIssuer(toSubjectOf issuer: borrowing CertificateHandle) throws(TLSError) {
    guard unsafe X509_set_issuer_name(raw, X509_get_subject_name(issuer.raw)) == 1 else {
      throw .library(code: ErrorQueue.drain())
    }
  }

  /// Adds one extension, in libcrypto's own notation.
  fileprivate borrowing func add(
    _ nid: Int32, _ value: String, issuer: borrowing CertificateHandle
  ) throws(TLSError) {
    ErrorQueue.clear()
    var context = unsafe X509V3_CTX()
    unsafe X509V3_set_ctx(&context, issuer.raw, raw, nil, nil, 0)
    guard let added = unsafe X509V3_EXT_nconf_nid(nil, &context, nid, value) else {
      throw .library(code: ErrorQueue.drain())
    }
    defer { unsafe X509_EXTENSION_free(added) }
    guard unsafe X509_add_ext(raw, added, -1) == 1 else { throw .library(code: ErrorQueue.drain()) }
  }

  fileprivate borrowing func sign(with key: borrowing PrivateKeyHandle) throws(TLSError) {
    ErrorQueue.clear()
    guard unsafe X509_sign(raw, key.raw, EVP_sha256()) > 0 else { throw .library(code: ErrorQueue.drain()) }
  }

  fileprivate borrowing func pem() throws(TLSError) -> [UInt8] {
    let out = try MemoryBIO()
    guard unsafe PEM_write_bio_X509(out.raw, raw) == 1 else { throw .library(code: ErrorQueue.drain()) }
    return out.bytes
  }
}
