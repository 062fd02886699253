import Foundation
import GateCore
import GateStore
import GateTLS

/// The newest ticket of a bundle, in a file beside it that only its owner reads, so that the next run resumes too.
///
/// Layout: SHA-256 of what the ticket was given for (32 bytes), stream (u32, little endian), ticket.
struct SavedTicketFile {
  private let folder: String
  private let name: String
  /// A ticket is worth nothing, or worse, to another device.
  private let owner: [UInt8]

  private static let bytesMax = 65_536

  /// - Parameter owner: a text that differs when the ticket must not be used any more.
  init(beside path: String, owner: String) {
    let url = URL(fileURLWithPath: path).standardizedFileURL
    folder = url.deletingLastPathComponent().path
    name = url.lastPathComponent + ".ticket"
    self.owner = Digest.sha256(Array(owner.utf8).span)
  }

  /// `nil` if there is none, or it is somebody else's.
  func read() throws -> StreamLink.Ticket? {
    guard let content = try DurableFile.read(name, in: try Directory(folder), bytesMax: SavedTicketFile.bytesMax),
      content.count > owner.count + 4, content.starts(with: owner)
    else { return nil }
    let stream = content.span.load32(at: owner.count)
    return StreamLink.Ticket(stream: stream, bytes: Array(content[(owner.count + 4)...]))
  }

  func write(_ ticket: StreamLink.Ticket) throws {
    var content = owner
    for shift: UInt32 in [0, 8, 16, 24] { content.append(UInt8(truncatingIfNeeded: ticket.stream &>> shift)) }
    content += ticket.bytes
    try DurableFile.replace(name, in: try Directory(folder), with: content.span)
  }

  func forget() throws { try DurableFile.replace(name, in: try Directory(folder), with: owner.span) }
}
