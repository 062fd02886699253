/// What was done that somebody may have to answer for, as it stands in the audit log.
package enum AuditAction: String, Sendable, CaseIterable {
  /// A file of the log begins.
  case opened
  case readLive = "read_live"
  case readHistory = "read_history"
  case readGaps = "read_gaps"
  case readQuarantine = "read_quarantine"
  case readUsage = "read_usage"
  case readAudit = "read_audit"
  case reported
  case aggregated
  case exported
  case corrected
  case erased
  /// Retention has deleted what was too old.
  case expired
  case held
  case holdEnded = "hold_ended"
  case withdrawn
  case assigned
  case changedDuty = "changed_duty"
  case changedPolicy = "changed_policy"
  case changedEgress = "changed_egress"
  case added
  case rotated
  case revoked
  case released
  case dropped
  case rechecked
  /// Somebody asked for what the token's tenant or roles do not give.
  case refused
}

/// Who did it.
package enum AuditActor: Equatable, Sendable {
  /// A user of the operating system, by number.
  case user(UInt32)
  /// A read token, by number.
  case token(Int64)
  /// The gateway by itself.
  case gateway
}

/// One thing that was done. Made of numbers and names of tenants: there is no place for a coordinate or a secret, and
/// subjects and devices stand as their indexes in the registry.
package struct AuditEntry: Sendable {
  package var who: AuditActor
  package var what: AuditAction
  /// The tenant's name.
  package var tenant: String?
  package var subject: UInt32?
  package var device: UInt32?
  /// Version of the tenant's policy that was in force, or that was made.
  package var policy: UInt32?
  /// What the action is about: a kind of thing, such as `device` or `token`.
  package var about: String?
  /// Counts, numbers of rows, bounds in ms.
  package var numbers: [Number]

  package struct Number: Equatable, Sendable {
    package var name: String
    package var value: Int64
  }

  package init(
    _ what: AuditAction, by who: AuditActor, tenant: String? = nil, subject: UInt32? = nil, device: UInt32? = nil,
    policy: UInt32? = nil, about: String? = nil, numbers: KeyValuePairs<String, Int64> = [:]
  ) {
    self.who = who
    self.what = what
    self.tenant = tenant
    self.subject = subject
    self.device = device
    self.policy = policy
    self.about = about
    self.numbers = numbers.map { Number(name: $0.key, value: $0.value) }
  }
}

extension AuditEntry {
  /// The members of a line after its number, as JSON, without braces.
  func members(timeMs: Int64) -> String {
    var text = "\"time_ms\":\(timeMs),\"who\":"
    switch who {
    case .user(let number): text += "\"user \(number)\""
    case .token(let number): text += "\"token \(number)\""
    case .gateway: text += "\"gateway\""
    }
    text += ",\"what\":\"\(what.rawValue)\""
    if let tenant { text += ",\"tenant\":\"\(AuditEntry.plain(tenant))\"" }
    if let subject { text += ",\"subject\":\(subject)" }
    if let device { text += ",\"device\":\(device)" }
    if let policy { text += ",\"policy\":\(policy)" }
    if let about { text += ",\"about\":\"\(AuditEntry.plain(about))\"" }
    for number in numbers { text += ",\"\(AuditEntry.plain(number.name))\":\(number.value)" }
    return text
  }

  /// A name as the registry allows it; a character of any other kind becomes `?`, and what is longer is cut.
  private static func plain(_ text: String) -> String {
    var plain = ""
    for byte in text.utf8.prefix(64) {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
        UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: " "):
        plain.unicodeScalars.append(Unicode.Scalar(byte))
      default: plain += "?"
      }
    }
    return plain
  }
}
