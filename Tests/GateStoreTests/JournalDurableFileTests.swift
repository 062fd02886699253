import Foundation
import GateStore
import Testing

@Suite struct DurableFileTests {
  @Test func replacesAndReadsBack() throws {
    let folder = try JournalFolder()
    let directory = try Directory(folder.path)
    #expect(try DurableFile.read("cursor", in: directory, bytesMax: 100) == nil)
    for length in [0, 1, 8, 4_097] {
      let content = (0..<length).map { UInt8(truncatingIfNeeded: $0) }
      try DurableFile.replace("cursor", in: directory, with: content.span)
      #expect(try DurableFile.read("cursor", in: directory, bytesMax: 5_000) == content)
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["cursor"])
    }
    #expect(throws: JournalError.oversize(bytes: 4_097)) {
      _ = try DurableFile.read("cursor", in: directory, bytesMax: 4_096)
    }
  }

  @Test func filesAreForTheOwnerOnly() throws {
    let folder = try JournalFolder()
    try DurableFile.replace("secret", in: Directory(folder.path), with: [1].span)
    let attributes = try FileManager.default.attributesOfItem(atPath: folder.path + "/secret")
    #expect(attributes[.posixPermissions] as? Int == 0o600)
  }

  /// A name that leads elsewhere is not followed.
  @Test func linksAreRefused() throws {
    let folder = try JournalFolder()
    try FileManager.default.createSymbolicLink(atPath: folder.path + "/link", withDestinationPath: "/etc/passwd")
    let directory = try Directory(folder.path)
    #expect(throws: JournalError.broken(.open, errno: ELOOP)) {
      _ = try DurableFile.read("link", in: directory, bytesMax: 1 << 20)
    }
  }

  @Test(arguments: [("/a/b", "/a"), ("/a", "/"), ("a", "."), ("a/b/", "a"), ("./x", ".")])
  func parentOfAPath(path: String, parent: String) {
    #expect(Directory.parent(of: path) == parent)
  }
}
