import CGateShims
import GateCore
import Testing

@Suite struct CRC32CTests {
  /// RFC 3720 appendix B.4, and the check value of the catalogue.
  static let vectors: [(bytes: [UInt8], crc: UInt32)] = [
    ([UInt8](repeating: 0, count: 32), 0x8a91_36aa),
    ([UInt8](repeating: 0xff, count: 32), 0x62a8_ab43),
    ([UInt8](0..<32), 0x46dd_794e),
    ([UInt8]((0..<32).reversed()), 0x113f_db5c),
    ([UInt8]("123456789".utf8), 0xe306_9283),
    ([], 0),
  ]

  @Test(arguments: vectors) func agreesWithTheStandard(vector: (bytes: [UInt8], crc: UInt32)) {
    #expect(CRC32C.of(vector.bytes.span, in: 0..<vector.bytes.count) == vector.crc)
  }

  @Test func everyRangeAgreesWithTheDefinition() {
    let bytes = (0..<100).map { UInt8(truncatingIfNeeded: $0 &* 167 &+ 13) }
    for start in 0..<40 {
      for end in start...bytes.count {
        var crc: UInt32 = 0xffff_ffff
        for byte in bytes[start..<end] {
          crc ^= UInt32(byte)
          for _ in 0..<8 { crc = crc >> 1 ^ (crc & 1 == 1 ? 0x82f6_3b78 : 0) }
        }
        #expect(CRC32C.of(bytes.span, in: start..<end) == ~crc)
      }
    }
  }

  /// From every length with and without lanes on, at several starts.
  @Test func instructionAndTableAgree() {
    let bytes = (0..<5_000).map { UInt8(truncatingIfNeeded: $0 &* $0 &* 31 &+ $0 >> 3) }
    for start in [0, 1, 7, 500] {
      for end in stride(from: start, through: bytes.count, by: 1) {
        let crc = unsafe bytes[start..<end].withUnsafeBufferPointer {
          unsafe gate_crc32c_table(0xffff_ffff, $0.baseAddress, $0.count)
        }
        #expect(CRC32C.of(bytes.span, in: start..<end) == ~crc)
      }
    }
  }

  @Test func partsMakeTheWhole() {
    let bytes = (0..<97).map { UInt8($0) }
    for split in 0...bytes.count {
      var crc = CRC32C()
      crc.update(bytes.span, in: 0..<split)
      crc.update(bytes.span, in: split..<bytes.count)
      #expect(crc.value == CRC32C.of(bytes.span, in: 0..<bytes.count))
    }
  }
}
