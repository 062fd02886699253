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
  /// Another token has the same selector: draw a new one.
  case selectorTaken
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
    case .selectorTaken: "the token's selector is taken; draw another token"
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

/// The names that look most like `name`, best first: at most three, none that differs in more than half of its letters.
func nearestNames(to name: String, among names: [String]) -> [String] {
  let wanted = Array(name.lowercased().utf8.prefix(64))
  var found: [(distance: Int, name: String)] = []
  for candidate in names {
    let distance = editDistance(wanted, Array(candidate.lowercased().utf8))
    if distance <= max(2, wanted.count / 2) { found.append((distance, candidate)) }
  }
  return found.sorted { ($0.distance, $0.name) < ($1.distance, $1.name) }.prefix(3).map(\.name)
}

/// Levenshtein's distance in bytes.
private func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
  var row = Array(0...b.count)
  for (i, x) in a.enumerated() {
    var diagonal = row[0]
    row[0] = i + 1
    for (j, y) in b.enumerated() {
      let substituted = diagonal + (x == y ? 0 : 1)
      diagonal = row[j + 1]
      row[j + 1] = min(substituted, row[j] + 1, row[j + 1] + 1)
    }
  }
  return row[b.count]
}
