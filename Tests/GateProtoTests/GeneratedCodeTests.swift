import Foundation
import Testing

private let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()

private let hasGenerator = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
  .contains { FileManager.default.isExecutableFile(atPath: "\($0)/protoc-c") }

@Suite struct GeneratedCodeTests {
  @Test(.enabled(if: hasGenerator, "protoc-c is not installed (Debian: protobuf-c-compiler)"))
  func committedCodeIsFresh() throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "fixgate-proto-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let process = Process()
    process.executableURL = root.appending(path: "proto/regenerate")
    process.arguments = [folder.path]
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    for (name, path) in ["fixgate", "stored"].flatMap({ [($0 + ".pb-c.h", "include/"), ($0 + ".pb-c.c", "")] }) {
      let fresh = try Data(contentsOf: folder.appending(path: name))
      let committed = try Data(contentsOf: root.appending(path: "Sources/CFixProto/\(path)\(name)"))
      #expect(fresh == committed, "\(name) is stale: run proto/regenerate")
    }
  }
}
