/// Why a configuration cannot be used. The command ends with code 78 (EX_CONFIG) and this text.
package enum ConfigurationError: Error, Equatable, Sendable {
  /// The file cannot be read; `reason` is the system's.
  case unreadable(path: String, reason: String)
  case notYAML(path: String, line: Int, problem: String)
  /// `nearest`: the known keys that look most like it.
  case unknownKey(String, path: String, line: Int, nearest: [String])
  /// `place`: file and line, or the name of an environment variable.
  case badValue(key: String, value: String, place: String, expects: String)
  case repeatedKey(String, path: String, line: Int)
  /// A privacy policy that cannot be; `problem` says what to do.
  case badPolicy(path: String, line: Int, problem: String)
}

extension ConfigurationError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .unreadable(let path, let reason):
      "cannot read the configuration \(path): \(reason) "
        + "Make one with 'fixgate init DIR' and name it with --config or FIXGATE_CONFIG"
    case .notYAML(let path, let line, let problem): "\(path):\(line): not YAML: \(problem)"
    case .unknownKey(let key, let path, let line, let nearest):
      "\(path):\(line): there is no setting '\(key)'"
        + (nearest.isEmpty ? "; 'fixgate init DIR' writes a file with all of them" : "; did you mean \(nearest.joined(separator: " or "))?")
    case .badValue(let key, let value, let place, let expects):
      "\(place): '\(key)' must be \(expects), not '\(value)'"
    case .repeatedKey(let key, let path, let line): "\(path):\(line): '\(key)' is set twice; keep one"
    case .badPolicy(let path, let line, let problem): "\(path):\(line): \(problem)"
    }
  }
}
