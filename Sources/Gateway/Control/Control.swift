import Foundation
package import GateCore
import GateNet

/// The conversation over the control socket: one JSON line each way, then the end. A request is an object with the member
/// `request` and its arguments.
package enum ControlRequest: Equatable, Sendable {
  case status
  /// The registry was changed: load it anew, and close what is revoked.
  case reload
  /// All that is read from files was changed: what SIGHUP does.
  case reloadAll
  /// What is known of a device's sequences. `device`: dense index, as in all requests.
  case marks(device: UInt32)
  /// Where a tenant's devices were last seen: some of them, from this index on, or this one alone.
  case places(tenant: String, from: UInt32, alone: Bool)
  /// Ask the device, where it is connected, for the holes below what it has sent.
  case ask(device: UInt32)
  /// Which devices of a tenant have to stop now, and which have confirmed what they were told.
  case steering(tenant: String)
  /// The book of subjects asks for something.
  case subjects
  /// Give all of a tenant's subjects new keys. `tenant`: dense index.
  case rotateKeys(tenant: UInt32)
}

extension ControlRequest: Codable {
  private enum Key: String, CodingKey { case request, device, tenant, tenantIndex, alone }
  private enum Name: String, Codable { case status, reload, reloadAll, marks, places, ask, steering, subjects, rotateKeys }

  package init(from decoder: any Decoder) throws {
    let object = try decoder.container(keyedBy: Key.self)
    switch try object.decode(Name.self, forKey: .request) {
    case .status: self = .status
    case .reload: self = .reload
    case .reloadAll: self = .reloadAll
    case .marks: self = .marks(device: try object.decode(UInt32.self, forKey: .device))
    case .places:
      self = .places(
        tenant: try object.decode(String.self, forKey: .tenant), from: try object.decode(UInt32.self, forKey: .device),
        alone: try object.decode(Bool.self, forKey: .alone))
    case .ask: self = .ask(device: try object.decode(UInt32.self, forKey: .device))
    case .steering: self = .steering(tenant: try object.decode(String.self, forKey: .tenant))
    case .subjects: self = .subjects
    case .rotateKeys: self = .rotateKeys(tenant: try object.decode(UInt32.self, forKey: .tenantIndex))
    }
  }

  package func encode(to encoder: any Encoder) throws {
    var object = encoder.container(keyedBy: Key.self)
    switch self {
    case .status: try object.encode(Name.status, forKey: .request)
    case .reload: try object.encode(Name.reload, forKey: .request)
    case .reloadAll: try object.encode(Name.reloadAll, forKey: .request)
    case .marks(let device):
      try object.encode(Name.marks, forKey: .request)
      try object.encode(device, forKey: .device)
    case .places(let tenant, let from, let alone):
      try object.encode(Name.places, forKey: .request)
      try object.encode(tenant, forKey: .tenant)
      try object.encode(from, forKey: .device)
      try object.encode(alone, forKey: .alone)
    case .subjects: try object.encode(Name.subjects, forKey: .request)
    case .rotateKeys(let tenant):
      try object.encode(Name.rotateKeys, forKey: .request)
      try object.encode(tenant, forKey: .tenantIndex)
    case .ask(let device):
      try object.encode(Name.ask, forKey: .request)
      try object.encode(device, forKey: .device)
    case .steering(let tenant):
      try object.encode(Name.steering, forKey: .request)
      try object.encode(tenant, forKey: .tenant)
    }
  }
}

