import Foundation
import GateNet
import Glibc
import Testing

/// A directory that goes at the end; its path is short enough for a socket's.
struct TemporaryDirectory: ~Copyable {
  let path: String

  init() throws {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("fg-" + UUID().uuidString.prefix(8))
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: false)
    path = url.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  static func / (directory: borrowing TemporaryDirectory, name: String) -> String { directory.path + "/" + name }
}

func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

@Test func controlSocketIsPrivateAndGoes() throws {
  let directory = try TemporaryDirectory()
  let path = directory / "control.sock"
  do {
    let listener = try UnixListener(at: path)
    let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    #expect(mode == 0o600)
    let client = try UnixStream.connect(to: path)
    guard let server = try listener.accept() else { throw NetError.timedOut }
    #expect(try listener.accept() == nil ? true : false)
    #expect(try client.write([1, 2].span) == .bytes(2))
    #expect(try read(server.descriptor) == [1, 2])
    #expect(try server.write([3].span) == .bytes(1))
    #expect(try read(client.descriptor) == [3])
    #expect(throws: NetError.alreadyServed) { _ = try UnixListener(at: path).descriptor.raw }
    #expect(exists(path))
  }
  #expect(!exists(path))
  #expect(throws: NetError.refused) { _ = try UnixStream.connect(to: path).descriptor.raw }
}

@Test func staleSocketIsReplaced() throws {
  let directory = try TemporaryDirectory()
  let path = directory / "control.sock"
  // What a killed gateway leaves behind: the file, and nobody behind it.
  let raw = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
  let bound = unsafe withUnsafePointer(to: &address) {
    unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      unsafe bind(raw, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
    }
  }
  try #require(bound == 0)
  close(raw)
  #expect(exists(path))
  let listener = try UnixListener(at: path)
  let client = try UnixStream.connect(to: path)
  #expect(try client.write([1].span) == .bytes(1))
  #expect(try listener.accept() == nil ? false : true)
}

@Test func whatIsNoSocketStays() throws {
  let directory = try TemporaryDirectory()
  let path = directory / "file"
  try Data([1]).write(to: URL(fileURLWithPath: path))
  #expect(throws: NetError.addressInUse) { _ = try UnixListener(at: path).descriptor.raw }
  #expect(exists(path))
}

@Test func longPathsAreReachedThroughTheirDirectory() throws {
  let directory = try TemporaryDirectory()
  let deep = directory / (0..<4).map { "\($0)" + String(repeating: "d", count: 60) }.joined(separator: "/")
  try FileManager.default.createDirectory(atPath: deep, withIntermediateDirectories: true)
  let path = deep + "/control.sock"
  do {
    let listener = try UnixListener(at: path)
    #expect(exists(path))
    let client = try UnixStream.connect(to: path)
    #expect(try client.write([1].span) == .bytes(1))
    #expect(try listener.accept() == nil ? false : true)
    #expect(throws: NetError.alreadyServed) { _ = try UnixListener(at: path).descriptor.raw }
  }
  #expect(!exists(path))
  #expect(throws: NetError.refused) { _ = try UnixStream.connect(to: path).descriptor.raw }
  #expect(throws: NetError.system(.open, errno: ENOENT)) { _ = try UnixStream.connect(to: deep + "/none/s").descriptor.raw }
}

@Test(arguments: ["", "a\0b", String(repeating: "x", count: 108), "/" + String(repeating: "x", count: 110)])
func pathsThatCannotBe(path: String) {
  #expect(throws: NetError.path) { _ = try UnixListener(at: path).descriptor.raw }
  #expect(throws: NetError.path) { _ = try UnixStream.connect(to: path).descriptor.raw }
}
