package import ArgumentParser
import Foundation

/// `report`: one HTML file that needs no network.
package struct ReportCommand: ParsableCommand {
  package static let configuration = CommandConfiguration(
    commandName: "report", abstract: "Make one HTML page with plots and tables of results.")

  @Argument(help: "Results, as written by --json; several are shown one behind the other.")
  var results: [String]

  @Option(help: "File to write.")
  var out = "report.html"

  package init() {}

  package func run() throws {
    let pages = try results.map { (name: URL(filePath: $0).deletingPathExtension().lastPathComponent, results: try Results(file: $0)) }
    try Data(Page(pages).html.utf8).write(to: URL(filePath: out))
    print("wrote \(out)")
  }
}
