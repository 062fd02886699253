import ArgumentParser

/// A time as it is typed: `90s`, `30m`, `12h`, `7d` or `0`.
struct TimeText: Equatable, ExpressibleByArgument {
  let seconds: Int64

  /// `nil` for anything else, and above a hundred years.
  init?(argument text: String) {
    guard let seconds = Duration.seconds(parsing: text) else { return nil }
    self.seconds = seconds
  }

  init(seconds: Int64) { self.seconds = seconds }

  var defaultValueDescription: String { seconds % 86_400 == 0 ? "\(seconds / 86_400)d" : "\(seconds / 3_600)h" }
}

extension Duration {
  /// Whole seconds of `90s`, `30m`, `12h`, `7d` or `0`; `nil` for anything else, and above a hundred years.
  static func seconds(parsing text: String) -> Int64? {
    if text == "0" { return 0 }
    let factors: [Character: Int64] = ["s": 1, "m": 60, "h": 3_600, "d": 86_400]
    guard let unit = text.last, let factor = factors[unit], !text.hasPrefix("+") else { return nil }
    guard let number = Int64(text.dropLast()), number >= 0 else { return nil }
    let (product, overflow) = number.multipliedReportingOverflow(by: factor)
    return overflow || product > 36_525 * 86_400 ? nil : product
  }
}
