import Foundation

/// Maps values to a stretch of pixels, and says where an axis has its ticks.
package struct Scale {
  package enum Kind {
    case linear
    case logarithmic
    /// A share below 1, by how many nines it has: 0.9, 0.99, 0.999 are equally far apart.
    case nines
  }

  package struct Tick: Equatable {
    package var value: Double
    package var label: String
  }

  package let kind: Kind
  package let ticks: [Tick]
  private let low: Double
  private let high: Double
  private let pixels: ClosedRange<Double>
  private let reversed: Bool

  /// - Parameters:
  ///   - values: what must fit; positive for `.logarithmic`, in 0..<1 for `.nines`.
  ///   - pixels: where they go.
  ///   - reversed: high values at low pixels, as upwards in SVG.
  package init(_ kind: Kind, fitting values: [Double], to pixels: ClosedRange<Double>, reversed: Bool = false) {
    self.kind = kind
    self.pixels = pixels
    self.reversed = reversed
    let finite = values.filter { $0.isFinite && (kind != .logarithmic || $0 > 0) }
    let least = finite.min() ?? 1
    let most = finite.max() ?? 1
    switch kind {
    case .linear:
      let step = Scale.step(spanning: max(most, 0) - min(least, 0), parts: 5)
      let from = (min(least, 0) / step).rounded(.down)
      let to = max((max(most, 0) / step).rounded(.up), from + 1)
      ticks = stride(from: from, through: to, by: 1).map { Tick(value: $0 * step, label: Scale.label($0 * step)) }
      (low, high) = (from * step, to * step)
    case .logarithmic:
      let marks = Scale.decades(least, most)
      ticks = marks.filter { Scale.isLabelled($0, of: marks) }.map { Tick(value: $0, label: Scale.label($0)) }
      (low, high) = (log10(marks[0]), log10(marks[marks.count - 1]))
    case .nines:
      let nines = max(2, Int((-log10(max(1 - most, 1e-6)) - 1e-9).rounded(.up)))
      let shares = [0, 0.5] + (1...nines).map { 1 - pow(10, -Double($0)) }
      ticks = shares.map { Tick(value: $0, label: Scale.percent($0)) }
      (low, high) = (0, Double(nines))
    }
  }

  /// - Returns: pixels; a value outside lands on the edge.
  package func position(_ value: Double) -> Double {
    let place: Double
    switch kind {
    case .linear: place = value
    case .logarithmic: place = value > 0 ? log10(value) : low
    case .nines: place = value < 1 ? -log10(1 - value) : high
    }
    let share = min(max((place - low) / (high - low), 0), 1)
    let length = pixels.upperBound - pixels.lowerBound
    return reversed ? pixels.upperBound - share * length : pixels.lowerBound + share * length
  }

  /// 1, 2 or 5 times a power of ten, so that about `parts` of them make the span.
  package static func step(spanning span: Double, parts: Int) -> Double {
    guard span > 0, span.isFinite else { return 1 }
    let rough = span / Double(parts)
    let power = pow(10, log10(rough).rounded(.down))
    let factor = rough / power
    return (factor <= 1 ? 1 : factor <= 2 ? 2 : factor <= 5 ? 5 : 10) * power
  }

  /// 1, 2 and 5 times powers of ten, from the last at or below `least` to the first at or above `most`; two at least.
  private static func decades(_ least: Double, _ most: Double) -> [Double] {
    var marks: [Double] = []
    for exponent in Int(log10(least).rounded(.down))...Int(log10(most).rounded(.up)) {
      for factor in [1.0, 2, 5] { marks.append(factor * pow(10, Double(exponent))) }
    }
    let first = marks.lastIndex { $0 <= least * (1 + 1e-9) } ?? 0
    let last = marks.firstIndex { $0 >= most * (1 - 1e-9) } ?? marks.count - 1
    return Array(marks[min(first, last)...max(last, min(first, last) + 1)])
  }

  /// With many decades only powers of ten bear a label.
  private static func isLabelled(_ mark: Double, of marks: [Double]) -> Bool {
    let exponent = log10(mark)
    return marks.count <= 8 || (exponent - exponent.rounded()).magnitude < 1e-9
  }

  static func label(_ value: Double) -> String {
    let size = value.magnitude
    if size >= 1e6 { return trimmed(value / 1e6) + "M" }
    if size >= 1e4 { return trimmed(value / 1e3) + "k" }
    return trimmed(value)
  }

  private static func percent(_ share: Double) -> String { trimmed(share * 100, places: 4) + " %" }

  private static func trimmed(_ value: Double, places: Int = 3) -> String {
    var text = Metric.fixed(value, places)
    while text.hasSuffix("0") { text.removeLast() }
    if text.hasSuffix(".") { text.removeLast() }
    return text
  }
}
