import GateCore
import WireVectors

/// Where libprotobuf-c 1.4.1 and `FixDecoder` may differ on purpose. Each case has a named vector in wire.txt.
enum Departure: String, CaseIterable {
  /// libprotobuf-c refuses groups; the encoding guide says to skip unknown ones.
  case group
  /// A known field with a wire type that it does not have is unknown; libprotobuf-c refuses the message.
  case wrongWireType
  /// A length prefix padded beyond five bytes is a legal varint; libprotobuf-c refuses it.
  case paddedLength
  /// A tag above 32 bits, or of field 0 and padded: libprotobuf-c drops the upper bits, or takes field 0.
  case badTag
  /// A string that is not UTF-8 is refused here; libprotobuf-c does not look.
  case notUTF8
  /// A string with a zero byte: libprotobuf-c's C strings end there.
  case zeroInText
  /// More attributes or work than `Limits` lets one fix have.
  case limits
}

/// A plain recursive walk that says which departures a message holds. It stops where the message breaks off.
struct DepartureFinder {
  private(set) var found: Set<Departure> = []

  static func find(_ kind: WireVector.Kind, _ bytes: [UInt8]) -> Set<Departure> {
    var finder = DepartureFinder()
    finder.walk(bytes[...], kind == .row ? .row : .batch)
    return finder.found
  }

  private enum Message { case row, batch, work, attribute, attributes, mask }

  private mutating func walk(_ message: ArraySlice<UInt8>, _ type: Message) {
    var rest = message
    var regions: [UInt64: (start: Int, end: Int)] = [:]
    while !rest.isEmpty {
      let tagAt = rest.startIndex
      guard let (tag, tagBytes) = varint(&rest) else { return }
      if tagBytes > 5 || tag > UInt64(UInt32.max) || tag < 8 { found.insert(.badTag) }
      let (number, wireType) = (tag >> 3, UInt8(tag & 7))
      if let right = wireTypes(type, number), !right.contains(wireType) { found.insert(.wrongWireType) }
      switch wireType {
      case 0: guard varint(&rest) != nil else { return }
      case 1: rest = rest.dropFirst(8)
      case 2:
        guard let (length, lengthBytes) = varint(&rest) else { return }
        if lengthBytes > 5 { found.insert(.paddedLength) }
        guard length <= UInt64(rest.count) else { return }
        let body = rest.prefix(Int(length))
        rest = rest.dropFirst(Int(length))
        enter(body, type, number)
        if number == 30 || number == 31 {
          regions[number] = (regions[number]?.start ?? tagAt, rest.startIndex)
        }
      case 3, 4: found.insert(.group)
      case 5: rest = rest.dropFirst(4)
      default: return
      }
    }
    for (number, region) in regions {
      let most = number == 30 ? Limits.workBytesMax : type == .row ? Limits.attributeBytesMax : Int.max
      if region.end - region.start > most { found.insert(.limits) }
    }
  }

  private mutating func enter(_ body: ArraySlice<UInt8>, _ type: Message, _ number: UInt64) {
    switch (type, number) {
    case (.row, 30), (.batch, 30): walk(body, .work)
    case (.row, 31), (.attributes, 31): walk(body, .attribute)
    case (.batch, 31):
      if body.count > Limits.attributeBytesMax { found.insert(.limits) }
      walk(body, .attributes)
    case (.batch, 34): walk(body, .mask)
    case (.work, 1), (.work, 2), (.work, 3), (.attribute, 4):
      if String(validating: body, as: UTF8.self) == nil { found.insert(.notUTF8) }
      if body.contains(0) { found.insert(.zeroInText) }
    default: break
    }
  }

  private func wireTypes(_ type: Message, _ number: UInt64) -> [UInt8]? {
    switch (type, number) {
    case (.row, 1), (.row, 2), (.row, 5...29): [0]
    case (.row, 3), (.row, 4): [5]
    case (.row, 30), (.row, 31), (.batch, 30), (.batch, 31), (.batch, 34), (.attributes, 31): [2]
    case (.batch, 1), (.batch, 32), (.batch, 33), (.attributes, 1), (.mask, 1), (.work, 4): [0]
    case (.batch, 2...29): [0, 2]
    case (.mask, 2), (.work, 1...3), (.attribute, 4), (.attribute, 5): [2]
    case (.attribute, 1), (.attribute, 2): [0]
    case (.attribute, 3): [1]
    default: nil
    }
  }

  private func varint(_ rest: inout ArraySlice<UInt8>) -> (value: UInt64, bytes: Int)? {
    var value: UInt64 = 0
    for (i, byte) in rest.prefix(10).enumerated() {
      value |= UInt64(byte & 0x7f) << UInt64(7 * i)
      if byte < 0x80 {
        rest = rest.dropFirst(i + 1)
        return (value, i + 1)
      }
    }
    return nil
  }
}
