import BenchReport
import Foundation
import Testing

@Suite struct ScaleTests {
  @Test(arguments: [(1.0, 0.2), (10, 2), (7, 2), (30, 10), (0.03, 0.01), (12_345, 5_000)])
  func stepsAreRound(span: Double, step: Double) {
    #expect(abs(Scale.step(spanning: span, parts: 5) / step - 1) < 1e-9)
  }

  @Test func aLinearAxisBeginsAtZeroAndHoldsAll() {
    let scale = Scale(.linear, fitting: [3, 17], to: 0...100)
    #expect(scale.ticks.map(\.label) == ["0", "5", "10", "15", "20"])
    #expect(scale.position(0) == 0 && scale.position(20) == 100 && scale.position(5) == 25)
  }

  @Test func upwardsIsReversed() {
    let scale = Scale(.linear, fitting: [10], to: 0...100, reversed: true)
    #expect(scale.position(0) == 100 && scale.position(10) == 0)
  }

  @Test func aLogarithmicAxisHasRoundEnds() {
    let scale = Scale(.logarithmic, fitting: [0.3, 40], to: 0...100)
    #expect(scale.ticks.first!.value <= 0.3 && scale.ticks.last!.value >= 40)
    #expect(scale.position(0.01) == 0 && scale.position(1_000) == 100)
    #expect(abs((scale.position(4) - scale.position(2)) - (scale.position(2) - scale.position(1))) < 1e-9)
  }

  @Test func oneValueAloneStillMakesAnAxis() {
    for kind in [Scale.Kind.linear, .logarithmic] {
      let scale = Scale(kind, fitting: [2], to: 0...100)
      #expect(scale.ticks.count >= 2)
      #expect(scale.position(2).isFinite)
    }
    #expect(Scale(.linear, fitting: [], to: 0...100).position(0).isFinite)
    #expect(Scale(.logarithmic, fitting: [0], to: 0...100).position(0).isFinite)
  }

  @Test func ninesAreEquallyFarApart() {
    let scale = Scale(.nines, fitting: [0.9999], to: 0...100)
    #expect(scale.ticks.map(\.label) == ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"])
    #expect(abs(scale.position(0.9) - 25) < 1e-9 && abs(scale.position(0.99) - 50) < 1e-9)
    #expect(scale.position(1) == 100)
  }
}

@Suite struct PageTests {
  @Test(arguments: [
    (0.0, "0"), (0.1234, "0.123"), (1.236, "1.24"), (12.34, "12.3"), (123.4, "123"), (1_234.6, "1,235"),
    (1_234_567, "1,234,567"), (-0.5, "-0.500"), (-1_234, "-1,234"),
  ])
  func numbersAreShort(value: Double, text: String) { #expect(Metric.number(value) == text) }

  @Test func everyFigureHasANameOfItsOwn() {
    #expect(Set(Metric.allCases.map(\.title)).count == Metric.allCases.count)
  }

  /// No address of another site, and what came in as text stays text.
  @Test func thePageStandsAlone() {
    let machine = Machine(
      cpu: "<b>&", cpus: 2, memoryBytes: 1 << 30, kernel: "", fileSystem: "", swift: "", tls: "", loadAverage: 0)
    var parameters = Case.Parameters()
    let cases = [1_000.0, 2_000, 3_000].map { offered in
      parameters.offered = offered
      return Case(
        name: "offered \(offered)", subject: "fixgate", kind: .offered, parameters: parameters,
        runs: [Run(
          figures: [.fixesPerSecond: offered, .p50: 1, .p99: offered / 500, .cpuPerMillion: 20],
          latency: [.init(share: 0.5, ms: 1), .init(share: 0.99, ms: 4)])])
    }
    let html = Page([("run", Results(command: "load", date: "", commit: "", machine: machine, cases: cases))]).html
    #expect(html.contains("&lt;b&gt;&amp;") && !html.contains("<b>&"))
    let addresses = html.components(separatedBy: "http").count - html.components(separatedBy: "http://www.w3.org/2000/svg").count
    #expect(addresses == 0)
    #expect(html.components(separatedBy: "<svg").count == 4)
    #expect(html.contains(">knee<"))
  }
}
