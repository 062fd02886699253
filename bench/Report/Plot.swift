/// A line plot as SVG: values over values, with a band between the least and the most of the runs.
package struct LinePlot {
  package struct Point {
    package var x: Double
    package var y: Double
    /// Least and most of the runs.
    package var range: ClosedRange<Double>?
    /// Drawn hollow: read it with care.
    package var isDoubtful = false

    package init(x: Double, y: Double, range: ClosedRange<Double>? = nil, isDoubtful: Bool = false) {
      (self.x, self.y, self.range, self.isDoubtful) = (x, y, range, isDoubtful)
    }
  }

  package struct Series {
    package var name: String
    package var points: [Point]
    package init(_ name: String, _ points: [Point]) { (self.name, self.points) = (name, points) }
  }

  package var title: String
  package var x: (title: String, kind: Scale.Kind)
  package var y: (title: String, kind: Scale.Kind)
  package var series: [Series]
  /// A vertical line with a text.
  package var mark: (x: Double, text: String)?
  package var hasDots = true

  package init(title: String, x: (String, Scale.Kind), y: (String, Scale.Kind), series: [Series]) {
    (self.title, self.series) = (title, series)
    self.x = (x.0, x.1)
    self.y = (y.0, y.1)
  }

  package var svg: String {
    var canvas = Canvas(title: title, names: series.map(\.name))
    let all = series.flatMap(\.points)
    let xScale = Scale(x.kind, fitting: all.map(\.x) + (mark.map { [$0.x] } ?? []), to: canvas.left...canvas.right)
    let yScale = Scale(
      y.kind, fitting: all.flatMap { [$0.y, $0.range?.lowerBound, $0.range?.upperBound].compactMap(\.self) },
      to: canvas.top...canvas.bottom, reversed: true)
    for tick in yScale.ticks { canvas.horizontal(at: yScale.position(tick.value), label: tick.label) }
    for tick in xScale.ticks { canvas.vertical(at: xScale.position(tick.value), label: tick.label) }
    canvas.axisTitles(x: x.title, y: y.title)
    if let mark { canvas.mark(at: xScale.position(mark.x), text: mark.text) }
    for (index, each) in series.enumerated() {
      let places = each.points.map { (x: xScale.position($0.x), y: yScale.position($0.y)) }
      let ranges = each.points.compactMap { point in
        point.range.map { (xScale.position(point.x), yScale.position($0.lowerBound), yScale.position($0.upperBound)) }
      }
      if ranges.count == places.count { canvas.band(ranges, colour: index) }
      canvas.line(places, colour: index)
      guard hasDots else { continue }
      for (point, place) in zip(each.points, places) {
        canvas.dot(
          place, colour: index, hollow: point.isDoubtful,
          hint: "\(each.name): \(Metric.number(point.y)) at \(Metric.number(point.x))")
      }
    }
    return canvas.finished
  }
}

/// Stacked horizontal bars as SVG: what a whole is made of.
package struct BarPlot {
  package struct Bar {
    package var name: String
    /// As many as there are parts.
    package var values: [Double]
    package init(_ name: String, _ values: [Double]) { (self.name, self.values) = (name, values) }
  }

  package var title: String
  package var unit: String
  package var parts: [String]
  package var bars: [Bar]

  package init(title: String, unit: String, parts: [String], bars: [Bar]) {
    (self.title, self.unit, self.parts, self.bars) = (title, unit, parts, bars)
  }

  package var svg: String {
    let longest = bars.map(\.name.count).max() ?? 0
    var canvas = Canvas(title: title, names: parts, left: 24 + 7 * Double(longest), plotHeight: 40 * Double(bars.count))
    let totals = bars.map { $0.values.reduce(0, +) }
    // Room for the total behind the longest bar.
    let scale = Scale(.linear, fitting: totals, to: canvas.left...(canvas.right - 56))
    for tick in scale.ticks { canvas.vertical(at: scale.position(tick.value), label: tick.label) }
    canvas.axisTitles(x: unit, y: "")
    for (index, bar) in bars.enumerated() {
      let y = canvas.top + 40 * Double(index) + 8
      canvas.label(bar.name, x: canvas.left - 8, y: y + 16, anchor: "end")
      var sum = 0.0
      for (part, value) in bar.values.enumerated() where value > 0 {
        let from = scale.position(sum)
        sum += value
        canvas.box(
          x: from, y: y, width: scale.position(sum) - from, height: 24, colour: part,
          hint: "\(bar.name), \(parts[part]): \(Metric.number(value)) \(unit)")
      }
      canvas.label(Metric.number(sum), x: scale.position(sum) + 6, y: y + 16, anchor: "start", isStrong: true)
    }
    return canvas.finished
  }
}
