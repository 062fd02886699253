import Foundation
import GateCore
import GateNet

/// The conversation over the read socket: one line of JSON in; out comes one line of JSON, and unless it names a problem the
/// answer in pieces, each behind a line with its length, up to a piece of length 0.
struct ReadRequest: Codable, Sendable {
  var token: String
  /// Must be the token's where it is given.
  var tenant: String?
  var query: ReadQuery

  static let bytesMax = 4_096
}

struct ReadReply: Codable, Sendable {
  var problem: String?
}

/// A stream with what was read beyond the last line.
private struct BufferedStream: ~Copyable {
  let stream: UnixStream
  private var bytes: [UInt8] = []
  private var at = 0

  init(_ stream: consuming UnixStream) { self.stream = stream }

  /// - Returns: a line without its end; `nil` where the other side ends first, or says more than `bytesMax`.
  mutating func line(bytesMax: Int, until deadline: Instant) throws(NetError) -> [UInt8]? {
    while true {
      if let end = bytes[at...].firstIndex(of: 0x0A) {
        defer { at = end + 1 }
        return Array(bytes[at..<end])
      }
      guard bytes.count - at <= bytesMax, try fill(until: deadline) else { return nil }
    }
  }

  mutating func take(_ count: Int, until deadline: Instant) throws(NetError) -> [UInt8]? {
    while bytes.count - at < count { guard try fill(until: deadline) else { return nil } }
    defer { at += count }
    return Array(bytes[at..<at + count])
  }

  private mutating func fill(until deadline: Instant) throws(NetError) -> Bool {
    bytes.removeFirst(at)
    at = 0
    var piece = [UInt8](repeating: 0, count: 65_536)
    while true {
      var count = 0
      var room = piece.mutableSpan
      let result = try stream.read(into: &room, at: &count)
      switch result {
      case .bytes:
        bytes += piece[..<count]
        return true
      case .wouldBlock: try stream.descriptor.wait(readable: true, writable: false, until: deadline)
      case .closed: return false
      }
    }
  }
}

/// The reader's end.
package enum ReadClient {
  private static let patienceNs: UInt64 = 60_000_000_000
  private static let pieceBytesMax = 1 << 20

  /// Asks the gateway behind `socket`, and hands each piece of the answer to `body`.
  /// - Throws: `ReadProblem`, or what `body` throws.
  package static func ask(
    _ query: ReadQuery, tenant: String?, token: String, socket: String, _ body: ([UInt8]) throws -> Void
  ) throws {
    let opened: UnixStream
    do throws(NetError) {
      opened = try UnixStream.connect(to: socket)
    } catch {
      switch error {
      case .refused:
        throw ReadProblem("no gateway answers at \(socket): check --socket, that it runs, and that it has listen.read")
      case .system(.connect, errno: 13):
        throw ReadProblem("\(socket) is not open to you: ask the operator to let your group use it")
      default: throw error
      }
    }
    var stream = BufferedStream(opened)
    func deadline() -> Instant { SystemClock.now().advanced(byNs: patienceNs) }
    let request = try JSONEncoder().encode(ReadRequest(token: token, tenant: tenant, query: query))
    try ControlClient.write(Array(request) + [0x0A], to: stream.stream, until: deadline())
    guard let line = try stream.line(bytesMax: 65_536, until: deadline()),
      let reply = try? JSONDecoder().decode(ReadReply.self, from: Data(line))
    else { throw ReadProblem("\(socket) does not answer as a gateway does: use the fixgate of the same version") }
    if let problem = reply.problem { throw ReadProblem(problem) }
    while let length = try stream.line(bytesMax: 16, until: deadline()) {
      guard let count = Int(String(decoding: length, as: UTF8.self)), (0...pieceBytesMax).contains(count) else { break }
      if count == 0 { return }
      guard let piece = try stream.take(count, until: deadline()) else { break }
      try body(piece)
    }
    throw ReadProblem("the answer was cut off: the gateway has stopped, or the reader was too slow; ask again")
  }
}

/// The gateway's end: threads that share one listener, so that a slow reader holds up no other.
final class ReadServer: Sendable {
  static let threads = 4
  private static let requestNs: UInt64 = 5_000_000_000
  private static let pieceNs: UInt64 = 30_000_000_000
  /// A reader keeps the store from moving its log into its file for so long at most.
  private static let answerNs: UInt64 = 600_000_000_000

  private let listener: UnixListener
  private let stop: EventFD
  private let desk: ReadDesk

  init(path: String, stop: EventFD, desk: ReadDesk) throws(NetError) {
    listener = try UnixListener(at: path, isShared: true)
    self.stop = stop
    self.desk = desk
  }

  /// One thread's work.
  func run() throws(NetError) {
    var poller = try Poller(capacity: 8)
    try poller.add(listener.descriptor, token: 0, for: .read)
    try poller.add(stop.descriptor, token: 1, for: .read)
    while true {
      let count = try poller.wait(timeoutNs: nil)
      for i in 0..<count where poller.event(at: i).token == 1 { return }
      do throws(NetError) {
        while let stream = try listener.accept() { serve(stream) }
      } catch {
        // Out of descriptors, or that one left. The next may do.
        continue
      }
    }
  }

  private func serve(_ accepted: consuming UnixStream) {
    var stream = BufferedStream(accepted)
    let started = SystemClock.now()
    guard let user = try? stream.stream.peerUser(),
      let line = try? stream.line(bytesMax: ReadRequest.bytesMax, until: started.advanced(byNs: ReadServer.requestNs))
    else { return }
    let end = started.advanced(byNs: ReadServer.answerNs)
    var begun = false
    func send(_ bytes: [UInt8]) throws {
      let deadline = min(end, SystemClock.now().advanced(byNs: ReadServer.pieceNs))
      try ControlClient.write(bytes, to: stream.stream, until: deadline)
    }
    func begin() throws {
      guard !begun else { return }
      begun = true
      try send(ReadServer.encoded(ReadReply()))
    }
    do {
      guard let request = try? JSONDecoder().decode(ReadRequest.self, from: Data(line)) else {
        throw ReadProblem("unknown request; use the fixgate of the same version")
      }
      let output = ReadOutput { piece in
        try begin()
        try send(Array("\(piece.count)\n".utf8) + piece)
      }
      try desk.answer(request, user: user, at: started, into: output)
      try begin()
      try send(Array("0\n".utf8))
    } catch {
      // In the middle of an answer its missing end tells.
      guard !begun else { return }
      try? send(ReadServer.encoded(ReadReply(problem: "\(error)")))
    }
  }

  private static func encoded(_ reply: ReadReply) -> [UInt8] {
    (try? JSONEncoder().encode(reply)).map { Array($0) + [0x0A] } ?? []
  }
}
