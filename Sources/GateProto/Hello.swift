internal import CFixProto
import GateCore

/// What a device says about itself once a session.
package struct DeviceInfo: Equatable, Sendable {
  package var hardware: String?
  package var firmware: String?
  package var app: String?
  package var os: String?

  /// Longest text of the four, in bytes of UTF-8.
  package static let textBytesMax = 64

  package init(hardware: String? = nil, firmware: String? = nil, app: String? = nil, os: String? = nil) {
    self.hardware = hardware
    self.firmware = firmware
    self.app = app
    self.os = os
  }
}

/// What a fix was recorded for. Opaque references.
package struct Work: Equatable, Sendable {
  package var subject: String?
  package var task: String?
  package var stop: String?
  package var policyVersion: UInt32?

  package init(subject: String? = nil, task: String? = nil, stop: String? = nil, policyVersion: UInt32? = nil) {
    self.subject = subject
    self.task = task
    self.stop = stop
    self.policyVersion = policyVersion
  }

  /// The message's body: what stands behind tag and length.
  package var encoded: [UInt8] {
    var arena = Arena()
    var out: [UInt8] = []
    unsafe appendPacked(message(in: &arena), into: &out)
    return out
  }

  func message(in arena: inout Arena) -> Fixgate__V1__Work {
    var message = unsafe Fixgate__V1__Work()
    unsafe fixgate__v1__work__init(&message)
    unsafe message.subject = arena.text(subject)
    unsafe message.task = arena.text(task)
    unsafe message.stop = arena.text(stop)
    if let policyVersion {
      unsafe message.has_policy_version = 1
      unsafe message.policy_version = policyVersion
    }
    return unsafe message
  }
}

