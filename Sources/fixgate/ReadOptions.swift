import ArgumentParser
import Foundation
import GateCore
import GateStore
import Gateway

/// Who reads: the operator, who owns the data directory; or the holder of a read token, who asks the running gateway.
struct ReadOptions: ParsableArguments {
  @Option(
    help: "File with a read token, from 'fixgate token add'; or its text in FIXGATE_TOKEN. The operator needs none.")
  var tokenFile: String?

  @Option(help: "With a token: the gateway's socket (listen.read). Default: $FIXGATE_SOCKET, then the configuration's.")
  var socket: String?

  @OptionGroup var config: ConfigurationOption

  /// Prints the answer to standard output.
  /// - Returns: how many lines it has.
  @discardableResult func read(_ query: ReadQuery, tenant: String) throws -> Int {
    var lines = 0
    func write(_ piece: [UInt8]) throws {
      lines += piece.count { $0 == 0x0A }
      try FileHandle.standardOutput.write(contentsOf: Data(piece))
    }
    if let token = try token() {
      try ReadClient.ask(query, tenant: tenant, token: token, socket: socketPath(), write)
    } else {
      let setup = try config.load()
      let reader = try setup.reader(of: tenant)
      try setup.note(
        query.kind.action, tenant: tenant, subject: query.subject.flatMap { try? reader.index(ofSubject: $0) },
        device: query.device.flatMap { try? reader.index(ofDevice: $0) })
      try withoutActuallyEscaping(write) { try reader.answer(query, into: ReadOutput($0)) }
    }
    return lines
  }

  private func token() throws -> String? {
    if let tokenFile {
      guard let bytes = FileManager.default.contents(atPath: tokenFile) else { throw Complaint("cannot read \(tokenFile)") }
      return String(decoding: bytes.prefix(ReadToken.textBytesMax), as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }
    return ProcessInfo.processInfo.environment["FIXGATE_TOKEN"].flatMap { $0.isEmpty ? nil : $0 }
  }

  private func socketPath() throws -> String {
    if let path = socket ?? ProcessInfo.processInfo.environment["FIXGATE_SOCKET"] { return path }
    if let setup = try? config.load(), !setup.configuration.listen.read.isEmpty {
      return setup.path(setup.configuration.listen.read)
    }
    throw Complaint("name the gateway's socket with --socket or FIXGATE_SOCKET: it is what listen.read says there")
  }
}

extension Setup {
  func reader(of tenant: String) throws -> TenantReader {
    let directory = dataDirectory
    return TenantReader(
      tenant: tenant, storePath: try storePath, registryPath: registryPath,
      marks: { device in try Setup.marks(of: device, in: directory) },
      places: { request in try ControlClient.ask(request, directory: directory) })
  }

  /// The gateway's, or those of its last checkpoint where none runs: it writes one when it ends.
  private static func marks(of device: UInt32, in directory: String) throws -> (marks: [StreamMarks], live: Bool) {
    if let answer = try ControlClient.ask(.marks(device: device), directory: directory) {
      guard let marks = answer.marks else {
        throw Complaint(answer.problem ?? "the gateway did not answer in time; it may wait for its disk")
      }
      return (marks, true)
    }
    switch try CheckpointFile.read(in: try Directory(directory)) {
    case .checkpoint(let checkpoint): return (checkpoint.devices.marks(of: Int(device)), false)
    case .none: return ([], false)
    case .damaged: throw Complaint("\(CheckpointFile.name) is damaged; start the gateway, which reads its journal instead")
    case .newer(let version): throw GatewayError.newerCheckpoint(version: version)
    }
  }
}
