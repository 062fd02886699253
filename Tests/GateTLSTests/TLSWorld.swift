import COpenSSL
import GateTLS
import Testing

/// libssl alone, as either end of a TLS 1.3 connection, over memory: what the record layer is held against.
@safe final class LibsslStream {
  private let context: OpaquePointer
  private let ssl: OpaquePointer
  private let incoming: OpaquePointer
  private let outgoing: OpaquePointer
  private(set) var isEstablished = false
  private(set) var received: [UInt8] = []
  private(set) var tickets = 0
  /// The alert by which the other end gave up, as libssl reports it.
  private(set) var alert: UInt8?

  /// - Parameters:
  ///   - paddedTo: libssl pads its records to a multiple of this; 0 = it does not.
  ///   - fragmentCode: max_fragment_length that a client asks for (RFC 6066 section 4); 0 = none.
  init(server: Bool, suite: TLSSuite, paddedTo: Int = 0, fragmentCode: UInt8 = 0) throws {
    let context = unsafe SSL_CTX_new(server ? TLS_server_method() : TLS_client_method())!
    unsafe SSL_CTX_set_ciphersuites(context, suite.name)
    if paddedTo > 0 { unsafe SSL_CTX_set_block_padding(context, paddedTo) }
    if fragmentCode > 0 { unsafe SSL_CTX_set_tlsext_max_fragment_length(context, fragmentCode) }
    if server {
      let identity = try Fixture.identity.get()
      unsafe identity.certificatePEM.withUnsafeBytes { bytes in
        let bio = unsafe BIO_new_mem_buf(bytes.baseAddress, Int32(bytes.count))
        let certificate = unsafe PEM_read_bio_X509(bio, nil, nil, nil)
        unsafe SSL_CTX_use_certificate(context, certificate)
        unsafe X509_free(certificate)
        unsafe BIO_free(bio)
      }
      unsafe identity.keyPEM.withUnsafeBytes { bytes in
        let bio = unsafe BIO_new_mem_buf(bytes.baseAddress, Int32(bytes.count))
        let key = unsafe PEM_read_bio_PrivateKey(bio, nil, nil, nil)
        unsafe SSL_CTX_use_PrivateKey(context, key)
        unsafe EVP_PKEY_free(key)
        unsafe BIO_free(bio)
      }
    }
    unsafe self.context = context
    unsafe ssl = SSL_new(context)!
    unsafe incoming = BIO_new(BIO_s_mem())!
    unsafe outgoing = BIO_new(BIO_s_mem())!
    unsafe SSL_set_bio(ssl, incoming, outgoing)
    if server { unsafe SSL_set_accept_state(ssl) } else { unsafe SSL_set_connect_state(ssl) }
  }

  deinit {
    unsafe SSL_free(ssl)
    unsafe SSL_CTX_free(context)
  }

  var isClosed: Bool { unsafe SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN != 0 }

  /// Takes bytes, or begins.
  func receive(_ bytes: [UInt8] = []) {
    if !bytes.isEmpty { unsafe BIO_write(incoming, bytes, Int32(bytes.count)) }
    ERR_clear_error()
    if !isEstablished { isEstablished = unsafe SSL_do_handshake(ssl) == 1 }
    guard isEstablished else { return }
    var buffer = [UInt8](repeating: 0, count: 20_000)
    while true {
      let count = unsafe SSL_read(ssl, &buffer, Int32(buffer.count))
      guard count > 0 else { break }
      received += buffer[..<Int(count)]
    }
    let reason = ERR_GET_REASON(ERR_peek_error())
    if reason >= SSL_AD_REASON_OFFSET { alert = UInt8(reason - SSL_AD_REASON_OFFSET) }
  }

  func takeReceived() -> [UInt8] {
    defer { received = [] }
    return received
  }

