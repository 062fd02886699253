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
    try read(query, tenant: tenant) { piece in
      lines += piece.count { $0 == 0x0A }
      try FileHandle.standardOutput.write(contentsOf: Data(piece))
    }
    return lines
  }

  /// - Parameter write: takes the answer, piece by piece.
  func read(_ query: ReadQuery, tenant: String, into write: ([UInt8]) throws -> Void) throws {
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
  }

  /// Whether it is not the operator who reads.
  var hasToken: Bool { get throws { try token() != nil } }

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
    let (directory, keyPath, registry) = (dataDirectory, registryKeyPath, registryPath)
    return TenantReader(
      tenant: tenant, storePath: try storePath, registryPath: registryPath, bookPath: subjectBookPath,
      cipher: {
        let index = try RegistryStore(path: registry).index(ofTenant: tenant)
        return try Setup.cipher(of: index, directory: directory, keyPath: keyPath)
      },
      marks: { device in try Setup.marks(of: device, in: directory) },
      places: { request in try ControlClient.ask(request, directory: directory) })
  }

  /// Opens what is sealed of a tenant; `nil` = nothing is.
  func cipher(of tenant: UInt32) throws -> (any SubjectCipher)? {
    try Setup.cipher(of: tenant, directory: dataDirectory, keyPath: registryKeyPath)
  }

  private static func cipher(of tenant: UInt32, directory: String, keyPath: String) throws -> (any SubjectCipher)? {
    try SubjectKeys.reading(tenant: tenant, directory: directory, keyPath: keyPath).map { try BookCipher($0) }
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
