import GateCore
import Testing

@Suite struct EnrolmentCodeTests {
  @Test func sixtyBitsGoThereAndBack() {
    var random = SeededRandom(seed: 1)
    let edges: [UInt64] = [0, 1, 1 << 59, 1 << 60 - 1]
    for number in edges + (0..<1_000).map({ _ in random.next() }) {
      let code = EnrolmentCode(random: number)
      #expect(code.text.utf8.count == 14)
      #expect(EnrolmentCode(code.text) == code)
      #expect(code == EnrolmentCode(random: number & (1 << 60 - 1)))
    }
    #expect(EnrolmentCode(random: 0).text == "0000-0000-0000")
    #expect(EnrolmentCode(random: .max).text == "ZZZZ-ZZZZ-ZZZZ")
    #expect(EnrolmentCode(random: 31 << 55 | 10).text == "Z000-0000-000A")
  }

  @Test(arguments: [
    "7K3M-9QXA-1BR0", "7k3m9qxa1br0", " 7k3m 9qxa ibro", "7K3M9QXALBRO", "-7-K3M-9QXA-1BR0-",
  ])
  func peopleTypeIt(text: String) { #expect(EnrolmentCode(text)?.text == "7K3M-9QXA-1BR0") }

  @Test(arguments: ["", "7K3M-9QXA-1BR", "7K3M-9QXA-1BR00", "7K3M-9QXA-1BRU", "7K3M-9QXA-1BR\u{660}", "7K3M-9QXA-1BR\0"])
  func whatIsNoCode(text: String) { #expect(EnrolmentCode(text) == nil) }

  @Test func otherCodesHashOtherBytes() {
    #expect(EnrolmentCode(random: 1).bytes != EnrolmentCode(random: 2).bytes)
    #expect(EnrolmentCode(random: 1).bytes.count == EnrolmentCode(random: .max).bytes.count)
  }
}