  func write(_ plaintext: [UInt8]) { unsafe SSL_write(ssl, plaintext, Int32(plaintext.count)) }
  func close() { unsafe SSL_shutdown(ssl) }
  func updateKeys(requesting: Bool) {
    unsafe SSL_key_update(ssl, requesting ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED)
    unsafe SSL_do_handshake(ssl)
  }

  func takeOutput() -> [UInt8] {
    var all: [UInt8] = []
    var bytes = [UInt8](repeating: 0, count: 40_000)
    while true {
      let count = unsafe BIO_read(outgoing, &bytes, Int32(bytes.count))
      guard count > 0 else { return all }
      all += bytes[..<Int(count)]
    }
  }
}

/// Where the records of a stream of bytes lie.
func records(of bytes: [UInt8]) throws -> [[UInt8]] {
  var all: [[UInt8]] = []
  var at = 0
  while at < bytes.count {
    let count = try #require(try TLSRecordLayer.recordBytes(at: at, of: bytes.span))
    all.append(Array(bytes[at..<at + count]))
    at += count
  }
  return all
}

/// Seals whatever it is told, straight by libcrypto: what no honest peer would.
struct RawSealer {
  let suite: TLSSuite
  let key: [UInt8]
  let iv: [UInt8]
  var sequence: UInt64 = 0

  /// A record of these inner bytes: content, type, padding.
  mutating func seal(_ inner: [UInt8], outerType: UInt8 = 23) -> [UInt8] {
    var nonce = iv
    for i in 0..<8 { nonce[4 + i] ^= UInt8(truncatingIfNeeded: sequence >> UInt64(56 - 8 * i)) }
    sequence += 1
    let fragment = inner.count + 16
    let header = [outerType, 3, 3, UInt8(fragment >> 8), UInt8(fragment & 0xFF)]
    let context = unsafe EVP_CIPHER_CTX_new()
    defer { unsafe EVP_CIPHER_CTX_free(context) }
    let cipher =
      switch suite {
      case .aes128GCM: unsafe EVP_aes_128_gcm()
      case .aes256GCM: unsafe EVP_aes_256_gcm()
      case .chaCha20Poly1305: unsafe EVP_chacha20_poly1305()
      }
    var out = [UInt8](repeating: 0, count: inner.count)
    var tag = [UInt8](repeating: 0, count: 16)
    var count: Int32 = 0
    unsafe EVP_EncryptInit_ex(context, cipher, nil, key, nonce)
    unsafe EVP_EncryptUpdate(context, nil, &count, header, 5)
    unsafe EVP_EncryptUpdate(context, &out, &count, inner, Int32(inner.count))
    unsafe EVP_EncryptFinal_ex(context, &tag, &count)
    unsafe EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, &tag)
    return header + out + tag
  }
}

/// What one record came to.
struct OpenedRecord: Equatable {
  var type: TLSContentType
  var content: [UInt8]
}

extension TLSRecordLayer {
  mutating func seal(_ content: [UInt8], with cipher: borrowing RecordCipher) throws -> [UInt8] {
    try seal(.applicationData, content, with: cipher)
  }

  mutating func seal(
    _ type: TLSContentType, _ content: [UInt8], with cipher: borrowing RecordCipher
  ) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: content.count + TLSRecordLayer.overheadBytes)
    var offset = 0
    var span = bytes.mutableSpan
    try seal(type, content.span, into: &span, at: &offset, with: cipher)
    #expect(offset == bytes.count)
    return bytes
  }

  mutating func open(_ record: [UInt8], with cipher: borrowing RecordCipher) throws(TLSError) -> OpenedRecord {
    var room = [UInt8](repeating: 0, count: max(record.count, 1))
    var span = room.mutableSpan
    let (type, count) = try open(0..<record.count, of: record.span, into: &span, at: 0, with: cipher)
    return OpenedRecord(type: type, content: Array(room[..<count]))
  }
}

extension TLSEngine {
  mutating func say(_ plaintext: [UInt8]) throws(TLSError) { try write(plaintext.span) }
}

