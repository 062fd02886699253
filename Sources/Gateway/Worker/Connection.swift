import GateCore
import GateNet
import GateTLS

/// One TCP connection of a worker: the socket, its TLS engine once a ClientHello is there, and what waits between two reads.
///
/// A connection that has said nothing yet owns a socket and this object, and nothing else.
final class Connection {
  let stream: TCPStream
  var tls: TLSSession?
  var session: Session
  /// Before the engine is made: the ClientHello so far. After: the start of a frame whose rest has not come.
  var stash: [UInt8] = []
  /// The limiter's word for frames.
  var frameWord: UInt64 = 0
  /// When it is closed unless it has got further by then.
  var deadline: Instant
  var isEstablished = false
  /// The poller watches for room to write; reading waits.
  var isBlocked = false
  /// The backlog window that the device knows.
  var toldWindow: UInt32 = 0
  /// Close once the output is sent.
  var isClosing = false
  /// In the worker's list of connections with output.
  var isDirty = false
  /// The sequencer has welcomed it: it counts as a session.
  var isWelcome = false

  init(stream: consuming TCPStream, id: SessionID, deadline: Instant) {
    self.stream = stream
    session = Session(id: id)
    self.deadline = deadline
  }
}

/// Holds a connection's engine, so that a connection without one costs a pointer.
final class TLSSession {
  var engine: TLSEngine
  init(_ context: TLSServerContext) throws(TLSError) { engine = try TLSEngine(server: context) }
}
