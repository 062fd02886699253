import Foundation
import Testing

/// The repository, found from this file.
private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()

private func swiftFiles(in folder: String) -> [URL] {
  let all = FileManager.default.enumerator(at: root.appending(path: folder), includingPropertiesForKeys: nil)
  return (all?.allObjects as? [URL] ?? []).filter { $0.pathExtension == "swift" }
}

private func lines(_ file: URL) -> [Substring] {
  ((try? String(contentsOf: file, encoding: .utf8)) ?? "").split(separator: "\n", omittingEmptySubsequences: false)
}

/// What each target may import of ours, and of what lies below. The data plane knows no Swift package.
private let allowed: [String: Set<String>] = [
  "GateBytes": ["CGateShims"],
  "GateCore": ["GateBytes"],
  "GateMemory": ["CGateShims", "GateCore", "Synchronization"],
  "GateProto": ["GateCore", "CFixProto"],
  "GateTLS": ["CGateShims", "GateCore", "COpenSSL", "Glibc", "Synchronization"],
  "GateNet": ["GateCore", "CLinux", "Glibc", "Synchronization"],
  "GateStore": ["GateCore", "CSQLite", "CLinux", "Glibc", "Synchronization"],
  "GatePostgres": ["GateCore", "GateStore", "CPostgreSQL", "Glibc"],
  "GateJetStream": ["GateCore", "GateStore", "CNATS", "Glibc", "Synchronization"],
  "GateDevice": ["GateCore", "GateProto"],
  // Off the data plane; Foundation for its XML parser.
  "GateTrack": ["GateCore", "CZlib", "Glibc", "Foundation", "FoundationXML"],
  "Gateway": [
    "GateCore", "GateMemory", "GateProto", "GateTLS", "GateNet", "GateStore", "GatePostgres", "GateJetStream",
    "Foundation", "Synchronization",
  ],
  "GateConfiguration": ["GateCore", "Gateway", "Foundation", "Yams"],
  "GateSim": [
    "GateCore", "GateMemory", "GateProto", "GateDevice", "GateStore", "GateTLS", "Gateway", "Foundation", "Glibc",
    "Synchronization",
  ],
]

@Suite struct TidyTests {
  @Test(arguments: allowed.keys.sorted())
  func importsGoOneWay(target: String) {
    for file in swiftFiles(in: "Sources/\(target)") {
      for line in lines(file) {
        let words = line.split(separator: " ")
        guard let index = words.firstIndex(of: "import"), index <= 1, index + 1 < words.count else { continue }
        #expect(
          allowed[target]!.contains(String(words[index + 1])),
          "\(file.lastPathComponent) of \(target) imports \(words[index + 1])")
      }
    }
  }

  /// Unsafe code has an address: the wrapper targets, one for each C library or kind of memory.
  @Test(arguments: ["GateCore", "GateDevice", "Gateway", "GateConfiguration", "fixgate"])
  func noUnsafeCode(target: String) {
    for file in swiftFiles(in: "Sources/\(target)") {
      for (number, line) in lines(file).enumerated() {
        let code = line.split(separator: "//", maxSplits: 1, omittingEmptySubsequences: false)[0]
        #expect(
          !code.split(whereSeparator: { !$0.isLetter && $0 != "@" }).contains { $0 == "unsafe" || $0 == "@safe" },
          "\(file.lastPathComponent):\(number + 1)")
      }
    }
  }

  @Test(arguments: ["Sources", "Tests", "bench"])
  func nothingIsLeftOpen(folder: String) {
    let words = ["TO" + "DO", "FIX" + "ME", "HA" + "CK", "X" + "XX"]
    for file in swiftFiles(in: folder) {
      for (number, line) in lines(file).enumerated() {
        let tokens = line.split { !$0.isLetter }
        #expect(!tokens.contains { words.contains(String($0)) }, "\(file.lastPathComponent):\(number + 1)")
      }
    }
  }

  /// A file is about one thing: one that has become a giant is split by idea. Lower the bound when you can.
  @Test(arguments: ["Sources", "Tests"])
  func noGiants(folder: String) {
    for file in swiftFiles(in: folder) {
      let count = lines(file).count
      #expect(count <= 620, "\(file.lastPathComponent) has \(count) lines")
    }
  }

  /// The top level is what README says, and nothing else.
  @Test func topLevelIsAgreed() throws {
    let agreed: Set<String> = [
      "Package.swift", "Sources", "Tests", "proto", "bench", "README.md", "LICENSE", ".ci", ".gitignore", ".git",
      "Package.resolved", ".swiftpm",
    ]
    for name in try FileManager.default.contentsOfDirectory(atPath: root.path) {
      #expect(agreed.contains(name) || name.hasPrefix(".build"), "\(name) at the top level")
    }
  }

  /// Every link of the READMEs leads somewhere.
  @Test(arguments: ["README.md", "proto/README.md", "bench/README.md"])
  func linksLead(file: String) throws {
    let url = root.appending(path: file)
    let text = try String(contentsOf: url, encoding: .utf8)
    for part in text.components(separatedBy: "](").dropFirst() {
      let target = part.prefix { $0 != ")" }
      guard !target.hasPrefix("http"), !target.hasPrefix("#") else { continue }
      let path = String(target.prefix { $0 != "#" })
      let found = FileManager.default.fileExists(atPath: url.deletingLastPathComponent().appending(path: path).path)
      #expect(found, "\(file): \(target)")
    }
  }

  /// Each promise in README's table names tests, and they are there.
  @Test func promisesHaveTests() throws {
    let readme = try String(contentsOf: root.appending(path: "README.md"), encoding: .utf8)
    let section = try #require(readme.components(separatedBy: "## What the policies promise").last)
    let rows = section.components(separatedBy: "\n## ")[0].split(separator: "\n").filter { $0.hasPrefix("| A§") || $0.hasPrefix("| B§") }
    #expect(rows.count >= 9)
    let sources = try swiftFiles(in: "Tests").map { try String(contentsOf: $0, encoding: .utf8) }
    for row in rows {
      let names = row.split(separator: "|").last?.split(separator: "`").filter { $0.contains(".") && !$0.contains(" ") } ?? []
      #expect(!names.isEmpty, "\(row)")
      for name in names {
        let parts = name.split(separator: ".")
        let found = sources.contains { $0.contains("struct \(parts[0]) {") && $0.contains("func \(parts[1])(") }
        #expect(found, "\(name)")
      }
    }
  }
}
