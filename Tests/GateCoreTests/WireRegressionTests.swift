import Foundation
import GateCore
import Testing
import WireVectors

/// Replays the fuzzer's corpus and everything it ever found.
struct WireRegressionTests {
  @Test(arguments: ["corpus", "regressions"])
  func filesHoldTheProperties(folder: String) throws {
    let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    let wire = tests.appending(path: "Fuzz/\(folder)/wire")
    let files = try FileManager.default.contentsOfDirectory(at: wire, includingPropertiesForKeys: nil)
    for file in files { WireProperties.check([UInt8](try Data(contentsOf: file))) }
    #expect(!files.isEmpty)
  }

  @Test(arguments: WireVector.all)
  func vectorsHoldTheProperties(vector: WireVector) { WireProperties.check(vector.bytes) }
}
