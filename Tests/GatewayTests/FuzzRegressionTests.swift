import DTLSProperties
import Foundation
import GateProto
import GatewayProperties
import Testing

/// Replays the fuzzers' corpora and everything they ever found.
struct FuzzRegressionTests {
  private static let surfaces: [(name: String, check: @Sendable ([UInt8]) -> Void)] = [
    ("session", SessionProperties.check), ("track", TrackProperties.check),
    ("configuration", ConfigurationProperties.check), ("datagrams", DatagramProperties.check),
    ("slots", SlotProperties.check), ("records", RecordProperties.check),
  ]

  @Test(arguments: ["session", "track", "configuration", "datagrams", "slots", "records"], ["corpus", "regressions"])
  func filesHoldTheProperties(surface: String, folder: String) throws {
    let check = try #require(Self.surfaces.first { $0.name == surface }).check
    let path = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "Fuzz/\(folder)/\(surface)")
    let files = (try? FileManager.default.contentsOfDirectory(at: path, includingPropertiesForKeys: nil)) ?? []
    for file in files { check([UInt8](try Data(contentsOf: file))) }
    #expect(folder == "regressions" || !files.isEmpty)
  }
}
