/// The names that look most like `name`, best first: at most three, none that differs in more than half of its letters.
package func nearestNames(to name: String, among names: [String]) -> [String] {
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
