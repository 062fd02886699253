package import GateCore
package import GateNet

/// A secured way to the server, non-blocking.
package protocol Link: AnyObject {
  /// A message is a datagram; else there is one stream of bytes.
  var carriesDatagrams: Bool { get }
  /// Round trips before anything of the handshake can be said.
  var roundTripsToBegin: Int { get }
  /// The handshake is done.
  var isOpen: Bool { get }
  /// The handshake went by a ticket.
  var isResumed: Bool { get }
  /// The server has taken what went out with the ticket.
  var tookEarlyData: Bool { get }
  /// For the next handshake with the same server; `nil` before one came, and where there are none.
  var ticket: [UInt8]? { get }
  /// The socket takes nothing at present: wait for `becameWritable`.
  var isBlocked: Bool { get }
  /// Begins to be told of by `poller`, under `token`.
  func watch(_ poller: borrowing Poller, token: UInt64) throws
  func becameWritable() throws
  /// Reads and decrypts what has come, into `buffers`.
  /// - Returns: whether the connection goes on.
  func receive(_ buffers: inout LinkBuffers, at now: Instant) throws -> Bool
  /// Encrypts, for `flush`.
  func write(_ bytes: [UInt8]) throws
  /// Sends what waits, and is told of when more can be sent.
  /// - Returns: whether anything was sent.
  func flush(_ poller: borrowing Poller, token: UInt64) throws -> Bool
  /// When `expire` is due.
  var wakeAt: Instant? { get }
  /// Sends again what got lost.
  func expire(at now: Instant) throws
  /// Goes on from another address.
  /// - Returns: false where a connection does not survive that.
  func move(_ poller: borrowing Poller, token: UInt64) throws -> Bool
  /// Says goodbye as far as the socket takes it.
  func close()
  var traffic: Traffic { get }
}

/// Makes a connection, by a ticket if there is one.
package typealias Connect = (_ ticket: [UInt8]?, _ now: Instant) throws -> any Link

/// Scratch that all links of a fleet share.
package struct LinkBuffers {
  var cipher = [UInt8](repeating: 0, count: 65_536)
  package var plain = [UInt8](repeating: 0, count: 65_536)
  /// Where in `plain` the messages of the last `receive` lie; a stream has one at most.
  package var messages: [Range<Int>] = []
  package init() {}
}

/// Packets of a connection, and their bytes with all headers from IP up, as its device sees them.
package struct Traffic: Sendable {
  package var bytesUp: UInt64 = 0
  package var bytesDown: UInt64 = 0
  package var packetsUp: UInt64 = 0
  package var packetsDown: UInt64 = 0

  package init() {}
  package static func += (a: inout Traffic, b: Traffic) {
    a.bytesUp += b.bytesUp
    a.bytesDown += b.bytesDown
    a.packetsUp += b.packetsUp
    a.packetsDown += b.packetsDown
  }
  package static func - (a: Traffic, b: Traffic) -> Traffic {
    var difference = a
    difference.bytesUp -= b.bytesUp
    difference.bytesDown -= b.bytesDown
    difference.packetsUp -= b.packetsUp
    difference.packetsDown -= b.packetsDown
    return difference
  }
}
