import Glibc

/// The system's words for an errno.
package func errorText(_ code: Int32) -> String {
  var bytes = [CChar](repeating: 0, count: 128)
  guard unsafe strerror_r(code, &bytes, bytes.count) == 0 else { return "error \(code)" }
  return String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
