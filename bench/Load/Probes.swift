import BenchFleet
import BenchReport

/// CPU time of a server's threads so far, ns.
struct CPU {
  private let byThread: [String: UInt64]
  var total: UInt64 { byThread.values.reduce(0, +) }

  init(of server: any Server) {
    byThread = server.processes.reduce(into: [:]) { $0.merge(ProcessProbe.cpuNs(of: $1), uniquingKeysWith: +) }
  }

  /// By stage, where threads are named after them.
  func stages(since before: CPU) -> [Metric: UInt64] {
    var sums: [Metric: UInt64] = [:]
    for (name, ns) in byThread {
      sums[CPU.stage(name), default: 0] += ns - min(ns, before.byThread[name] ?? 0)
    }
    return sums
  }

  private static func stage(_ thread: String) -> Metric {
    if thread.hasPrefix("fixgate-worker") { return .cpuWorker }
    if thread.hasPrefix("fixgate-seq") { return .cpuSequencer }
    if thread.hasPrefix("fixgate-sink") { return .cpuSink }
    return .cpuOther
  }
}

/// Memory that connections take, bytes.
struct Memory {
  let user: Int
  let kernel: Int?

  init(of server: any Server) {
    user = server.processes.reduce(0) { $0 + ProcessProbe.anonymousBytes(of: $1) }
    let sockets = ProcessProbe.socketBytes()
    kernel = sockets.objects.map { $0 + sockets.buffers }
  }
}
