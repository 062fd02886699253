package import GateCore
import GateNet
package import GateStore
import GateTLS

extension AuditLog {
  /// The audit log of a data directory.
  package init(_ directory: String) { self.init(directory: directory) { Digest.sha256($0) } }

  /// Adds an entry now; see `append(_:timeMs:)`.
  package func append(_ entry: AuditEntry) throws(AuditError) { try append(entry, timeMs: SystemClock.wallMs()) }
}
