import COpenSSL

/// A DNS name or an address literal, as a certificate bears it.
enum CertificateName: Equatable {
  case dns(String)
  case address(String)

  /// `nil` unless it is an IPv4 or IPv6 literal, or labels of letters, digits, `-` and `_` joined by dots, at most 253
  /// bytes; the first label may be `*`. So nothing can slip into a certificate's extension list.
  init?(_ name: String) {
    if let address = unsafe a2i_IPADDRESS(name) {
      unsafe ASN1_OCTET_STRING_free(address)
      self = .address(name)
      return
    }
    ErrorQueue.clear()
    guard !name.isEmpty, name.utf8.count <= 253 else { return nil }
    for (index, label) in name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).enumerated() {
      guard !label.isEmpty, label.count <= 63 else { return nil }
      if index == 0, label.elementsEqual("*".utf8) { continue }
      for byte in label {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
          continue
        default: return nil
        }
      }
    }
    self = .dns(name)
  }

  /// As an entry of subjectAltName in libcrypto's own notation.
  var extensionEntry: String {
    switch self {
    case .dns(let name): "DNS:" + name
    case .address(let address): "IP:" + address
    }
  }
}
