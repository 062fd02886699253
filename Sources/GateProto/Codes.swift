/// Which of the gateway's allowances a frame's fixes are charged to. Raw values are `Lane` of proto/fixgate.proto.
package enum Lane: UInt8, CaseIterable, Sendable {
  case live = 0
  case backlog = 1
  case panic = 2
}

/// Why sequences will never come. Raw values are `GapReason` of proto/fixgate.proto.
package enum GapReason: UInt16, CaseIterable, Sendable {
  case unspecified = 0
  case overwritten = 1
  case neverRecorded = 2
  case deviceOff = 3
  case noPosition = 4
  case noPermission = 5
  case sentElsewhere = 6

  /// A number from a newer peer reads as `.unspecified`.
  package init(wire: UInt32) { self = UInt16(exactly: wire).flatMap(GapReason.init(rawValue:)) ?? .unspecified }
}

/// Why the gateway did not take something. Raw values are `RefusalCode` of proto/fixgate.proto.
package enum RefusalCode: UInt16, CaseIterable, Sendable {
  case unspecified = 0
  case malformed = 1
  case tooLarge = 2
  case needHello = 3
  case unsupportedProtocol = 4
  case unknownCredential = 5
  case revoked = 6
  case streamReused = 7
  case tooManyStreams = 8
  case badSequence = 9
  case credentialExpired = 10
  case rateLimited = 20
  case tooManyGaps = 21
  case storageUnavailable = 22
  case busy = 23
  case shuttingDown = 24

  /// A number from a newer gateway reads as `.unspecified`: the refusal's `retry` says all a device must know.
  package init(wire: UInt32) { self = UInt16(exactly: wire).flatMap(RefusalCode.init(rawValue:)) ?? .unspecified }
}
