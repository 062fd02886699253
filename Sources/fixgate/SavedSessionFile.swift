import Foundation
import GateCore
import GateNet
import GateStore
import GateTLS

/// The DTLS session of a bundle's device, beside the bundle, for the next run. It holds keys: mode 0600, like the bundle.
///
/// One process at a time has it, since two would use the same record numbers.
///
/// Layout: the gateway's address as text, a line feed, the bytes of `DTLSClient.save`.
final class SavedSessionFile {
  /// What `resume` found.
  struct Found {
    fileprivate let bytes: [UInt8]
    fileprivate let binding: [UInt8]
    let address: SocketAddress

    func client() throws(DTLSError) -> DTLSClient { try DTLSClient(resuming: bytes.span, boundTo: binding.span) }
  }

  private let folder: String
  private let name: String
  private let owner: [UInt8]
  private let lock: DirectoryLock

  private static let bytesMax = 4_096

  /// - Parameter owner: whose session it is and with whom: the bundle's text, and the gateways.
  /// - Returns: `nil` while another process has it.
  init?(beside bundlePath: String, owner: String) throws {
    let url = URL(fileURLWithPath: bundlePath).standardizedFileURL
    folder = url.deletingLastPathComponent().path
    name = url.lastPathComponent + ".dtls"
    self.owner = Digest.sha256(Array(owner.utf8).span)
    do throws(JournalError) {
      lock = try DirectoryLock.take(folder, name: name + ".lock")
    } catch .locked {
      return nil
    }
  }

  /// - Parameter stream: a session carries one.
  /// - Returns: `nil` if there is no session, or it is another one's: then a handshake makes one.
  func resume(stream: UInt32) throws(JournalError) -> Found? {
    guard
      let content = try DurableFile.read(name, in: Directory(folder), bytesMax: SavedSessionFile.bytesMax),
      let end = content.firstIndex(of: 0x0A),
      let address = try? HostPort(String(decoding: content[..<end], as: UTF8.self)).resolve().first
    else { return nil }
    let found = Found(bytes: Array(content[(end + 1)...]), binding: binding(stream), address: address)
    return (try? found.client()) == nil ? nil : found
  }

  func save(_ channel: inout DatagramChannel, stream: UInt32) throws(JournalError) {
    guard let session = channel.client.save(boundTo: binding(stream).span) else { return }
    let content = Array("\(channel.socket.peer)\n".utf8) + session
    try DurableFile.replace(name, in: Directory(folder), with: content.span)
  }

  func forget() throws(JournalError) {
    let directory = try Directory(folder)
    if directory.contains(name) { try directory.remove(name) }
  }

  private func binding(_ stream: UInt32) -> [UInt8] {
    Digest.sha256((owner + (0..<4).map { UInt8(truncatingIfNeeded: stream >> UInt32(8 * $0)) }).span)
  }
}
