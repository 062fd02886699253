import GateCore
import GateNet
import GateTLS

/// One TCP connection of a worker: the socket, its TLS engine once a ClientHello is there, and what waits between two reads.
///
/// A connection that has said nothing yet owns a socket and this object, and nothing else.
final class Connection {
  /// From its start, what a frame needs of it: nearly all.
  static let hotBytes = 384

  let stream: TCPStream
  var tls: TLSSession?
  var session: Session
  /// Before the engine is made: the ClientHello so far. After: the start of a frame whose rest has not come.
  var stash: [UInt8] = []
  /// Charged with what the connection costs before it has proven who it is; `nil` if it is trusted.
  let source: Source?
  var handshake = HandshakePlace.outside
  /// When its bytes last began to wait for the rest of a frame.
  var frameSince: Instant?
  /// When its output last began to wait for room.
  var blockedSince = Instant(ns: 0)
  /// Ciphertext since the last plaintext, in bytes.
  var barrenBytes = 0
  /// Of the worker's buffered bytes.
  var bufferedBytes = 0
  /// The device, once welcomed.
  var device: UInt32?
  /// The limiter's word for frames.
  var frameWord: UInt64 = 0
  /// When it is closed unless it has got further by then.
  var deadline: Instant
  var isEstablished = false
  /// The poller watches for room to write; reading waits.
  var isBlocked = false
  /// The backlog window that the device knows.
  var toldWindow: UInt32 = 0
  /// It has asked to be enrolled and waits for the answer, which ends it.
  var isEnrolling = false
  /// Close once the output is sent.
  var isClosing = false
  /// In the worker's list of connections with output.
  var isDirty = false
  /// The sequencer has welcomed it: it counts as a session.
  var isWelcome = false

  init(stream: consuming TCPStream, id: SessionID, source: Source?, deadline: Instant) {
    self.stream = stream
    self.source = source
    session = Session(id: id)
    self.deadline = deadline
  }
}

/// Where a connection stands with the worker's queue of handshakes.
enum HandshakePlace {
  case outside
  /// Its ClientHello waits. `isMuted`: the poller does not watch for more.
  case waiting(isMuted: Bool)
  case underWay(resumes: Bool)
}

/// Holds a connection's engine, so that a connection without one costs a pointer.
final class TLSSession {
  /// From its start, what a record needs of it.
  static let hotBytes = 256
  var engine: TLSEngine
  init(_ context: TLSServerContext) throws(TLSError) { engine = try TLSEngine(server: context) }
}
