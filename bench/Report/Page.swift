/// The report as one HTML page: no script, no font, no picture from elsewhere.
package struct Page {
  private let parts: [(name: String, results: Results)]

  package init(_ parts: [(name: String, results: Results)]) { self.parts = parts }

  package var html: String {
    let bodies = parts.map { Page.body($0.results, heading: parts.count > 1 ? $0.name : nil) }
    return """
      <!doctype html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width">
      <title>fixgate under load</title>
      <style>\(Page.style)</style>
      </head>
      <body>
      <h1>fixgate under load</h1>
      \(bodies.joined(separator: "\n"))
      </body>
      </html>

      """
  }

  private static func body(_ results: Results, heading: String?) -> String {
    let plots = Plots(results.cases)
    var html = heading.map { "<h2>\(escaped($0))</h2>\n" } ?? ""
    html += headline(results.cases)
    if results.cases.contains(where: { $0.runs.contains(where: \.isLate) }) {
      html += "<p class=\"warning\">In cases marked late the generator was behind its own schedule, or busy all the time; their figures are partly its own. Such points are drawn hollow.</p>\n"
    }
    html += "<div class=\"plots\">\n"
    for (svg, caption) in plots.all { html += "<figure>\(svg)<figcaption>\(escaped(caption))</figcaption></figure>\n" }
    html += "</div>\n"
    let beside = results.cases.filter { $0.subject != "fixgate" || isBesidePeers($0, results) }
    let own = results.cases.filter { one in !beside.contains { $0.name == one.name } }
    html += StageTable(results.stages ?? []).html
    html += table(of: own.filter { $0.kind == .offered }, title: "Offered loads", offered)
    html += table(of: own.filter { $0.kind == .saturation }, title: "Saturation", saturation)
    html += table(of: own.filter { $0.kind == .idle }, title: "Idle connections", idle)
    html += table(of: beside, title: "Side by side", peers)
    return html + conditions(results)
  }

  // MARK: Figures

  private static func headline(_ cases: [Case]) -> String {
    let own = cases.filter { $0.subject == "fixgate" }
    var cards: [(String, String, String)] = []
    if let most = own.first(where: { $0.kind == .saturation }), let rate = most.spread(.fixesPerSecond),
      let cpu = most.spread(.cpuPerMillion)
    {
      let what = "\(most.parameters.devices) devices, \(counted(most.parameters.batch, "fix", "fixes")) a message"
      cards.append((Metric.fixesPerSecond.text(rate.median), "acked and durable at most", what))
      cards.append((Metric.cpuPerMillion.text(cpu.median), "server CPU for a million fixes", what))
    }
    if let knee = Knee.find(own) {
      let p99 = own.first { $0.kind == .offered && $0.parameters.offered == knee }?.spread(.p99)
      cards.append((Metric.fixesPerSecond.text(knee), "the knee", p99.map { "p99 there \(Metric.p99.text($0.median))" } ?? ""))
    }
    let largest = own.filter { $0.kind == .idle && $0.spread(.idleUser) != nil }.max { $0.parameters.devices < $1.parameters.devices }
    if let largest, let user = largest.spread(.idleUser) {
      let kernel = largest.spread(.idleKernel).map { ", and \(Metric.fixed($0.median / 1_024, 1)) KB of the kernel's, both ends" }
      cards.append((
        Metric.fixed(user.median / 1_024, 1) + " KB", "an idle connection",
        "\(Metric.grouped(largest.parameters.devices)) of them\(kernel ?? "")"
      ))
    }
    guard !cards.isEmpty else { return "" }
    let html = cards.map {
      "<div class=\"card\"><b>\(escaped($0.0))</b><span>\(escaped($0.1))</span><small>\(escaped($0.2))</small></div>"
    }
    return "<div class=\"cards\">\(html.joined())</div>\n"
  }

  private static let offered: [Metric] = [
    .fixesPerSecond, .p50, .p90, .p99, .p999, .p9999, .most, .cpuPerMillion, .fixesPerCommit, .generatorBusy, .lagP99,
  ]
  private static let saturation: [Metric] = [
    .fixesPerSecond, .cpuPerMillion, .cpuPerMillionStored, .cpuWorker, .cpuSequencer, .cpuSink, .fixesPerCommit, .p50, .p99,
    .wireUp, .wireDown, .packets, .calls, .allocations, .allocationsTLS, .generatorBusy,
  ]
  private static let idle: [Metric] = [
    .idleUser, .idleKernel, .openingsPerSecond, .openingCPU, .openingGeneratorBusy, .roundTrips, .openingUp, .openingDown,
  ]
  private static let peers: [Metric] = [
    .fixesPerSecond, .cpuPerMillion, .cpuPerMillionStored, .p50, .p99, .p999, .wireUp, .wireDown, .roundTrips, .idleUser,
    .generatorBusy,
  ]

  /// fixgate's own case in a run with peers.
  private static func isBesidePeers(_ one: Case, _ results: Results) -> Bool {
    results.cases.contains { $0.subject != "fixgate" && $0.kind == one.kind && $0.parameters == one.parameters }
  }

  /// Figures down, cases across: median, and the least and the most of the runs below it.
  private static func table(of cases: [Case], title: String, _ metrics: [Metric]) -> String {
    guard !cases.isEmpty else { return "" }
    let shown = metrics.filter { metric in cases.contains { $0.spread(metric) != nil } }
    let heads = cases.map { one in
      "<th>\(escaped(one.subject == "fixgate" ? short(one) : "\(one.subject): \(short(one))"))\(one.runs.contains(where: \.isLate) ? " <em>late</em>" : "")</th>"
    }
    let rows = shown.map { metric in
      let cells = cases.map { one in one.spread(metric).map { cell($0, metric) } ?? "<td class=\"none\">-</td>" }
      return "<tr><th>\(escaped(metric.title.trimmed))</th>\(cells.joined())</tr>"
    }
    return """
      <h3>\(escaped(title))</h3>
      <div class="scroll"><table><thead><tr><th></th>\(heads.joined())</tr></thead>
      <tbody>\(rows.joined(separator: "\n"))</tbody></table></div>

      """
  }

  private static func cell(_ spread: Spread, _ metric: Metric) -> String {
    let isPlain = spread.count == 1 || spread.least == spread.most
    let range = isPlain ? "" : "<small>\(metric.text(spread.least)) to \(metric.text(spread.most))</small>"
    return "<td>\(metric.text(spread.median))\(range)</td>"
  }

  static func short(_ one: Case) -> String {
    let parameters = one.parameters
    switch one.kind {
    case .offered: return (parameters.offered.map { Metric.number($0) } ?? "?") + "/s"
    case .saturation: return counted(parameters.batch, "fix", "fixes") + " a message, \(parameters.devices) devices"
    case .idle: return counted(parameters.devices, "device", "devices")
    }
  }

  static func counted(_ count: Int, _ one: String, _ many: String) -> String {
    "\(Metric.grouped(count)) \(count == 1 ? one : many)"
  }

  private static func conditions(_ results: Results) -> String {
    let machine = results.machine
    let parameters = results.cases.first?.parameters ?? Case.Parameters()
    let rows: [(String, String)] = [
      ("command", results.command), ("date", results.date), ("commit", results.commit),
      ("machine", "\(machine.cpu), \(counted(machine.cpus, "CPU", "CPUs")), \(machine.memoryBytes >> 30) GB"),
      ("system", "Linux \(machine.kernel), journal on \(machine.fileSystem), \(machine.tls)"),
      ("compiler", machine.swift),
      ("load before", Metric.number(machine.loadAverage)),
      ("a run", results.cases.isEmpty ? "contestants of a stage in turn, round after round" : "\(Metric.number(parameters.seconds)) s after \(Metric.number(parameters.warmUpS)) s of warm-up, \(counted(results.cases.first?.runs.count ?? 0, "run", "runs")) of each case in turn; \(parameters.transport.uppercased()), \(counted(parameters.workers, "worker", "workers")); track: \(parameters.track)"),
    ]
    let list = rows.map { "<tr><th>\(escaped($0.0))</th><td>\(escaped($0.1))</td></tr>" }
    var named: [String: [String]] = [:]
    for one in results.cases {
      for note in Set(one.runs.flatMap(\.notes)) { named[note, default: []].append(one.name) }
    }
    let notes = named.sorted { $0.key < $1.key }.map { "\($0.key) (\($0.value.joined(separator: "; ")))" }
    let noted = notes.isEmpty ? "" : "<h3>Notes</h3><ul>\(notes.map { "<li>\(escaped($0))</li>" }.joined())</ul>\n"
    return """
      \(noted)<h3>Conditions</h3>
      <table class="conditions">\(list.joined(separator: "\n"))</table>
      <h3>How it was measured</h3>
      <ul>\(method.map { "<li>\(escaped($0))</li>" }.joined(separator: "\n"))</ul>

      """
  }

  private static let method = [
    "Ack latency counts from the moment a message was due by a schedule that nothing moves, to its ack; the ack means on disk. Each device sends once a period, at a moment of its own. A message that was never answered counts with the time it had waited.",
    "Percentiles are told where ten messages at least lie beyond them.",
    "Server CPU is user and system time of the server's threads. Loopback charges the sender with the receiver's half of TCP; the kernel's own threads are not in it.",
    "Bytes on the wire: payload of TCP as the device's socket counts it, and 52 bytes (IPv4, TCP, timestamps) for each of its packets either way; segments are bounded to Ethernet's size. Link layer and retransmission are not in it.",
    "Memory: anonymous memory of the server, and socket, file and epoll objects and buffers of the kernel for both ends of loopback, so about half of the latter is the server's; as slope over connections that have sent one message each.",
    "Round trips: one for TCP, then one for each time the device spoke and had to be answered, up to the first durable ack.",
    "A band or a range spans all runs; a line goes through the medians.",
  ]

  private static let style = """
    body { font: 15px/1.5 system-ui, sans-serif; color: #1d252c; background: #fff; margin: 2rem auto; max-width: 1600px; padding: 0 1.5rem; }
    h1 { font-size: 1.6rem; margin: 0 0 1rem; } h2 { margin: 3rem 0 1rem; border-top: 2px solid #1d252c; padding-top: 1rem; }
    h3 { margin: 2.2rem 0 .6rem; font-size: 1.1rem; }
    .cards { display: flex; flex-wrap: wrap; gap: 1rem; margin-bottom: 1.5rem; }
    .card { flex: 1 1 14rem; border: 1px solid #d9dfe4; border-radius: 8px; padding: .8rem 1rem; }
    .card b { display: block; font-size: 1.6rem; line-height: 1.2; } .card span { display: block; }
    .card small { color: #5b6770; }
    .plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 560px), 1fr)); gap: 1.2rem; }
    figure { margin: 0; border: 1px solid #d9dfe4; border-radius: 8px; padding: .4rem; }
    figcaption { color: #5b6770; font-size: .85rem; padding: 0 1rem .6rem; }
    svg { display: block; width: 100%; height: auto; }
    svg text { font: 12px system-ui, sans-serif; fill: #1d252c; }
    svg .title { font-size: 16px; font-weight: 600; } svg .tick, svg .axis { fill: #5b6770; } svg .strong { font-weight: 600; }
    svg .grid { stroke: #e6eaed; stroke-width: 1; } svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
    svg .mark { stroke: #5b6770; stroke-width: 1.5; stroke-dasharray: 5 4; } svg .marked { fill: #1d252c; font-weight: 600; }
    .scroll { overflow-x: auto; }
    table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
    th, td { padding: .35rem .8rem; text-align: right; vertical-align: top; border-bottom: 1px solid #e6eaed; white-space: nowrap; }
    tbody th, th:first-child { text-align: left; font-weight: 500; } td small { display: block; color: #5b6770; }
    em { color: #b3261e; font-style: normal; font-weight: 600; } .none { color: #a3adb5; }
    .conditions td { text-align: left; white-space: normal; } .conditions th { text-align: left; color: #5b6770; }
    .warning { border-left: 4px solid #b3261e; padding: .4rem 1rem; background: #fdf3f2; }
    """
}