package struct ControlAnswer: Codable, Sendable {
  package var status: Status?
  /// Connections closed by a reload.
  package var closed: Int?
  package var marks: [StreamMarks]?
  package var places: Places?
  /// Ranges that a device was asked for.
  package var asked: Int?
  package var steering: [Steered]?
  /// Subjects and devices that have new keys.
  package var keys: Int?
  package var problem: String?

  /// Where devices were last seen.
  package struct Places: Codable, Sendable {
    /// By id.
    package var seen: [String: LatestPosition] = [:]
    /// Where the next request goes on; `nil` = these were the last.
    package var next: UInt32?
  }

  /// A device, by its id.
  package struct Steered: Codable, Equatable, Sendable {
    package var device: String
    /// Whether it has to stop now.
    package var stop: Bool
    /// Whether it was told anything in this run.
    package var told: Bool
    /// Whether it has confirmed what it has to do now.
    package var confirmed: Bool
  }

  package init(status: Status? = nil, closed: Int? = nil, places: Places? = nil, problem: String? = nil) {
    self.status = status
    self.closed = closed
    self.places = places
    self.problem = problem
  }
}

/// The command line's end of the control socket.
package enum ControlClient {
  package static let socketName = "control.sock"

  /// - Returns: `nil` when no gateway runs on that data directory.
  package static func ask(
    _ request: ControlRequest, directory: String, timeoutS: Double = 30
  ) throws -> ControlAnswer? {
    let stream: UnixStream
    do throws(NetError) {
      stream = try UnixStream.connect(to: directory + "/" + socketName)
    } catch .refused {
      return nil
    }
    let deadline = SystemClock.now().advanced(byNs: UInt64(timeoutS * 1e9))
    try write(Array(try JSONEncoder().encode(request)) + [0x0A], to: stream, until: deadline)
    let line = try read(from: stream, bytesMax: 1 << 22, until: deadline)
    return try JSONDecoder().decode(ControlAnswer.self, from: Data(line))
  }

  static func write(_ bytes: [UInt8], to stream: borrowing UnixStream, until deadline: Instant) throws(NetError) {
    var sent = 0
    while sent < bytes.count {
      switch try stream.write(bytes.span.extracting(sent...)) {
      case .bytes(let count): sent += count
      case .wouldBlock: try stream.descriptor.wait(readable: false, writable: true, until: deadline)
      case .closed: throw .refused
      }
    }
  }

  /// Reads up to a line end.
  static func read(
    from stream: borrowing UnixStream, bytesMax: Int, until deadline: Instant
  ) throws(NetError) -> [UInt8] {
    var line: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4_096)
    while line.count <= bytesMax {
      var count = 0
      var room = chunk.mutableSpan
      let result = try stream.read(into: &room, at: &count)
      switch result {
      case .bytes:
        line += chunk[..<count]
        if let end = line.firstIndex(of: 0x0A) { return Array(line[..<end]) }
      case .wouldBlock: try stream.descriptor.wait(readable: true, writable: false, until: deadline)
      case .closed: return line
      }
    }
    throw .refused
  }
}

/// The gateway's end: one request at a time, on a thread of its own.
struct ControlServer: ~Copyable {
  private let listener: UnixListener
  private let stop: EventFD
  private let answer: @Sendable (ControlRequest) -> ControlAnswer

  private static let turnNs: UInt64 = 5_000_000_000

  init(
    directory: String, stop: EventFD, answer: @escaping @Sendable (ControlRequest) -> ControlAnswer
  ) throws(NetError) {
    listener = try UnixListener(at: directory + "/" + ControlClient.socketName)
    self.stop = stop
    self.answer = answer
  }

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
        // That one was not allowed, or left. The next may be.
        continue
      }
    }
  }

  private func serve(_ stream: borrowing UnixStream) {
    let deadline = SystemClock.now().advanced(byNs: ControlServer.turnNs)
    guard let line = try? ControlClient.read(from: stream, bytesMax: 256, until: deadline) else { return }
    let reply: ControlAnswer
    if let request = try? JSONDecoder().decode(ControlRequest.self, from: Data(line)) {
      reply = answer(request)
    } else {
      reply = ControlAnswer(problem: "unknown request; use the fixgate of the same version")
    }
    guard let data = try? JSONEncoder().encode(reply) else { return }
    try? ControlClient.write(Array(data) + [0x0A], to: stream, until: deadline)
  }
}
