import Foundation
import GateCore
package import Gateway
import Yams

/// Reads fixgate.yaml: strict, so that a misspelt key is an error and not a silent default; then the environment.
package enum ConfigurationFile {
  /// The folder that relative paths in the file start from.
  package static func folder(of path: String) -> String {
    URL(fileURLWithPath: path).standardizedFileURL.deletingLastPathComponent().path
  }

  package static func load(_ path: String, environment: [String: String]) throws(ConfigurationError) -> Configuration {
    guard FileManager.default.fileExists(atPath: path) else { throw .unreadable(path: path, reason: "no such file.") }
    let bytes: Data
    do {
      bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    } catch {
      throw .unreadable(path: path, reason: "\((error as NSError).localizedDescription)")
    }
    return try parse(String(decoding: bytes, as: UTF8.self), path: path, environment: environment)
  }

  package static func parse(
    _ text: String, path: String, environment: [String: String]
  ) throws(ConfigurationError) -> Configuration {
    var configuration = Configuration()
    if let root = try compose(text, path: path) {
      switch root {
      case .mapping(let mapping):
        var seen: Set<String> = []
        try apply(mapping, prefix: "", path: path, seen: &seen, to: &configuration)
      case .scalar(let scalar) where scalar.string.isEmpty: break
      default:
        throw .notYAML(path: path, line: root.mark?.line ?? 1, problem: "expected 'section:' and keys below it")
      }
    }
    for key in ConfigurationKey.all {
      guard let value = environment[key.environmentName] else { continue }
      let values = key.isList ? value.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) } : [value]
      guard key.set(&configuration, values) else {
        throw .badValue(key: key.path, value: value, place: key.environmentName, expects: key.expects)
      }
    }
    return configuration
  }

  static func compose(_ text: String, path: String) throws(ConfigurationError) -> Node? {
    do {
      return try Yams.compose(yaml: text)
    } catch let error as YamlError {
      throw .notYAML(path: path, line: line(of: error), problem: problem(of: error))
    } catch {
      throw .notYAML(path: path, line: 1, problem: "\(error)")
    }
  }

  private static func apply(
    _ mapping: Node.Mapping, prefix: String, path: String, seen: inout Set<String>, to configuration: inout Configuration
  ) throws(ConfigurationError) {
    for (name, node) in mapping {
      let key = prefix + (name.string ?? "")
      let line = name.mark?.line ?? 1
      guard seen.insert(key).inserted else { throw .repeatedKey(key, path: path, line: line) }
      if key == sinksKey {
        configuration.sinks = try sinks(node, path: path, line: line)
      } else if let known = ConfigurationKey.all.first(where: { $0.path == key }) {
        guard let values = scalars(node), known.isList || values.count == 1, known.set(&configuration, values) else {
          throw .badValue(
            key: key, value: node.scalar?.string ?? "a section", place: "\(path):\(line)", expects: known.expects)
        }
      } else if ConfigurationKey.all.contains(where: { $0.path.hasPrefix(key + ".") }) {
        switch node {
        case .mapping(let inner): try apply(inner, prefix: key + ".", path: path, seen: &seen, to: &configuration)
        case .scalar(let scalar) where scalar.string.isEmpty || scalar.string == "~": break
        default:
          throw .badValue(key: key, value: node.scalar?.string ?? "a list", place: "\(path):\(line)", expects: "a section")
        }
      } else {
        let nearest = nearestNames(to: key, among: ConfigurationKey.all.map(\.path) + [sinksKey])
        throw .unknownKey(key, path: path, line: line, nearest: nearest)
      }
    }
  }

  static func scalars(_ node: Node) -> [String]? {
    switch node {
    case .scalar(let scalar): return [scalar.string]
    case .sequence(let sequence):
      let texts = sequence.compactMap { $0.scalar?.string }
      return texts.count == sequence.count ? texts : nil
    default: return nil
    }
  }

  private static func line(of error: YamlError) -> Int {
    switch error {
    case .scanner(_, _, let mark, _), .parser(_, _, let mark, _), .composer(_, _, let mark, _): mark.line
    default: 1
    }
  }

  private static func problem(of error: YamlError) -> String {
    switch error {
    case .scanner(_, let problem, _, _), .parser(_, let problem, _, _), .composer(_, let problem, _, _): problem
    default: "\(error)"
    }
  }

  /// The file that `fixgate init` writes: every key with its default and what it means.
  package static func commented(_ configuration: Configuration) -> String {
    var text = """
      # fixgate: configuration. Every key is here with its default; remove what you do not change.
      # Each but sinks can be overridden by the environment: limits.live_burst is FIXGATE_LIMITS_LIVE_BURST.
      # Relative paths start from this file's folder.

      """
    var section = ""
    for key in ConfigurationKey.all {
      let parts = key.path.split(separator: ".")
      let name = String(parts.last ?? "")
      let indent = parts.count > 1 ? "  " : ""
      if parts.count > 1, parts[0] != section {
        section = String(parts[0])
        text += "\n\(section):\n"
      } else if parts.count == 1 {
        section = ""
        text += "\n"
      }
      text += "\(indent)# \(key.comment)\n"
      let values = key.get(configuration)
      if key.isList {
        text += "\(indent)\(name):\n" + values.map { "\(indent)  - \"\($0)\"\n" }.joined()
      } else {
        text += "\(indent)\(name): \(values[0])\n"
      }
    }
    return text + commented(configuration.sinks)
  }
}
