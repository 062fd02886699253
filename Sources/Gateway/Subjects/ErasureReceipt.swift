import Foundation
import GateCore
package import GateStore

/// What an erasure did, to be given to the one who asked for it. Names are the operator's opaque ids; positions and secrets
/// have no place in it.
package struct ErasureReceipt: Codable, Equatable, Sendable {
  package var erasure: Int64
  package var tenant: String
  package var subject: String?
  package var device: String?
  /// Fix times, ISO 8601 UTC, both included; absent = all.
  package var from: String?
  package var to: String?
  package var asked: String
  package var done: String
  /// Records of the journal below this number can be opened by nobody.
  package var journal_lsn: UInt64
  /// What was found in the embedded store and deleted.
  package var deleted: SubjectCounts
  /// Every sink that the tenant's data may have gone to; absent in receipts of older versions.
  package var sinks: [Sink]?

  package struct Sink: Codable, Equatable, Sendable {
    package var name: String
    /// Deleted there too.
    package var erased: Bool
    /// What is left to whoever runs it.
    package var left: String?

    package init(name: String, erased: Bool, left: String? = nil) {
      self.name = name
      self.erased = erased
      self.left = left
    }
  }

  package init(
    _ erasure: Erasure, names: (tenant: String, owner: String), lsn: UInt64, deleted: SubjectCounts, sinks: [Sink],
    doneMs: Int64
  ) {
    self.erasure = erasure.number
    tenant = names.tenant
    if erasure.target.owner.isDevice { device = names.owner } else { subject = names.owner }
    if erasure.target.times.lowerBound != .min { from = ErasureReceipt.text(erasure.target.times.lowerBound) }
    if erasure.target.times.upperBound != .max { to = ErasureReceipt.text(erasure.target.times.upperBound) }
    asked = ErasureReceipt.text(erasure.askedMs)
    done = ErasureReceipt.text(doneMs)
    journal_lsn = lsn
    self.deleted = deleted
    self.sinks = sinks
  }

  package var json: String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    guard let data = try? encoder.encode(self) else { preconditionFailure("numbers and texts are always JSON") }
    return String(decoding: data, as: UTF8.self)
  }

  private static func text(_ ms: Int64) -> String {
    Date(timeIntervalSince1970: Double(ms) / 1_000).ISO8601Format(.iso8601(timeZone: .gmt, includingFractionalSeconds: true))
  }
}
