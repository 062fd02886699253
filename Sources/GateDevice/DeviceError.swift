import GateCore
package import GateProto

/// The gateway said something that is against the specification. The connection is of no more use: close it and connect
/// again. What was acked stays acked.
package enum DeviceError: Error, Equatable, Sendable {
  /// A length prefix over the bound or malformed, `offset` bytes into what is not yet read.
  case badFrame(offset: Int)
  case malformed(ProtoError)
}

/// What a downlink frame meant for the device.
package enum DeviceEvent: Equatable, Sendable {
  case welcome(Welcome)
  /// So many fixes were acked now that had not been before.
  case acked(UInt64)
  /// What the gateway decided about fixes that it has acked.
  case judged(Judgement)
  case refused(Refusal)
  /// The unacked fixes have been numbered anew in this stream: write the state file before sending on.
  case renumbered(stream: UInt32)
  case settings(Settings)
  case pong(UInt32)
  /// Gateway clock, ms since 1970-01-01 UTC.
  case serverTime(Int64)
}
