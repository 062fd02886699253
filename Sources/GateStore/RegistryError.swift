import GateCore

/// Why the registry did not do what an operator asked. Nothing was changed.
package enum RegistryError: Error, Equatable, Sendable {
  /// A name outside 1 to 64 bytes of A-Z, a-z, 0-9, dot, underscore and hyphen.
  case invalidName(String)
  case tenantExists(String)
  case deviceExists(tenant: String, id: String)
  /// `nearest`: the known tenants that look most like it, at most three.
  case unknownTenant(String, nearest: [String])
  /// `nearest`: the tenant's devices that look most like it, at most three.
  case unknownDevice(tenant: String, id: String, nearest: [String])
  /// `nearest`: the tenant's subjects that look most like it, at most three.
  case unknownSubject(tenant: String, name: String, nearest: [String])
  /// It is revoked for good: enrol it under another id.
  case deviceRevoked(tenant: String, id: String)
  /// The device would be one more than the gateway has room for.
  case devicesFull(max: Int)
  /// `open`: numbers of those that are open.
  case unknownWindow(Int64, open: [Int64])
  case tooManyWindows
  /// No window has this code.
  case unknownCode
  /// The code was good once: its window is over, closed, or has let in all that it was for.
  case codeEnded
  case subjectExists(tenant: String, name: String)
  /// An e-mail address or a phone number: it would say who somebody is.
  case notOpaque(String)
  /// Somebody carried the device, or was on duty, later than that. ms since 1970-01-01 UTC.
  case beforeLast(sinceMs: Int64)
  /// On duty since then already.
  case onDuty(sinceMs: Int64)
  case notOnDuty
  /// A privacy policy beyond its bounds; the text says which.
  case invalidPolicy(String)
  /// `known`: the tenant's tokens that are not revoked.
  case unknownReadToken(Int64, known: [Int64])
  case tooManyReadTokens
  /// Another token has the same selector: draw a new one.
  case selectorTaken
  /// The file is of another version of fixgate, or no registry.
  case otherVersion
  /// No key file at hand opens the device's pre-shared key.
  case unopenedKey(tenant: String, id: String)
  /// Two registries were changed apart from each other, and both cannot hold; the text says in what.
  case diverged(String)
  case store(StoreError)
}

extension RegistryError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .invalidName(let name):
      "'\(printable(name))' is not a valid name; use 1 to 64 of A-Z a-z 0-9 . _ -"
    case .tenantExists(let name): "tenant '\(name)' exists already"
    case .deviceExists(let tenant, let id): "tenant '\(tenant)' has a device '\(id)' already; revoke it or choose another id"
    case .unknownTenant(let name, let nearest): "there is no tenant '\(printable(name))'" + hint(nearest)
    case .unknownDevice(let tenant, let id, let nearest):
      "tenant '\(printable(tenant))' has no device '\(printable(id))'" + hint(nearest)
    case .deviceRevoked(let tenant, let id):
      "device '\(id)' of tenant '\(tenant)' is revoked, which is for good; enrol it under another id"
    case .devicesFull(let max):
      "the gateway has room for \(max) devices, revoked ones included, and all are given: raise data.devices_max in the "
        + "configuration, restart the gateway, and try again"
    case .unknownWindow(let number, let open):
      "there is no enrolment window \(number)"
        + (open.isEmpty ? "; none is open" : "; open are \(open.map { "\($0)" }.joined(separator: ", "))")
    case .tooManyWindows:
      "there are \(Limits.enrolmentWindowsMax) enrolment windows already; those that have ended go after 30 days: open fewer, for more devices each"
    case .unknownCode: "there is no enrolment window with this code"
    case .codeEnded: "the code is used up, closed or too old; open a new enrolment window"
    case .subjectExists(let tenant, let name): "tenant '\(tenant)' has a subject '\(name)' already"
    case .unknownSubject(let tenant, let name, let nearest):
      "tenant '\(printable(tenant))' has no subject '\(printable(name))'"
        + (nearest.isEmpty ? "; add it with 'fixgate subject add'" : hint(nearest))
    case .notOpaque(let name):
      "'\(printable(name))' looks like an e-mail address or a phone number; call people by an id that says nothing about them, "
        + "such as c-0042, and keep the list of who is who outside of fixgate"
    case .beforeLast: "a later change is recorded already; history is only added to, so give a later time"
    case .onDuty: "on duty already; close that first"
    case .notOnDuty: "not on duty, so there is nothing to close"
    case .invalidPolicy(let problem): problem
    case .unknownReadToken(let number, let known):
      "the tenant has no read token \(number)"
        + (known.isEmpty ? "; it has none" : "; it has \(known.prefix(20).map { "\($0)" }.joined(separator: ", "))")
    case .tooManyReadTokens:
      "the tenant has had \(Limits.readTokensPerTenantMax) read tokens, which is all that it may have"
    case .selectorTaken: "the token's selector is taken; draw another token"
    case .otherVersion: "the file is no registry of this version of fixgate; write it with 'fixgate registry export' of the same version"
    case .unopenedKey(let tenant, let id):
      "no key file at hand opens the pre-shared key of \(tenant)/\(id): name the other gateway's tls.registry_key with --key. Nothing was changed"
    case .diverged(let how):
      "the two registries were changed apart from each other: \(how). Change one gateway's registry only, and carry that to the others. Nothing was changed"
    case .store(let error): error.description
    }
  }

  private func hint(_ names: [String]) -> String {
    names.isEmpty ? "" : "; did you mean " + names.map { "'\($0)'" }.joined(separator: " or ") + "?"
  }

  /// Names come from a command line: control characters stay off the terminal.
  private func printable(_ name: String) -> String {
    var text = ""
    for scalar in name.unicodeScalars.prefix(64) {
      text.unicodeScalars.append(scalar.value < 0x20 || (0x7f..<0xa0).contains(scalar.value) ? "?" : scalar)
    }
    return text
  }
}
