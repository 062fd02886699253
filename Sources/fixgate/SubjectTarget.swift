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

  @OptionGroup var config: ConfigurationOption

  func find(_ subject: String?, in setup: Setup) throws -> SubjectRange {
    guard (subject == nil) != (device == nil) else { throw Complaint("name either a subject or --device") }
    let first = try from.map { try HistoryCommand.milliseconds($0) } ?? .min
    let last = try to.map { try HistoryCommand.milliseconds($0) } ?? .max
    guard first <= last else { throw Complaint("--from lies behind --to") }
    let found = try RegistryStore(path: setup.registryPath).owner(tenant: tenant, subject: subject, device: device)
    return SubjectRange(tenant: found.tenant, owner: found.owner, times: first...last)
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
