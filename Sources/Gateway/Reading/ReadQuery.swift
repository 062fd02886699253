package import GateCore
package import GateStore

/// What somebody wants to read of one tenant's data.
package struct ReadQuery: Codable, Equatable, Sendable {
  package enum Kind: String, Codable, CaseIterable, Sendable {
    case latest, history, gaps, quarantine, export
    /// Not read, but asked for in the same way.
    case erase
  }

  package var kind: Kind
  package var device: String?
  /// Whoever carried the devices at the time, in place of `device`; for history, export and erase.
  package var subject: String?
  /// Fix times in ms since 1970-01-01 UTC, both included.
  package var fromMs: Int64?
  package var toMs: Int64?
  /// A format of the kind; `nil` = its first.
  package var format: String?
  /// Raw value of a `Verdict`.
  package var code: UInt16?
  /// Number of one held fix.
  package var number: Int64?
  package var limit: Int?

  package init(_ kind: Kind, device: String? = nil) {
    self.kind = kind
    self.device = device
  }
}

extension ReadQuery.Kind {
  /// What a token must allow.
  package var role: ReadRoles {
    switch self {
    case .latest: .live
    case .history, .gaps, .quarantine: .history
    case .export: .export
    case .erase: .erase
    }
  }

  /// How it stands in the audit log.
  package var action: AuditAction {
    switch self {
    case .latest: .readLive
    case .history: .readHistory
    case .gaps: .readGaps
    case .quarantine: .readQuarantine
    case .export: .exported
    case .erase: .erased
    }
  }
}

extension ReadQuery {
  /// Whose data, and of which time, an export or erasure is about.
  package func target(ofTenant tenant: String, in registry: borrowing RegistryStore) throws -> SubjectRange {
    guard (subject == nil) != (device == nil) else { throw ReadProblem("name either a subject or --device") }
    let (first, last) = (fromMs ?? .min, toMs ?? .max)
    guard first <= last else { throw ReadProblem("--from lies behind --to") }
    let found = try registry.owner(tenant: tenant, subject: subject, device: device)
    return SubjectRange(tenant: found.tenant, owner: found.owner, times: first...last)
  }
}

/// Why there is nothing to read, in words for whoever asked.
package struct ReadProblem: Error, CustomStringConvertible, Sendable {
  package let description: String
  package init(_ description: String) { self.description = description }
}

/// Takes what is read, in pieces of its own size.
package final class ReadOutput {
  private let sink: ([UInt8]) throws -> Void
  private var bytes: [UInt8] = []
  private var failure: (any Error)?

  private static let pieceBytes = 65_536

  /// - Parameter sink: takes each piece; once it has thrown it is not called again.
  package init(_ sink: @escaping ([UInt8]) throws -> Void) { self.sink = sink }

  /// False once the reader is gone.
  package var isOpen: Bool { failure == nil }

  package func write(_ more: Span<UInt8>) {
    bytes += more.copied
    if bytes.count >= ReadOutput.pieceBytes { flush() }
  }

  package func write(_ text: String) {
    bytes += Array(text.utf8)
    if bytes.count >= ReadOutput.pieceBytes { flush() }
  }

  /// - Throws: what the sink has thrown.
  package func end() throws {
    flush()
    if let failure { throw failure }
  }

  private func flush() {
    defer { bytes.removeAll(keepingCapacity: true) }
    guard failure == nil, !bytes.isEmpty else { return }
    do { try sink(bytes) } catch { failure = error }
  }
}
