/// The drawing of one plot: title, legend, grid and marks in plain SVG, styled by the page's classes.
struct Canvas {
  let left: Double
  let right: Double
  let top: Double
  let bottom: Double
  private let width = 760.0
  private let height: Double
  private var body = ""

  /// Colours that are told apart with any colour vision (Okabe and Ito), darkest first where lines are thin.
  static let colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b6770", "#8c6d31"]

  /// - Parameter names: of the series, for the legend, which is left out for one alone.
  init(title: String, names: [String], left: Double = 64, plotHeight: Double = 300) {
    self.left = left
    right = width - 24
    let legend = names.count > 1 ? Canvas.rows(names, room: width - 48) : []
    top = 44 + 22 * Double(legend.count) + (legend.isEmpty ? 0 : 6)
    bottom = top + plotHeight
    height = bottom + 52
    text(title, x: 24, y: 26, style: "title")
    for (row, entries) in legend.enumerated() {
      let y = 52 + 22 * Double(row)
      for entry in entries {
        body += "<rect x=\"\(number(24 + entry.x))\" y=\"\(number(y - 9))\" width=\"14\" height=\"10\" rx=\"2\" fill=\"\(Canvas.colour(entry.index))\"/>\n"
        text(names[entry.index], x: 24 + entry.x + 20, y: y)
      }
    }
  }

  var finished: String {
    "<svg viewBox=\"0 0 \(number(width)) \(number(height))\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\">\n\(body)</svg>\n"
  }

  mutating func horizontal(at y: Double, label: String) {
    body += "<line class=\"grid\" x1=\"\(number(left))\" x2=\"\(number(right))\" y1=\"\(number(y))\" y2=\"\(number(y))\"/>\n"
    text(label, x: left - 8, y: y + 4, anchor: "end", style: "tick")
  }

  mutating func vertical(at x: Double, label: String) {
    body += "<line class=\"grid\" x1=\"\(number(x))\" x2=\"\(number(x))\" y1=\"\(number(top))\" y2=\"\(number(bottom))\"/>\n"
    text(label, x: x, y: bottom + 18, anchor: "middle", style: "tick")
  }

  mutating func axisTitles(x: String, y: String) {
    text(x, x: (left + right) / 2, y: bottom + 40, anchor: "middle", style: "axis")
    guard !y.isEmpty else { return }
    let middle = (top + bottom) / 2
    body += "<text class=\"axis\" text-anchor=\"middle\" transform=\"translate(16 \(number(middle))) rotate(-90)\">\(escaped(y))</text>\n"
  }

  mutating func mark(at x: Double, text words: String) {
    body += "<line class=\"mark\" x1=\"\(number(x))\" x2=\"\(number(x))\" y1=\"\(number(top))\" y2=\"\(number(bottom))\"/>\n"
    let isFarRight = x > (left + right) / 2
    text(words, x: isFarRight ? x - 6 : x + 6, y: top + 14, anchor: isFarRight ? "end" : "start", style: "marked")
  }

  /// - Parameter ranges: x, y of the least and y of the most, in pixels.
  mutating func band(_ ranges: [(Double, Double, Double)], colour: Int) {
    guard ranges.count > 1 else { return }
    let edge = ranges.map { "\(number($0.0)),\(number($0.1))" } + ranges.reversed().map { "\(number($0.0)),\(number($0.2))" }
    body += "<polygon points=\"\(edge.joined(separator: " "))\" fill=\"\(Canvas.colour(colour))\" fill-opacity=\"0.15\"/>\n"
  }

  mutating func line(_ points: [(x: Double, y: Double)], colour: Int) {
    let path = points.map { "\(number($0.x)),\(number($0.y))" }.joined(separator: " ")
    body += "<polyline class=\"line\" points=\"\(path)\" stroke=\"\(Canvas.colour(colour))\"/>\n"
  }

  mutating func dot(_ point: (x: Double, y: Double), colour: Int, hollow: Bool, hint: String) {
    let fill = hollow ? "#ffffff" : Canvas.colour(colour)
    body += "<circle cx=\"\(number(point.x))\" cy=\"\(number(point.y))\" r=\"3.5\" fill=\"\(fill)\" stroke=\"\(Canvas.colour(colour))\" stroke-width=\"1.5\"><title>\(escaped(hint))</title></circle>\n"
  }

  mutating func box(x: Double, y: Double, width: Double, height: Double, colour: Int, hint: String) {
    body += "<rect x=\"\(number(x))\" y=\"\(number(y))\" width=\"\(number(max(width, 0.5)))\" height=\"\(number(height))\" fill=\"\(Canvas.colour(colour))\"><title>\(escaped(hint))</title></rect>\n"
  }

  mutating func label(_ words: String, x: Double, y: Double, anchor: String, isStrong: Bool = false) {
    text(words, x: x, y: y, anchor: anchor, style: isStrong ? "strong" : "")
  }

  private mutating func text(_ words: String, x: Double, y: Double, anchor: String = "start", style: String = "") {
    let name = style.isEmpty ? "" : " class=\"\(style)\""
    body += "<text\(name) x=\"\(number(x))\" y=\"\(number(y))\" text-anchor=\"\(anchor)\">\(escaped(words))</text>\n"
  }

  private static func colour(_ index: Int) -> String { colours[index % colours.count] }

  /// Places legend entries in rows. A letter takes about 7 pixels.
  private static func rows(_ names: [String], room: Double) -> [[(index: Int, x: Double)]] {
    var rows: [[(index: Int, x: Double)]] = [[]]
    var x = 0.0
    for (index, name) in names.enumerated() {
      let width = 20 + 7 * Double(name.count) + 20
      if x > 0, x + width > room {
        rows.append([])
        x = 0
      }
      rows[rows.count - 1].append((index, x))
      x += width
    }
    return rows
  }

  private func number(_ value: Double) -> String { Metric.fixed(value, 1) }
}

/// Text that may stand in HTML and SVG.
func escaped(_ text: String) -> String {
  var out = ""
  for character in text {
    switch character {
    case "&": out += "&amp;"
    case "<": out += "&lt;"
    case ">": out += "&gt;"
    case "\"": out += "&quot;"
    default: out.append(character)
    }
  }
  return out
}
