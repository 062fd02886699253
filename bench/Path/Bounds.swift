/// Counts that may not be passed. They do not depend on the machine's speed; where they depend on how well it batches, the
/// bound is what happens when it never does.
package enum Bounds {
  /// What one message may cost its worker at most: one read and one send, and if nothing at all is batched one wait, one
  /// wake-up given and one taken back.
  package static let workerCallsAMessage = 6.0
  /// One write and one sync a commit, and a commit for every message if nothing is batched.
  package static let journalCallACommit = 1.025
  /// Besides, the next segment's file is written in pieces of so many bytes.
  package static let pieceBytes: UInt64 = 64 << 10
  /// Bytes that a worker reads beside the fixes: TLS record, length prefix, what the batch says once.
  package static let bytesReadAMessage = 120.0

  /// - Throws: `.outOfBounds` with what is too much.
  package static func check(_ counted: Scenario.Counted) throws(PathError) {
    try none(counted.worker, "malloc_ours")
    try none(counted.worker, "free_ours")
    try none(counted.worker, "lock_ours")
    try none(counted.worker, "lock_tls")
    try none(counted.worker, "lock_sqlite")
    let calls = Scenario.Counted.calls(counted.worker).reduce(0) { $0 + $1.count }
    try most(calls, workerCallsAMessage, of: counted.messages, "system calls of the worker")
    try most(counted.sequencer["fdatasync", default: 0], journalCallACommit, of: counted.commits + 1, "fdatasync")
    // Each piece of the next segment's file is one write, and one call that has the kernel begin with it.
    let pieces = counted.sequencer["sync_file_range", default: 0]
    let writes = counted.sequencer["pwrite", default: 0]
    try most(pieces, 1, of: counted.sequencer["bytes_written", default: 0] / pieceBytes + 1, "pieces of the next segment")
    try most(writes - min(writes, pieces), journalCallACommit, of: counted.commits + 1, "pwrite")
    try most(
      counted.worker["bytes_read", default: 0], bytesReadAMessage, of: counted.messages + counted.fixes / 8, "bytes read")
  }

  /// - Throws: `.outOfBounds` unless nothing is allocated and locked, and all shapes of frames give the same records.
  package static func check(_ results: [InProcess.Result]) throws(PathError) {
    for result in results {
      if result.allocations > 0 { throw .outOfBounds("\(result.shape.name): \(result.allocations) allocations") }
      if result.locks > 0 { throw .outOfBounds("\(result.shape.name): \(result.locks) locks") }
      if result.hash != results[0].hash { throw .outOfBounds("\(result.shape.name): other records") }
    }
  }

  private static func none(_ counts: [String: UInt64], _ name: String) throws(PathError) {
    let count = counts[name, default: 0]
    if count > 0 { throw .outOfBounds("the worker's \(name): \(count)") }
  }

  private static func most(_ count: UInt64, _ bound: Double, of number: UInt64, _ what: String) throws(PathError) {
    if Double(count) > bound * Double(number) { throw .outOfBounds("\(what): \(count) of \(number), at most \(bound) each") }
  }
}
