package import BenchFleet
import BenchHarness
import BenchPath
package import BenchReport
import Foundation
package import GateCore
import GateTLS

/// Cases that are run in turn, so that what else happens on the machine hits all of them alike.
package struct LoadBench {
  package struct Work {
    package var name: String
    package var kind: Case.Kind
    package var parameters: Case.Parameters
    package init(_ name: String, _ kind: Case.Kind, _ parameters: Case.Parameters) {
      (self.name, self.kind, self.parameters) = (name, kind, parameters)
    }
  }

  /// On the disk that is measured.
  let folder: String
  let fixes: [Fix]
  /// Says what goes on.
  let tell: (String) -> Void
  private var enrolments: [Int: Enrolment] = [:]
  private let cores = Cores.split

  package init(folder: String, fixes: [Fix], tell: @escaping (String) -> Void) {
    (self.folder, self.fixes, self.tell) = (folder, fixes, tell)
  }

  /// Runs all of it `runs` times, one case after the other, then the next round.
  package mutating func run(_ works: [Work], runs: Int) throws -> [Case] {
    var cases = works.map { Case(name: $0.name, subject: "fixgate", kind: $0.kind, parameters: $0.parameters, runs: []) }
    for round in 0..<runs {
      for (index, work) in works.enumerated() {
        let run = try perform(work, seed: UInt64(round + 1)) { _ in nil }
        cases[index].runs.append(run)
        tell("run \(round + 1) of \(runs), \(work.name): \(LoadTable.line(run))")
      }
    }
    return cases
  }

  /// - Parameter peer: starts another server for these devices; `nil` for fixgate.
  package mutating func perform(
    _ work: Work, seed: UInt64, peer: (Enrolment) throws -> (any Server)?
  ) throws -> Run {
    let enrolment = try enrolment(of: work.parameters.devices)
    // The server and its threads inherit the CPUs of the thread that starts it.
    try Cores.pin(to: cores.server)
    let server: any Server =
      try peer(enrolment)
      ?? FixgateServer(
        enrolment, in: folder, transport: Transport(rawValue: work.parameters.transport) ?? .tls,
        workers: work.parameters.workers, fixes: fixes)
    return try LoadRun(work.parameters, kind: work.kind, seed: seed).perform(on: server, cores: cores)
  }

  /// Counts calls and allocations in runs of their own, with the hook, and puts them into the first run of each case.
  package func count(_ cases: inout [Case]) throws {
    _ = try Bite.run(in: folder)
    for index in cases.indices where cases[index].kind == .saturation && cases[index].parameters.transport == "tls" {
      let parameters = cases[index].parameters
      let messages = UInt64(max(10 * parameters.devices, 5_000))
      let counted = try Scenario(
        connections: parameters.devices, batch: parameters.batch, warmUp: messages * UInt64(parameters.batch) / 2,
        fixes: messages * UInt64(parameters.batch), workers: parameters.workers
      ).count(in: folder, track: fixes)
      let fixes = Double(counted.fixes)
      let calls = Scenario.Counted.calls(counted.worker).reduce(0) { $0 + $1.count }
      cases[index].runs[0].figures[.calls] = Double(calls) / Double(counted.messages)
      cases[index].runs[0].figures[.allocations] = Double(counted.worker["malloc_ours", default: 0]) / fixes
      cases[index].runs[0].figures[.allocationsTLS] = Double(counted.worker["malloc_tls", default: 0]) / fixes
      cases[index].runs[0].figures[.locks] = Double(counted.worker["lock_ours", default: 0]) / fixes
    }
  }

  private mutating func enrolment(of devices: Int) throws -> Enrolment {
    if let made = enrolments[devices] { return made }
    tell("enrolling \(devices) devices")
    let made = try Enrolment(devices: devices)
    enrolments[devices] = made
    return made
  }

  /// Recorded tracks, all of a file's one behind the other, or a made-up one.
  package static func fixes(track: String?) throws -> [Fix] {
    guard let track else { return FixModel.fixes(.courier(seed: 1, points: 60_000)) }
    return try Track.read(track).flatMap { FixModel.fixes($0) }
  }
}

extension Results {
  /// With this machine, now.
  package init(cases: [Case] = [], stages: [StageResult]? = nil, folder: String, loadAverage: Double) {
    let source = URL(filePath: #filePath).deletingLastPathComponent().path
    let revision = LoadMachine.output("git", ["-C", source, "rev-parse", "--short=10", "HEAD"]) ?? "unknown"
    let isDirty = LoadMachine.output("git", ["-C", source, "status", "--porcelain"]).map { !$0.isEmpty } ?? false
    self.init(
      command: (["fixgate-bench"] + CommandLine.arguments.dropFirst()).joined(separator: " "),
      date: ISO8601DateFormatter().string(from: Date()), commit: revision + (isDirty ? "-dirty" : ""),
      machine: LoadMachine.describe(folder: folder, loadAverage: loadAverage), cases: cases, stages: stages)
  }
}

package enum LoadMachine {
  /// Load average of the last minute.
  package static var loadAverage: Double {
    ProcessProbe.text("/proc/loadavg").split(separator: " ").first.flatMap { Double($0) } ?? 0
  }

  static func describe(folder: String, loadAverage: Double) -> Machine {
    Machine(
      cpu: value("/proc/cpuinfo", "model name", separator: ":") ?? "unknown",
      cpus: ProcessInfo.processInfo.processorCount,
      memoryBytes: Int(clamping: ProcessInfo.processInfo.physicalMemory),
      kernel: ProcessProbe.text("/proc/sys/kernel/osrelease").trimmingCharacters(in: .newlines),
      fileSystem: fileSystem(of: folder),
      swift: output("swiftc", ["--version"])?.split(separator: "\n").first.map(String.init) ?? "unknown",
      tls: TLSLibrary.name, loadAverage: loadAverage)
  }

  /// First line of what a program prints; `nil` when it is not there or fails.
  static func output(_ program: String, _ arguments: [String]) -> String? {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = [program] + arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = FileHandle.nullDevice
    guard (try? process.run()) != nil else { return nil }
    let data = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { return nil }
    return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .newlines)
  }

  private static func value(_ file: String, _ field: String, separator: Character) -> String? {
    let line = ProcessProbe.text(file).split(separator: "\n").first { $0.hasPrefix(field) }
    return line?.split(separator: separator, maxSplits: 1).dropFirst().first?.trimmingCharacters(in: .whitespaces)
  }

  /// Of the mount with the longest path that the folder lies under.
  private static func fileSystem(of folder: String) -> String {
    let path = URL(filePath: folder).standardizedFileURL.resolvingSymlinksInPath().path
    let mounts = ProcessProbe.text("/proc/mounts").split(separator: "\n").map { $0.split(separator: " ") }
    let under = mounts.filter { $0.count > 2 && (path + "/").hasPrefix($0[1] == "/" ? "/" : $0[1] + "/") }
    return under.max { $0[1].count < $1[1].count }.map { String($0[2]) } ?? "unknown"
  }
}
