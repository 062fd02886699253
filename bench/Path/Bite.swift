import BenchFleet
import Foundation

/// Shows that the hook sees what it is for: see Bite/main.swift.
package enum Bite {
  /// - Returns: what it saw on the two threads.
  /// - Throws: `.outOfBounds` if that is not what was done.
  package static func run(in parent: String) throws -> (worker: [String: UInt64], sink: [String: UInt64]) {
    let folder = parent + "/bite-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    var environment = ProcessInfo.processInfo.environment
    environment["LD_PRELOAD"] = try GatewayProcess.beside("libpathhook.so")
    environment["FIXGATE_PATH_COUNTERS"] = folder + "/counters"
    try GatewayProcess.run(try GatewayProcess.beside("path-bite"), [folder], environment: environment)
    let counters = try Counters(file: folder + "/counters")
    let worker = counters.total(threads: "fixgate-worker")
    let sink = counters.total(threads: "fixgate-sink")
    func see(_ counts: [String: UInt64], _ name: String, atLeast least: UInt64) throws {
      guard counts[name, default: 0] >= least else { throw PathError.outOfBounds("the hook does not see \(name)") }
    }
    try see(worker, "malloc_ours", atLeast: 1_000)
    try see(worker, "free_ours", atLeast: 1_000)
    try see(worker, "lock_ours", atLeast: 1_000)
    try see(worker, "malloc_tls", atLeast: 1_000)
    try see(sink, "malloc_sqlite", atLeast: 10)
    try see(sink, "pwrite", atLeast: 1)
    return (worker, sink)
  }
}
