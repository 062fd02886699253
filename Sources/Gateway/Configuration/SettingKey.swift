/// One setting as it stands in the file: its path, what it means, and how its text becomes a value of `Settings`.
package struct SettingKey<Settings>: Sendable {
  /// `section.name`, as nested in the file. The environment overrides it as `FIXGATE_SECTION_NAME`.
  package let path: String
  package let comment: String
  /// What a value must be, for messages.
  package let expects: String
  package let isList: Bool
  /// - Returns: false if a value does not do.
  package let set: @Sendable (inout Settings, [String]) -> Bool
  package let get: @Sendable (Settings) -> [String]

  package var environmentName: String {
    "FIXGATE_" + path.uppercased().map { $0 == "." ? "_" : String($0) }.joined()
  }
}

/// A table of settings: its entries are made by these.
protocol SettingTable { associatedtype Settings }

extension SettingTable {
  static func text(
    _ path: String, _ comment: String, _ at: any WritableKeyPath<Settings, String> & Sendable,
    expects: String = "a path", allowed: [String]? = nil, mayBeEmpty: Bool = false
  ) -> SettingKey<Settings> {
    SettingKey(
      path: path, comment: comment, expects: allowed.map { "one of " + $0.joined(separator: ", ") } ?? expects,
      isList: false,
      set: { settings, values in
        guard values.count == 1, mayBeEmpty || !values[0].isEmpty, allowed?.contains(values[0]) ?? true else { return false }
        settings[keyPath: at] = values[0]
        return true
      },
      get: { [$0[keyPath: at]] })
  }

  static func number<T: FixedWidthInteger & Sendable>(
    _ path: String, _ comment: String, _ at: any WritableKeyPath<Settings, T> & Sendable, _ range: ClosedRange<T>
  ) -> SettingKey<Settings> {
    SettingKey(
      path: path, comment: comment, expects: "a whole number from \(range.lowerBound) to \(range.upperBound)",
      isList: false,
      set: { settings, values in
        guard values.count == 1, let value = T(values[0].filter { $0 != "_" }), range.contains(value) else { return false }
        settings[keyPath: at] = value
        return true
      },
      get: { ["\($0[keyPath: at])"] })
  }

  static func flag(
    _ path: String, _ comment: String, _ at: any WritableKeyPath<Settings, Bool> & Sendable
  ) -> SettingKey<Settings> {
    SettingKey(
      path: path, comment: comment, expects: "true or false", isList: false,
      set: { settings, values in
        guard values == ["true"] || values == ["false"] else { return false }
        settings[keyPath: at] = values == ["true"]
        return true
      },
      get: { ["\($0[keyPath: at])"] })
  }

  /// One of the raw values of `T`.
  static func choice<T: RawRepresentable<String> & CaseIterable & Sendable>(
    _ path: String, _ comment: String, _ at: any WritableKeyPath<Settings, T> & Sendable
  ) -> SettingKey<Settings> {
    SettingKey(
      path: path, comment: comment, expects: "one of " + T.allCases.map(\.rawValue).joined(separator: ", "),
      isList: false,
      set: { settings, values in
        guard values.count == 1, let value = T(rawValue: values[0]) else { return false }
        settings[keyPath: at] = value
        return true
      },
      get: { [$0[keyPath: at].rawValue] })
  }

  static func list(
    _ path: String, _ comment: String, _ at: any WritableKeyPath<Settings, [String]> & Sendable, expects: String,
    mayBeEmpty: Bool = false, check: @escaping @Sendable (String) -> Bool = { _ in true }
  ) -> SettingKey<Settings> {
    SettingKey(
      path: path, comment: comment, expects: expects, isList: true,
      set: { settings, values in
        // `key:` with nothing behind it is one empty text.
        if mayBeEmpty, values.isEmpty || values == [""] {
          settings[keyPath: at] = []
          return true
        }
        guard !values.isEmpty, !values.contains(""), values.allSatisfy(check) else { return false }
        settings[keyPath: at] = values
        return true
      },
      get: { $0[keyPath: at] })
  }
}
