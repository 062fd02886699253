#if JetStream
import Foundation
import GateStore

/// `fixgate store drain` with a configuration of its own, into a database of its own: killed and started again like a gateway.
final class Collector {
  let folder: String
  private(set) var process: Child?

  var store: String { folder + "/data/fixes.db" }
  private var config: String { folder + "/fixgate.yaml" }

  /// - Parameter sinks: entries of the list: the stream, and where it goes.
  init(sinks: String) throws {
    folder = FileManager.default.temporaryDirectory.path + "/fixgate-collector-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try Data("data:\n  directory: data\nsinks:\n\(sinks)".utf8).write(to: URL(fileURLWithPath: config))
  }

  deinit {
    process?.kill9()
    try? FileManager.default.removeItem(atPath: folder)
  }

  func spawn(into name: String, _ more: [String] = []) throws -> Child {
    try Child(
      GatewayProcess.executable,
      ["store", "drain", "--config", config, "--from", "stream", "--into", name, "--ack-wait", "2"] + more)
  }

  /// Starts it and does not wait: the cluster may have no leader just then.
  func start(into name: String) throws { process = try spawn(into: name) }

  func kill9() {
    process?.kill9()
    process = nil
  }

  /// SIGTERM.
  func terminate() throws -> Child.Outcome {
    guard let child = process else { throw GatewayProcess.Failure(description: "it does not run") }
    child.signal(SIGTERM)
    guard let outcome = child.wait(seconds: 60) else { throw GatewayProcess.Failure(description: "it does not heed SIGTERM") }
    process = nil
    return outcome
  }

  /// Waits until it is so, or for as long.
  func wait(seconds: Double, until isSo: () throws -> Bool) throws -> Bool {
    let deadline = Date(timeIntervalSinceNow: seconds)
    while try !isSo() {
      guard Date() < deadline else { return false }
      // Meanwhile it must not end.
      if let outcome = process?.wait(seconds: 0.1) { throw GatewayProcess.Failure(description: "it ended: \(outcome)") }
    }
    return true
  }

  func count(_ sql: String) throws -> Int64 {
    guard FileManager.default.fileExists(atPath: store) else { return 0 }
    return try SQLiteConnection(path: store, access: .readOnly).integer(sql)
  }
}
#endif
