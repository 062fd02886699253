/// A one-time enrolment code: 60 random bits, for people to read out and type.
///
/// Text: 12 characters of Crockford's base32 (0-9 A-Z without I, L, O, U) in three groups, `7K3M-9QXA-2BRD`. On reading, case,
/// hyphens and spaces do not count, O is 0, I and L are 1.
package struct EnrolmentCode: Equatable, Sendable {
  private static let digits = Array("0123456789ABCDEFGHJKMNPQRSTVWXYZ".utf8)
  private static let digitCount = 12

  /// The 60 bits.
  private let number: UInt64

  /// - Parameter random: of its bits the lower 60 are taken.
  package init(random: UInt64) { number = random & (1 << 60 - 1) }

  /// `nil` for what is no code.
  package init?(_ text: String) {
    var number: UInt64 = 0
    var count = 0
    for byte in text.utf8 where byte != UInt8(ascii: "-") && byte != UInt8(ascii: " ") {
      guard let digit = EnrolmentCode.digit(byte), count < EnrolmentCode.digitCount else { return nil }
      number = number << 5 | digit
      count += 1
    }
    guard count == EnrolmentCode.digitCount else { return nil }
    self.number = number
  }

  package var text: String {
    var text = ""
    for place in 0..<EnrolmentCode.digitCount {
      if place > 0, place % 4 == 0 { text += "-" }
      let shift = 5 * UInt64(EnrolmentCode.digitCount - 1 - place)
      text.unicodeScalars.append(Unicode.Scalar(EnrolmentCode.digits[Int(number >> shift & 31)]))
    }
    return text
  }

  /// What is hashed: the number, little endian, behind a label that keeps it apart from other secrets.
  package var bytes: [UInt8] {
    Array("fixgate enrolment code".utf8) + (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * UInt64($0))) }
  }

  private static func digit(_ byte: UInt8) -> UInt64? {
    let upper = (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) ? byte - 32 : byte
    switch upper {
    case UInt8(ascii: "O"): return 0
    case UInt8(ascii: "I"), UInt8(ascii: "L"): return 1
    default: return digits.firstIndex(of: upper).map { UInt64($0) }
    }
  }
}
