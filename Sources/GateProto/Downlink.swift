/// One frame from the gateway, as values. `encode` and `decode` are in DownlinkCoding.swift.
package struct Downlink: Equatable, Sendable {
  package var welcome: Welcome?
  package var ack: Ack?
  package var refusals: [Refusal] = []
  package var settings: Settings?
  package var pong: UInt32?
  /// Gateway clock, ms since 1970-01-01 UTC.
  package var serverTimeMs: Int64?
  /// Sequences that the gateway misses.
  package var requests: [SequenceRange] = []
  package var enrolled: Enrolled?

  package init() {}
}

/// Answer to `Hello`.
package struct Welcome: Equatable, Sendable {
  package var protocolVersion: UInt32 = Hello.protocolVersion
  /// Every sequence up to here is durable or closed.
  package var through: UInt64
  /// Fixes of backlog that may be unacked at a time.
  package var backlogWindow: UInt32
  /// Longest frame accepted in bytes, length prefix not counted.
  package var frameBytesMax: UInt32

  package init(through: UInt64, backlogWindow: UInt32, frameBytesMax: UInt32) {
    self.through = through
    self.backlogWindow = backlogWindow
    self.frameBytesMax = frameBytesMax
  }
}

/// What is durable: every sequence up to `through`, and the ranges above it, ascending and apart.
package struct Ack: Equatable, Sendable {
  package var through: UInt64
  package var above: [SequenceRange] = []
  /// Only when it is not the session's stream.
  package var stream: UInt32?
  /// Only when it changed.
  package var backlogWindow: UInt32?
  package var judgements: [Judgement] = []

  package init(through: UInt64, above: [SequenceRange] = []) {
    self.through = through
    self.above = above
  }
}

/// Sequences of an ack that were not simply accepted. `code` is the raw value of a `Verdict`; a newer gateway's is kept.
package struct Judgement: Equatable, Sendable {
  package var code: UInt32
  package var range: SequenceRange

  package init(code: UInt32, range: SequenceRange) {
    self.code = code
    self.range = range
  }
}

/// Something that the gateway did not take.
package struct Refusal: Equatable, Sendable {
  package var code: RefusalCode
  package var retry: Bool
  package var retryAfterMs: UInt32?
  /// Empty: all fixes of the frame that this answers.
  package var ranges: [SequenceRange] = []
  /// The gateway closes the connection after this frame.
  package var closing = false
  /// `.streamReused`: the stream to go on with.
  package var stream: UInt32?

  package init(
    code: RefusalCode, retry: Bool, retryAfterMs: UInt32? = nil, ranges: [SequenceRange] = [], closing: Bool = false,
    stream: UInt32? = nil
  ) {
    self.code = code
    self.retry = retry
    self.retryAfterMs = retryAfterMs
    self.ranges = ranges
    self.closing = closing
    self.stream = stream
  }
}

/// Wanted behaviour of the device; what is absent stays as it is.
package struct Settings: Equatable, Sendable {
  package var version: UInt32
  package var reportIntervalS: UInt32?
  package var batchFixes: UInt32?
  package var batchWaitS: UInt32?
  package var stop: Bool?
  package var lanes: [Lane] = []

  package init(version: UInt32) { self.version = version }
}
