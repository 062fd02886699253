import ArgumentParser
import BenchHarness
import BenchStages
import Foundation
import GateCore
import GateNet
import GateTLS

/// `drain`: one small record on each of many connections, in random order, read by one thread with epoll: plainly, and as TLS.
/// The sockets are the same for all, and full before the clock starts. Sender and reader are one process, so two descriptors a
/// connection. As the gateway's worker, it reads some dozens of sockets, and then takes what came from them.
struct Drain: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Read one record from each of many sockets: plain, fixgate's records, libssl's, in turn. CPU time of the reader.")

  @Option(help: "Connections.") var connections = 9_500
  @Option(help: "Rounds; the medians are printed.") var rounds = 9
  @Option(help: "Bytes of plaintext a record.") var bytes = 100

  func run() throws {
    try OpenFiles.raiseLimit()
    let sockets = try Sockets(connections)
    let content = (0..<bytes).map { UInt8(truncatingIfNeeded: $0) }
    let plain = content + [UInt8](repeating: 0, count: TLSRecordLayer.overheadBytes)
    let own = try Lines(connections, ownRecords: true)
    let libssl = try Lines(connections, ownRecords: false)
    var times = [[Double]](repeating: [], count: 3)
    var random = SeededGenerator(state: 1)
    for round in 0...rounds {
      for (kind, lines) in [nil, own, libssl].enumerated() {
        try sockets.fill((0..<connections).shuffled(using: &random)) { lines?.seal(content, on: $0) ?? plain }
        let ns = try sockets.drain(connections, for: lines)
        if round > 0 { times[kind].append(Double(ns) / Double(connections)) }
      }
    }
    print("by        ns/record   least    most   ratio   (\(connections) connections, \(bytes) bytes)")
    let base = times[0].sorted()[rounds / 2]
    for (name, times) in zip(["plain", "fixgate", "libssl"], times) {
      let sorted = times.sorted()
      print(
        pad(name, 9), number(sorted[rounds / 2], 9), number(sorted[0], 7), number(sorted[rounds - 1], 7),
        number(sorted[rounds / 2] / base, 7))
    }
  }
}

/// Pairs of connected sockets over loopback; the accepted ends are watched by one poller.
private final class Sockets {
  private final class Pair {
    let sender: TCPStream
    let reader: TCPStream
    init(_ sender: consuming TCPStream, _ reader: consuming TCPStream) {
      self.sender = sender
      self.reader = reader
    }
  }

  private var pairs: [Pair] = []
  private var poller: Poller
  /// Room for a full record of each.
  private var buffer = [UInt8](repeating: 0, count: Sockets.readsAtOnce * 17_408)
  /// Places and what came from them.
  private var reads: [(Int, Range<Int>)] = []
  /// As `Worker.readsMax`.
  private static let readsAtOnce = 32

  init(_ count: Int) throws {
    poller = try Poller(capacity: 512)
    let listener = try TCPListener(on: .loopback(port: 0))
    for i in 0..<count {
      let sender = try TCPStream.connect(
        to: .loopback(port: listener.boundPort), until: SystemClock.now().advanced(byNs: 5_000_000_000))
      guard let reader = try listener.accept() else { throw NetError.timedOut }
      let pair = Pair(sender, reader)
      try poller.add(pair.reader.descriptor, token: UInt64(i), for: .read)
      pairs.append(pair)
    }
  }

  func fill(_ order: [Int], with record: (Int) -> [UInt8]) throws {
    for i in order {
      let bytes = record(i)
      guard case .bytes(bytes.count) = try pairs[i].sender.write(bytes.span) else { throw NetError.timedOut }
    }
  }

  /// - Parameter lines: what opens the records; `nil` = nothing does.
  /// - Returns: CPU time of this thread, in ns.
  func drain(_ count: Int, for lines: Lines?) throws -> UInt64 {
    let start = Sockets.cpuNs()
    var left = count
    while left > 0 {
      let ready = try poller.wait(timeoutNs: 1_000_000_000)
      guard ready > 0 else { throw NetError.timedOut }
      for first in stride(from: 0, to: ready, by: Sockets.readsAtOnce) {
        var end = 0
        for i in first..<min(ready, first + Sockets.readsAtOnce) {
          let place = Int(poller.event(at: i).token)
          let begin = end
          lines?.prefetch(place)
          guard case .bytes = try Sockets.read(pairs[place], &buffer, &end) else { throw NetError.timedOut }
          lines?.prefetchKeys(place)
          reads.append((place, begin..<end))
        }
        for (place, range) in reads {
          precondition((lines?.open(buffer, range, on: place) ?? range.count) > 0)
        }
        left -= reads.count
        reads.removeAll(keepingCapacity: true)
      }
    }
    return Sockets.cpuNs() - start
  }

  private static func read(_ pair: Pair, _ buffer: inout [UInt8], _ count: inout Int) throws(NetError) -> ReadResult {
    var room = buffer.mutableSpan
    return try pair.reader.read(into: &room, at: &count)
  }

  private static func cpuNs() -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}

private struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state ^ state >> 29
  }
}
