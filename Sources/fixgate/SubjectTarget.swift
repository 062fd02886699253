import ArgumentParser
import Foundation
import GateCore
import GateStore
import Gateway

/// Whose data a command is about, and of which time.
struct SubjectTarget: ParsableArguments {
  @Option(help: "Tenant that the subject belongs to.")
  var tenant: String

  @Option(help: "A device instead of a subject: what it sent while nobody carried it.")
  var device: String?

  @Option(help: "Only from this fix time on: 2026-11-21T04:00:00Z.")
  var from: String?

  @Option(help: "Only up to this fix time.")
  var to: String?

  func find(_ subject: String?, in setup: Setup) throws -> SubjectRange {
    try query(.export, subject).target(ofTenant: tenant, in: RegistryStore(path: setup.registryPath))
  }

  /// As a question to the one who reads.
  func query(_ kind: ReadQuery.Kind, _ subject: String?) throws -> ReadQuery {
    var query = ReadQuery(kind, device: device)
    query.subject = subject
    query.fromMs = try from.map { try HistoryCommand.milliseconds($0) }
    query.toMs = try to.map { try HistoryCommand.milliseconds($0) }
    return query
  }
}

extension SubjectRange {
  /// As the audit log counts them.
  var subjectIndex: UInt32? { owner.isDevice ? nil : owner.index }
  var deviceIndex: UInt32? { owner.isDevice ? owner.index : nil }
}

extension Setup {
  var subjectBookPath: String { dataDirectory + "/" + SubjectBook.name }
}