extension TLSRecordStream {
  mutating func say(_ plaintext: [UInt8]) throws(TLSError) { try write(plaintext.span) }

  mutating func feed(
    _ bytes: [UInt8], room: Int = TLSRecordLayer.innerBytesMax, into plaintext: inout [UInt8]
  ) throws(TLSError) -> TLSProgress {
    var rest = bytes
    var buffer = [UInt8](repeating: 0, count: room)
    while true {
      var offset = 0
      var failure: TLSError? = nil
      var progress = TLSProgress.open
      var span = buffer.mutableSpan
      do throws(TLSError) { progress = try receive(rest.span, plaintext: &span, at: &offset) } catch { failure = error }
      plaintext += buffer[..<offset]
      if let failure { throw failure }
      guard case .plaintextFull(let consumed) = progress else { return progress }
      rest.removeFirst(consumed)
    }
  }

  mutating func feed(_ bytes: [UInt8]) throws(TLSError) -> [UInt8] {
    var plaintext: [UInt8] = []
    _ = try feed(bytes, into: &plaintext)
    return plaintext
  }

  mutating func takeOutput() -> [UInt8] {
    var bytes: [UInt8] = []
    _ = drain { output in
      for i in output.indices { bytes.append(output[i]) }
      return output.count
    }
    return bytes
  }
}

func hex(_ text: String) -> [UInt8] {
  let digits = text.filter { !$0.isWhitespace }
  return stride(from: 0, to: digits.count, by: 2).map { at in
    UInt8(digits.dropFirst(at).prefix(2), radix: 16)!
  }
}

/// RFC 8448 section 3, "Simple 1-RTT Handshake": TLS_AES_128_GCM_SHA256.
enum RFC8448 {
  static let clientSecret = hex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5")
  static let serverSecret = hex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643")
  static let clientKey = hex("17422dda596ed5d9acd890e3c63f5051")
  static let clientIV = hex("5b78923dee08579033e523d9")
  static let data = [UInt8](0..<50)
  static let clientData = hex(
    """
    17030300 43a23f70 54b62c94 d0affafe 8228ba55 cbefacea 42f914aa 66bcab3f 2b9819a8 a5b46b39
    5bd54a9a 20441e2b 62974e1f 5a6292a2 977014bd 1e3deae6 3aeebb21 694915e4
    """)
  /// The record behind the ticket.
  static let serverData = hex(
    """
    17030300 432e937e 11ef4ac7 40e538ad 36005fc4 a46932fc 3225d05f 82aa1b36 e30efaf9 7d90e6df
    fc602dcb 501a59a8 fcc49c4b f2e5f0a2 1c0047c2 abf33254 0dd032e1 67c2955d
    """)
  static let clientClose = hex("17030300 13c98727 60655666 b74d7ff1 153efd6d b6d0b0e3")
  static let serverClose = hex("17030300 13b58fd6 7166ebf5 99d24720 cfbe7efa 7a8864a9")

  static func layer(ofServer: Bool, writeSequence: UInt64 = 0, readSequence: UInt64 = 0) throws(TLSError) -> TLSRecordLayer {
    let (read, write) = ofServer ? (clientSecret, serverSecret) : (serverSecret, clientSecret)
    return try TLSRecordLayer(
      suite: .aes128GCM, readSecret: read.span, writeSecret: write.span, readSequence: readSequence,
      writeSequence: writeSequence)
  }

  /// The server's end.
  static func stream(writeSequence: UInt64 = 0, readSequence: UInt64 = 0) throws(TLSError) -> TLSRecordStream {
    TLSRecordStream(
      try layer(ofServer: true, writeSequence: writeSequence, readSequence: readSequence), isClient: false,
      with: try ThreadCipher())
  }

  /// What the client sends, dishonest at will.
  static var client: RawSealer { RawSealer(suite: .aes128GCM, key: clientKey, iv: clientIV) }
}
