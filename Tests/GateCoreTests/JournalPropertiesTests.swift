import Foundation
import GateCore
import JournalProperties
import Testing

@Suite struct JournalPropertiesTests {
  @Test func holdUnderRandomDamage() {
    var state: UInt64 = 11
    for edits in 0..<600 {
      var input: [UInt8] = []
      for _ in 0..<edits % 7 * 4 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        input.append(UInt8(truncatingIfNeeded: state >> 33))
      }
      // Half of the edits hit the first bytes of a block, where the headers are.
      if edits % 2 == 0 {
        for i in stride(from: 0, to: input.count, by: 4) { input[i + 1] &= 0xfc; input[i] &= 0x0f }
      }
      JournalProperties.check(input.span)
    }
  }

  /// What the fuzzer once found.
  @Test func holdForEveryRegression() throws {
    let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    let folder = tests.appendingPathComponent("Fuzz/regressions/journal")
    let files = (try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
    for file in files { JournalProperties.check([UInt8](try Data(contentsOf: file)).span) }
  }
}
