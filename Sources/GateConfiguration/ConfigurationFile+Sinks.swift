import GateCore
import Gateway
import Yams

/// The list `sinks`: each entry is the word `sqlite`, or a mapping with `type` and the keys of that type.
extension ConfigurationFile {
  static let sinksKey = "sinks"

  static func sinks(_ node: Node, path: String, line: Int) throws(ConfigurationError) -> [SinkSettings] {
    let place = "\(path):\(line)"
    guard case .sequence(let entries) = node, !entries.isEmpty else {
      throw .badValue(
        key: sinksKey, value: node.scalar?.string ?? "a section", place: place, expects: "a list of at least one sink: '- sqlite'")
    }
    var sinks: [SinkSettings] = []
    for entry in entries {
      let sink = try sink(entry, path: path)
      guard !sinks.contains(where: { $0.name == sink.name }) else {
        throw .badValue(
          key: "sinks.name", value: sink.name, place: "\(path):\(entry.mark?.line ?? line)",
          expects: "a name that no other sink has")
      }
      guard sink.type != .sqlite || !sinks.contains(where: { $0.type == .sqlite }) else {
        throw .badValue(
          key: "sinks.type", value: "sqlite", place: "\(path):\(entry.mark?.line ?? line)",
          expects: "another type: there is one embedded store")
      }
      sinks.append(sink)
    }
    if let first = sinks.first, first.isOptional {
      throw .badValue(key: "sinks.optional", value: "true", place: place, expects: "false for the first sink, which counts")
    }
    if let first = sinks.first, first.start == .newest {
      throw .badValue(key: "sinks.start", value: "newest", place: place, expects: "oldest for the first sink, which counts")
    }
    return sinks
  }

  private static func sink(_ node: Node, path: String) throws(ConfigurationError) -> SinkSettings {
    let line = node.mark?.line ?? 1
    let types = "one of " + SinkSettings.Kind.allCases.map(\.rawValue).joined(separator: ", ")
    switch node {
    case .scalar(let scalar) where scalar.string == SinkSettings.Kind.sqlite.rawValue: return .embedded
    case .mapping(let mapping):
      let word = mapping["type"]?.scalar?.string ?? ""
      guard let type = SinkSettings.Kind(rawValue: word) else {
        throw .badValue(key: "sinks.type", value: word, place: "\(path):\(line)", expects: types)
      }
      var sink = SinkSettings(name: type.rawValue, type: type)
      try apply(mapping, path: path, to: &sink)
      return sink
    default:
      throw .badValue(
        key: sinksKey, value: node.scalar?.string ?? "a list", place: "\(path):\(line)",
        expects: "sqlite, or 'type:' with \(types) and its keys")
    }
  }

  private static func apply(
    _ mapping: Node.Mapping, path: String, to sink: inout SinkSettings
  ) throws(ConfigurationError) {
    let keys = SinkKey.all(of: sink.type)
    var seen: Set<String> = []
    for (name, node) in mapping {
      let word = name.string ?? ""
      let line = name.mark?.line ?? 1
      guard seen.insert(word).inserted else { throw .repeatedKey("sinks.\(word)", path: path, line: line) }
      guard let key = keys.first(where: { $0.path == word }) else {
        // Such as password: the key that goes on from there is meant.
        let longer = keys.map(\.path).filter { !word.isEmpty && $0.hasPrefix(word) }
        let nearest = longer.isEmpty ? nearestNames(to: word, among: keys.map(\.path)) : longer
        throw .unknownKey("sinks.\(word)", path: path, line: line, nearest: nearest.map { "sinks.\($0)" })
      }
      guard let values = scalars(node), key.isList || values.count == 1, key.set(&sink, values) else {
        throw .badValue(
          key: "sinks.\(word)", value: node.scalar?.string ?? "a section", place: "\(path):\(line)", expects: key.expects)
      }
    }
  }

  /// As `init` writes it.
  static func commented(_ sinks: [SinkSettings]) -> String {
    var text = """

      # Where fixes go, each sink at its own pace; 'status' counts against the first. sqlite is the embedded store above;
      # README, "Storage", has the others. SIGHUP reads this list anew.
      sinks:

      """
    for sink in sinks {
      if sink == .embedded {
        text += "  - sqlite\n"
        continue
      }
      var mark = "-"
      for key in SinkKey.all(of: sink.type) {
        let values = key.get(sink).filter { !$0.isEmpty }.map { "\"\($0)\"" }
        if values.isEmpty { continue }
        text += "  \(mark) \(key.path): " + (key.isList ? "[\(values.joined(separator: ", "))]" : values[0]) + "\n"
        mark = " "
      }
    }
    return text
  }
}
