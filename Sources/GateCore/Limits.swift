/// Every bound of the system, and how the bounds relate. Peers can reach these numbers; nothing may pass them.
package enum Limits {
  /// Longest frame in bytes, length prefix not counted. One TLS record's worth of plaintext.
  package static let frameBytesMax = 16_384
  /// Longest message over UDP in bytes, both ways: with record, UDP and IP headers it fits IPv6's smallest MTU.
  package static let datagramBytesMax = 1_200
  /// Longest datagram that is received in bytes.
  package static let receivedDatagramBytesMax = 2_048
  /// Longest length prefix in bytes: a varint of `frameBytesMax`.
  package static let framePrefixBytesMax = 3
  /// Most fixes in one frame. A column that ends early repeats its last difference, so bytes alone do not bound this.
  package static let fixesPerFrameMax = 1_024
  /// Fixes that one connection may bring as early data. Its bytes are bounded by the ticket: `TLSEngine.earlyDataBytesMax`.
  package static let earlyFixesMax = fixesPerFrameMax
  /// Longest attributes of one fix in bytes, tags included.
  package static let attributeBytesMax = 1_024
  /// Longest `Work` of one fix in bytes.
  package static let workBytesMax = 256
  /// Highest sequence number.
  package static let sequenceMax: UInt64 = 1 << 62
  /// Ranges above the contiguous mark that one stream may have; a fix that would need one more is refused.
  package static let rangesPerStreamMax = 64
  /// Tenants that may ever be created on one gateway.
  package static let tenantsMax = 65_535
  /// Streams that one device may ever use.
  package static let streamsPerDeviceMax = 256
  /// Ranges told in one ack; the device learns of the rest later.
  package static let rangesPerAckMax = 16
  /// Runs of verdicts told in one ack; more are not told, only stored.
  package static let judgementsPerAckMax = 16
  /// Values of one fix that normalising may change.
  package static let originalsPerFixMax = 16
  /// Gap messages in one frame.
  package static let gapsPerFrameMax = 64
  /// Longest journal record in bytes without attributes and work: header, monotonic time, all values, all originals, padding.
  package static let recordFixedBytesMax = Record.headerBytes + 8 + 24 * 4 + originalsPerFixMax * 12 + 8
  /// Longest journal record in bytes.
  package static let recordBytesMax = recordFixedBytesMax + attributeBytesMax + workBytesMax
  /// Longest message of a worker in bytes. A batch's work is repeated in each of its records; attributes are not, so all
  /// of a frame's fit the frame.
  package static let messageBytesMax =
    WorkerMessage.headerBytes + fixesPerFrameMax * (recordFixedBytesMax + workBytesMax) + frameBytesMax
    + gapsPerFrameMax * Record.headerBytes
  /// Journal batches start at multiples of this, so that a torn write never touches a batch that is durable already.
  package static let journalBlockBytes = 4_096
  /// Slots of a worker's source filter; 40 bytes each.
  package static let sourceSlots = 16_384
  /// What a connection costs at most in bytes, what waits in it (`limits.buffered_bytes_max`) not counted: a socket's objects
  /// before a ClientHello is whole; libssl's on top during the handshake; and those that stay. Measured, and held by tests.
  package static let strangerBytesMax = 4_096
  package static let halfOpenBytesMax = 40_960
  package static let openBytesMax = 16_384
  /// Ciphertext that a connection may send without one byte of plaintext in it: two full records, then it is closed.
  package static let barrenBytesMax = 2 * (frameBytesMax + 256)
  /// Enrolment windows that are open or have ended lately.
  package static let enrolmentWindowsMax = 256
  /// How long a window that has ended is remembered, so that its code is told from one that never was, in ms.
  package static let enrolmentMemoryMs: Int64 = 30 * 86_400_000
  /// Of one calendar: slots of the week, hours of single dates, changes of the zone's offset.
  package static let calendarSlotsMax = 64
  package static let calendarDaysMax = 1_024
  package static let calendarOffsetsMax = 256
  /// Attributes that one policy names.
  package static let policyAttributesMax = 256
  /// Of each device or subject, the newest that a snapshot holds: who carried it, and when it was on duty. A fix from before
  /// belongs to nobody, and was not on duty.
  package static let assignmentsPerDeviceMax = 1_024
  package static let dutiesMax = 1_024
  /// Versions of a tenant's policy that a snapshot holds, newest first; older fixes go by the oldest of them.
  package static let policiesPerTenantMax = 64
  /// Devices whose shift events wait for the registry; one more is told to come back later.
  package static let shiftsWaitingMax = 4_096
  /// Devices that one window may let in.
  package static let enrolmentDevicesMax = 10_000
  /// Requests for enrolment that wait for the registry; one more is told to come back.
  package static let enrolmentsWaitingMax = 256
  /// A file of the audit log is closed at this length; so many closed ones are kept, about four million entries.
  package static let auditFileBytesMax = 16 << 20
  package static let auditFilesMax = 64
  /// Read tokens that a tenant may ever have.
  package static let readTokensPerTenantMax = 10_000
  /// Longest reason of a legal hold or a correction in bytes.
  package static let reasonBytesMax = 256
  /// Subjects in groups that one making of aggregates may hold in memory; about 100 bytes each.
  package static let aggregateSharesMax = 4_000_000
  /// Slots of one output of aggregates: a year of hours.
  package static let aggregateSlotsMax = 8_784
}
