/// The plots that some results have the figures for, with a sentence each.
struct Plots {
  private let cases: [Case]

  init(_ cases: [Case]) { self.cases = cases }

  var all: [(svg: String, caption: String)] {
    [latencyOverLoad, curves, cpuOverLoad, stages, cpuOverDevices, memory, sideBySide].compactMap(\.self)
  }

  private var own: [Case] { cases.filter { $0.subject == "fixgate" } }

  private var offered: [(x: Double, one: Case)] {
    own.compactMap { one in one.kind == .offered ? one.parameters.offered.map { ($0, one) } : nil }
      .sorted { $0.x < $1.x }
  }

  private func series(_ name: String, _ metric: Metric, over places: [(x: Double, one: Case)]) -> LinePlot.Series {
    LinePlot.Series(
      name,
      places.compactMap { place in
        place.one.spread(metric).map { spread in
          LinePlot.Point(
            x: place.x, y: spread.median, range: spread.least...spread.most,
            isDoubtful: place.one.runs.contains(where: \.isLate))
        }
      })
  }

  private var latencyOverLoad: (String, String)? {
    guard offered.count > 1 else { return nil }
    var plot = LinePlot(
      title: "Ack latency against offered load", x: ("fixes a second offered", .linear), y: ("ms", .logarithmic),
      series: [("median", Metric.p50), ("99 %", .p99), ("99.9 %", .p999), ("99.99 %", .p9999)].map {
        series($0.0, $0.1, over: offered)
      }.filter { $0.points.count > 1 })
    if let knee = Knee.find(own) { plot.mark = (knee, "knee") }
    return (
      plot.svg,
      "The knee is the last load that was acked in full with a 99th percentile within \(Int(Knee.latencyFactor)) times that of the lightest."
    )
  }

  private var curves: (String, String)? {
    let curves = offered.filter { !($0.one.middleRun?.latency.isEmpty ?? true) }
    guard !curves.isEmpty else { return nil }
    // Six lines are as many as can be told apart.
    let step = max(1, (curves.count + 5) / 6)
    let shown = stride(from: 0, to: curves.count, by: step).map { curves[$0] }
    var plot = LinePlot(
      title: "Distribution of ack latency", x: ("share of messages that were faster", .nines), y: ("ms", .logarithmic),
      series: shown.map { place in
        LinePlot.Series(
          Metric.number(place.x) + "/s",
          (place.one.middleRun?.latency ?? []).filter { $0.ms > 0 }.map { LinePlot.Point(x: $0.share, y: $0.ms) })
      })
    plot.hasDots = false
    return (plot.svg, "The run in the middle of each load. Counted from the moment a message was due.")
  }

  private var cpuOverLoad: (String, String)? {
    guard offered.count > 1 else { return nil }
    let plot = LinePlot(
      title: "Server CPU for a million acked fixes", x: ("fixes a second offered", .linear), y: ("seconds", .linear),
      series: [("all", Metric.cpuPerMillion), ("worker", .cpuWorker), ("sequencer and journal", .cpuSequencer), ("sink", .cpuSink)].map {
        series($0.0, $0.1, over: offered)
      }.filter { !$0.points.isEmpty })
    return (plot.svg, "What a fix costs when there is little to share a wake-up, a commit and a transaction with.")
  }

  private var stages: (String, String)? {
    let saturated = own.filter { $0.kind == .saturation && $0.spread(.cpuWorker) != nil }
    let shown = saturated.filter { $0.parameters.devices == saturated[0].parameters.devices }
    guard !shown.isEmpty else { return nil }
    let parts: [(String, Metric)] = [
      ("worker", .cpuWorker), ("sequencer and journal", .cpuSequencer), ("sink", .cpuSink), ("other", .cpuOther),
    ]
    let plot = BarPlot(
      title: "Cost of a fix by stage", unit: "CPU seconds for a million acked fixes", parts: parts.map(\.0),
      bars: shown.map { one in
        BarPlot.Bar(
          Page.counted(one.parameters.batch, "fix", "fixes") + " a message", parts.map { one.spread($0.1)?.median ?? 0 })
      })
    return (
      plot.svg,
      "At saturation. The worker decrypts, decodes, limits and answers; the sequencer removes duplicates, judges and syncs; the sink stores rows."
    )
  }

  private var cpuOverDevices: (String, String)? {
    let saturated = own.filter { $0.kind == .saturation && $0.spread(.cpuWorker) != nil }
    let places = saturated.filter { $0.parameters.batch == saturated[0].parameters.batch }
      .map { (x: Double($0.parameters.devices), one: $0) }.sorted { $0.x < $1.x }
    guard places.count > 2 else { return nil }
    let plot = LinePlot(
      title: "Server CPU for a million acked fixes, by fleet", x: ("devices", .logarithmic), y: ("seconds", .linear),
      series: [("all", Metric.cpuPerMillion), ("worker", .cpuWorker), ("sequencer and journal", .cpuSequencer), ("sink", .cpuSink)].map {
        series($0.0, $0.1, over: places)
      })
    return (plot.svg, "At saturation, \(Page.counted(places[0].one.parameters.batch, "fix", "fixes")) a message.")
  }

  private var memory: (String, String)? {
    let places = own.filter { $0.kind == .idle }.map { (x: Double($0.parameters.devices), one: $0) }.sorted { $0.x < $1.x }
    guard places.count > 1 else { return nil }
    let series = [("user space", Metric.idleUser), ("kernel, both ends", .idleKernel)].map { name, metric in
      LinePlot.Series(
        name,
        places.compactMap { place in
          place.one.spread(metric).map { spread in
            let scale = place.x / Double(1 << 20)
            return LinePlot.Point(x: place.x, y: spread.median * scale, range: spread.least * scale...spread.most * scale)
          }
        })
    }
    let plot = LinePlot(
      title: "Memory against idle connections", x: ("connections", .linear), y: ("MB", .linear),
      series: series.filter { !$0.points.isEmpty })
    return (plot.svg, "Growth over the first hundred connections. Each has sent one message and been silent for a second.")
  }

  private var sideBySide: (String, String)? {
    let subjects = cases.filter { $0.kind == .saturation && $0.subject != "fixgate" && $0.spread(.cpuPerMillion) != nil }
    guard let pattern = subjects.first?.parameters else { return nil }
    let shown = cases.filter { $0.kind == .saturation && $0.parameters == pattern && $0.spread(.cpuPerMillion) != nil }
    let plot = BarPlot(
      title: "Beside others", unit: "CPU seconds for a million acked fixes", parts: ["all processes"],
      bars: shown.map { BarPlot.Bar($0.subject, [$0.spread(.cpuPerMillion)?.median ?? 0]) })
    return (plot.svg, "Same fleet, same content, one run; what each one's ack means is in the table's notes.")
  }
}