/// First message of every session.
package struct Hello: Equatable, Sendable {
  /// Version of the specification that this build speaks.
  package static let protocolVersion: UInt32 = 1
  package static let tokenBytes = 32
  package static let lanesMax = 8

  /// Absent reads as 1.
  package var protocolVersion = Hello.protocolVersion
  /// `tokenBytes` long, or empty.
  package var token: [UInt8]
  package var stream: UInt32
  /// Sequence of the next fix to be recorded. Not bounded here: the session refuses 0 and what lies above 2^62 + 1.
  package var nextSequence: UInt64
  /// Absent when the device holds nothing.
  package var oldestHeld: UInt64?
  /// Device clock, ms since 1970-01-01 UTC.
  package var sendTimeMs: Int64?
  package var device: DeviceInfo?
  package var work: Work?
  package var settingsVersion: UInt32 = 0
  /// Lanes known to this build; empty = live and backlog.
  package var lanes: [Lane] = []

  package init(token: [UInt8], stream: UInt32, nextSequence: UInt64, oldestHeld: UInt64? = nil) {
    self.token = token
    self.stream = stream
    self.nextSequence = nextSequence
    self.oldestHeld = oldestHeld
  }

  /// Reads the body of `Uplink.hello`: `range` of `bytes`, tag and length not included.
  /// - Throws: `.missing` without stream (3) or next_sequence (4); `.badLength` and `.tooMany` over a bound.
  package static func decode(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(ProtoError) -> Hello {
    try unsafe unpack(bytes, range, with: fixgate__v1__hello__unpack) { message throws(ProtoError) -> Hello in
      let message = unsafe message.pointee
      guard unsafe message.has_stream != 0 else { throw .missing(field: 3) }
      guard unsafe message.has_next_sequence != 0 else { throw .missing(field: 4) }
      let tokenBytes = unsafe message.token.len
      guard tokenBytes == 0 || tokenBytes == Hello.tokenBytes else { throw .badLength(field: 2, bytes: tokenBytes) }
      let lanes = unsafe message.n_lanes
      guard lanes <= Hello.lanesMax else { throw .tooMany(field: 10, count: lanes) }

      var hello = unsafe Hello(
        token: Array(UnsafeBufferPointer(start: message.token.data, count: tokenBytes)),
        stream: message.stream, nextSequence: message.next_sequence,
        oldestHeld: message.has_oldest_held != 0 ? message.oldest_held : nil)
      if unsafe message.has_protocol != 0 { hello.protocolVersion = unsafe message.protocol }
      if unsafe message.has_send_time_ms != 0 { hello.sendTimeMs = unsafe message.send_time_ms }
      if let device = unsafe message.device?.pointee {
        let max = DeviceInfo.textBytesMax
        hello.device = DeviceInfo(
          hardware: try unsafe readText(device.hardware, field: 7, bytesMax: max),
          firmware: try unsafe readText(device.firmware, field: 7, bytesMax: max),
          app: try unsafe readText(device.app, field: 7, bytesMax: max),
          os: try unsafe readText(device.os, field: 7, bytesMax: max))
      }
      if let work = unsafe message.work {
        // Unknown fields count: they would be stored with every fix of the session.
        let packed = unsafe fixgate__v1__work__get_packed_size(work)
        guard packed <= Limits.workBytesMax else { throw .badLength(field: 8, bytes: packed) }
        let work = unsafe work.pointee
        hello.work = Work(
          subject: try unsafe readText(work.subject, field: 8, bytesMax: packed),
          task: try unsafe readText(work.task, field: 8, bytesMax: packed),
          stop: try unsafe readText(work.stop, field: 8, bytesMax: packed),
          policyVersion: unsafe work.has_policy_version != 0 ? work.policy_version : nil)
      }
      if unsafe message.has_settings_version != 0 { hello.settingsVersion = unsafe message.settings_version }
      for i in 0..<lanes { unsafe readLane(message.lanes[i].rawValue).map { hello.lanes.append($0) } }
      return hello
    }
  }

  /// Appends the message as field 1 of `Uplink`, tag and length included.
  package func append(into out: inout [UInt8]) {
    var arena = Arena()
    var message = unsafe Fixgate__V1__Hello()
    unsafe fixgate__v1__hello__init(&message)
    unsafe message.has_protocol = 1
    unsafe message.protocol = protocolVersion
    if !token.isEmpty {
      unsafe message.has_token = 1
      unsafe message.token.len = token.count
      unsafe message.token.data = arena.array(token)
    }
    unsafe message.has_stream = 1
    unsafe message.stream = stream
    unsafe message.has_next_sequence = 1
    unsafe message.next_sequence = nextSequence
    if let oldestHeld {
      unsafe message.has_oldest_held = 1
      unsafe message.oldest_held = oldestHeld
    }
    if let sendTimeMs {
      unsafe message.has_send_time_ms = 1
      unsafe message.send_time_ms = sendTimeMs
    }
    if let device {
      var info = unsafe Fixgate__V1__DeviceInfo()
      unsafe fixgate__v1__device_info__init(&info)
      unsafe info.hardware = arena.text(device.hardware)
      unsafe info.firmware = arena.text(device.firmware)
      unsafe info.app = arena.text(device.app)
      unsafe info.os = arena.text(device.os)
      unsafe message.device = arena.place(info)
    }
    if let work { unsafe message.work = arena.place(work.message(in: &arena)) }
    if settingsVersion != 0 {
      unsafe message.has_settings_version = 1
      unsafe message.settings_version = settingsVersion
    }
    unsafe message.n_lanes = lanes.count
    unsafe message.lanes = arena.array(lanes.map { Fixgate__V1__Lane(UInt32($0.rawValue)) })
    unsafe appendUplink(into: &out) { uplink in unsafe uplink.hello = arena.place(message) }
  }
}

/// A lane of a newer peer is left out: nothing here can be sent on it.
func readLane(_ raw: UInt32) -> Lane? { UInt8(exactly: raw).flatMap(Lane.init(rawValue:)) }

/// Appends an `Uplink` in which `fill` has set some fields. `Uplink` frames are concatenations of such parts.
func appendUplink(into out: inout [UInt8], fill: (inout Fixgate__V1__Uplink) -> Void) {
  var uplink = unsafe Fixgate__V1__Uplink()
  unsafe fixgate__v1__uplink__init(&uplink)
  unsafe fill(&uplink)
  unsafe appendPacked(uplink, into: &out)
}
