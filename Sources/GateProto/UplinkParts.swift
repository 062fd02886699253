internal import CFixProto
import GateCore

/// Consecutive sequences: `first`, and how many.
package struct SequenceRange: Equatable, Hashable, Sendable, BitwiseCopyable {
  package var first: UInt64
  package var count: UInt64

  package init(first: UInt64, count: UInt64) {
    self.first = first
    self.count = count
  }

  /// Not empty, and within 1 to 2^62.
  var isValid: Bool {
    first >= 1 && count >= 1 && first <= Limits.sequenceMax && count <= Limits.sequenceMax - first + 1
  }
}

/// Sequences that the device gives up.
package struct GapMessage: Equatable, Sendable {
  package var range: SequenceRange
  package var reason: GapReason

  package init(range: SequenceRange, reason: GapReason) {
    self.range = range
    self.reason = reason
  }

  /// Reads the body of one `Uplink.gap`.
  /// - Throws: `.badRange` unless the range is not empty and within 1 to 2^62.
  package static func decode(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(ProtoError) -> GapMessage {
    try unsafe unpack(bytes, range, with: fixgate__v1__gap__unpack) { message throws(ProtoError) -> GapMessage in
      let message = unsafe message.pointee
      let range = unsafe SequenceRange(first: message.first, count: message.count)
      guard range.isValid else { throw .badRange(field: 2) }
      return unsafe GapMessage(range: range, reason: GapReason(wire: message.reason.rawValue))
    }
  }

  /// Appends the message as field 4 of `Uplink`, tag and length included.
  package func append(into out: inout [UInt8]) {
    var arena = Arena()
    var message = unsafe Fixgate__V1__Gap()
    unsafe fixgate__v1__gap__init(&message)
    unsafe message.has_first = 1
    unsafe message.first = range.first
    unsafe message.has_count = 1
    unsafe message.count = range.count
    unsafe message.has_reason = 1
    unsafe message.reason = Fixgate__V1__GapReason(UInt32(reason.rawValue))
    unsafe appendUplink(into: &out) { uplink in
      unsafe uplink.n_gap = 1
      unsafe uplink.gap = arena.array([arena.place(message)])
    }
  }
}

/// Asks for a `Pong` with the same number.
package struct Ping: Equatable, Sendable {
  package var id: UInt32
  package init(id: UInt32) { self.id = id }

  /// Reads the body of `Uplink.ping`. An absent number reads as 0.
  package static func decode(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(ProtoError) -> Ping {
    try unsafe unpack(bytes, range, with: fixgate__v1__ping__unpack) { message throws(ProtoError) -> Ping in
      unsafe Ping(id: message.pointee.id)
    }
  }

  /// Appends the message as field 5 of `Uplink`, tag and length included.
  package func append(into out: inout [UInt8]) {
    var arena = Arena()
    var message = unsafe Fixgate__V1__Ping()
    unsafe fixgate__v1__ping__init(&message)
    unsafe message.has_id = 1
    unsafe message.id = id
    unsafe appendUplink(into: &out) { uplink in unsafe uplink.ping = arena.place(message) }
  }
}

/// Confirms the settings of that version.
package struct SettingsApplied: Equatable, Sendable {
  package var version: UInt32
  package init(version: UInt32) { self.version = version }

  /// Reads the body of `Uplink.applied`. An absent version reads as 0.
  package static func decode(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(ProtoError) -> SettingsApplied {
    try unsafe unpack(bytes, range, with: fixgate__v1__settings_applied__unpack) {
      message throws(ProtoError) -> SettingsApplied in
      unsafe SettingsApplied(version: message.pointee.version)
    }
  }

  /// Appends the message as field 6 of `Uplink`, tag and length included.
  package func append(into out: inout [UInt8]) {
    var arena = Arena()
    var message = unsafe Fixgate__V1__SettingsApplied()
    unsafe fixgate__v1__settings_applied__init(&message)
    unsafe message.has_version = 1
    unsafe message.version = version
    unsafe appendUplink(into: &out) { uplink in unsafe uplink.applied = arena.place(message) }
  }
}

/// The scalar fields of `Uplink`.
package struct UplinkScalars: Equatable, Sendable {
  package var lane: Lane?
  package var oldestHeld: UInt64?
  /// Device clock when the frame is first sent, ms since 1970-01-01 UTC.
  package var sendTimeMs: Int64?
  /// The device's monotonic time at that moment, ms since it started.
  package var sendMonotonicMs: UInt64?

  package init(
    lane: Lane? = nil, oldestHeld: UInt64? = nil, sendTimeMs: Int64? = nil, sendMonotonicMs: UInt64? = nil
  ) {
    self.lane = lane
    self.oldestHeld = oldestHeld
    self.sendTimeMs = sendTimeMs
    self.sendMonotonicMs = sendMonotonicMs
  }

  /// Appends those that are set as fields 7 to 10 of `Uplink`.
  package func append(into out: inout [UInt8]) {
    unsafe appendUplink(into: &out) { uplink in
      if let lane {
        unsafe uplink.has_lane = 1
        unsafe uplink.lane = Fixgate__V1__Lane(UInt32(lane.rawValue))
      }
      if let oldestHeld {
        unsafe uplink.has_oldest_held = 1
        unsafe uplink.oldest_held = oldestHeld
      }
      if let sendTimeMs {
        unsafe uplink.has_send_time_ms = 1
        unsafe uplink.send_time_ms = sendTimeMs
      }
      if let sendMonotonicMs {
        unsafe uplink.has_send_monotonic_ms = 1
        unsafe uplink.send_monotonic_ms = sendMonotonicMs
      }
    }
  }
}
