package import ArgumentParser
import BenchFleet
import BenchLoad
import BenchReport

/// `peers`: fixgate and others on the same fleet and content.
package struct PeersCommand: ParsableCommand {
  package static let configuration = CommandConfiguration(
    commandName: "peers",
    abstract: "The same fleet and content on fixgate, a plain SwiftNIO server, mosquitto and nats-server, in turn.")

  @OptionGroup var options: LoadOptions

  @Option(help: "Fixes in a message; may be repeated.")
  var batch = [1, 10]

  @Option(help: "Also this many fixes a second in an open loop; may be repeated.")
  var rate = [5_000.0]

  package init() {}

  package func validate() throws {
    guard options.transport == "tls" else { throw ValidationError("The peers speak TLS.") }
  }

  package func run() throws {
    let loadAverage = LoadMachine.loadAverage
    let fixes = try LoadBench.fixes(track: options.track)
    let present = Peer.allCases.compactMap { peer in peer.executable.map { (peer, $0) } }
    for peer in Peer.allCases {
      let isThere = present.contains { $0.0 == peer }
      print("\(peer.rawValue): \(isThere ? peer.terms : "ABSENT, not measured; \(peer.advice)")")
    }
    var bench = LoadBench(folder: options.folder, fixes: fixes) { print($0) }
    var cases: [Case] = []
    let works = works
    for work in works {
      for subject in ["fixgate"] + present.map(\.0.rawValue) {
        cases.append(
          Case(name: "\(subject), \(work.name)", subject: subject, kind: work.kind, parameters: work.parameters, runs: []))
      }
    }
    for round in 0..<options.runs {
      for index in cases.indices {
        let one = cases[index]
        let work = LoadBench.Work(one.name, one.kind, one.parameters)
        let executable = present.first { $0.0.rawValue == one.subject }
        var run = try bench.perform(work, seed: UInt64(round + 1)) { enrolment in
          guard let (peer, path) = executable else { return nil }
          return try PeerServer(peer, path, enrolment, in: options.folder, fixes: fixes)
        }
        if let (peer, _) = executable, round == 0 { run.notes.append(peer.terms) }
        cases[index].runs.append(run)
        print("run \(round + 1) of \(options.runs), \(one.name): \(LoadTable.line(run))")
      }
    }
    print("\n" + LoadTable.overview(cases))
    let results = Results(cases: cases, folder: options.folder, loadAverage: loadAverage)
    if let json = options.json { try results.write(to: json) }
  }

  private var works: [LoadBench.Work] {
    var works: [LoadBench.Work] = []
    for batch in batch {
      var parameters = options.parameters
      parameters.batch = batch
      works.append(LoadBench.Work("saturation, batch \(batch)", .saturation, parameters))
    }
    for rate in rate {
      var parameters = options.parameters
      parameters.offered = rate
      works.append(LoadBench.Work("\(Metric.number(rate)) fixes/s", .offered, parameters))
    }
    return works
  }
}
