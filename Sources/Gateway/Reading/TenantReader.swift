import Foundation
package import GateCore
import GateStore

/// Reads one tenant's data, for the operator at the command line and for the holder of a read token alike. Every look-up
/// starts from the tenant: there is no query here that could meet another's rows.
package struct TenantReader: Sendable {
  package let tenant: String
  private let storePath: String
  private let registryPath: String
  private let bookPath: String
  private let cipher: Cipher
  private let marks: Marks
  private let places: Places

  /// What is known of a device's sequences, and whether that is of now or of the last checkpoint.
  package typealias Marks = @Sendable (UInt32) throws -> (marks: [StreamMarks], live: Bool)

  /// Opens what is sealed; `nil` = nothing is.
  package typealias Cipher = @Sendable () throws -> (any SubjectCipher)?

  /// Answers `ControlRequest.places`; `nil` where no gateway runs.
  package typealias Places = @Sendable (ControlRequest) throws -> ControlAnswer?

  package init(
    tenant: String, storePath: String, registryPath: String, bookPath: String, cipher: @escaping Cipher,
    marks: @escaping Marks, places: @escaping Places
  ) {
    self.tenant = tenant
    self.storePath = storePath
    self.registryPath = registryPath
    self.bookPath = bookPath
    self.cipher = cipher
    self.marks = marks
    self.places = places
  }

  /// The index of a device of the tenant.
  package func index(ofDevice id: String) throws -> UInt32 {
    try RegistryStore(path: registryPath).device(tenant: tenant, id: id)
  }

  /// The index of a subject of the tenant.
  package func index(ofSubject name: String) throws -> UInt32 {
    try RegistryStore(path: registryPath).devices(ofSubject: name, tenant: tenant).subject
  }

  /// - Throws: before anything is written, or what `out` has thrown.
  package func answer(_ query: ReadQuery, into out: ReadOutput) throws {
    switch query.kind {
    case .latest: try latest(query, out)
    case .history: try history(query, out)
    case .gaps: try gaps(query, out)
    case .quarantine: try quarantine(query, out)
    case .export: try export(query, out)
    case .erase: preconditionFailure("whoever is to be erased is not read")
    }
    try out.end()
  }

  // MARK: Kinds

  private func latest(_ query: ReadQuery, _ out: ReadOutput) throws {
    let format = try TenantReader.choose(query.format, among: ["csv", "json"])
    let seen = try seen(query.device)
    let store = try LatestReader(path: storePath)
    var rows: [String: LatestRow] = [:]
    do throws(HistoryError) {
      for row in try store.read(tenant: tenant, device: query.device) { rows[row.device] = row }
    } catch {
      // A store that lags may not even know the name.
      if case .store = error { throw error }
      if seen.isEmpty { throw error }
    }
    for (device, position) in seen { LatestRow.move(&rows[device], to: position, of: device) }
    if format == "csv" { out.write(LatestRow.header) }
    for row in rows.values.sorted(by: { $0.device < $1.device }) { out.write(format == "csv" ? row.csv : row.json) }
  }

  /// Where the gateway has seen the tenant's devices, however far the store lags.
  private func seen(_ device: String?) throws -> [String: LatestPosition] {
    var seen: [String: LatestPosition] = [:]
    var next: UInt32? = try device.map { try index(ofDevice: $0) } ?? 1
    while let from = next {
      guard let answer = try places(.places(tenant: tenant, from: from, alone: device != nil)) else { return [:] }
      guard let page = answer.places else { throw ReadProblem(answer.problem ?? "the gateway is of another version") }
      seen.merge(page.seen) { $1 }
      next = page.next
    }
    return seen
  }

  private func history(_ query: ReadQuery, _ out: ReadOutput) throws {
    guard let whose = query.device ?? query.subject else { throw ReadProblem("name a device with --device, or a subject") }
    let name = try TenantReader.choose(query.format, among: TrackFormat.allCases.map(\.rawValue))
    guard let format = TrackFormat(rawValue: name) else { return }
    let (first, last) = (query.fromMs ?? .min, query.toMs ?? .max)
    guard first <= last else { throw ReadProblem("--from lies behind --to") }
    let reader = try HistoryReader(path: storePath)
    // Nothing is written before it is known that the device exists; then fixes stream through.
    var writer: TrackWriter?
    func begin() {
      var made = TrackWriter(format: format) { out.write($0) }
      made.begin(name: whose)
      writer = consume made
    }
    func take(_ point: TrackPoint) -> Bool {
      if writer == nil { begin() }
      writer?.append(point)
      return out.isOpen
    }
    if let device = query.device {
      try reader.read(tenant: tenant, device: device, range: first...last, take)
    } else {
      let carried = try RegistryStore(path: registryPath).devices(ofSubject: whose, tenant: tenant)
      try reader.read(tenant: tenant, subject: carried, range: first...last, take)
    }
    if writer == nil { begin() }
    if let writer = writer.take() { writer.end() }
  }

  private func gaps(_ query: ReadQuery, _ out: ReadOutput) throws {
    guard let device = query.device else { throw ReadProblem("name a device with --device") }
    let format = try TenantReader.choose(query.format, among: ["text", "json"])
    let index = try index(ofDevice: device)
    let (marks, live) = try marks(index)
    let reader = try SettledReader(path: storePath)
    let ledger = GapLedger(
      live: live, marks: marks, settled: try reader.runs(device: index), stored: try reader.stored(device: index))
    out.write(format == "json" ? try ledger.json : ledger.text)
  }

  private func quarantine(_ query: ReadQuery, _ out: ReadOutput) throws {
    let format = try TenantReader.choose(query.format, among: ["text", "json"])
    var selection = QuarantineSelection(tenant: tenant, device: query.device, code: query.code)
    if let number = query.number { selection.ids = [number] }
    let limit = query.limit ?? .max
    var count = 0
    try Quarantine(path: storePath, cipher: try cipher()).list(selection) { held in
      guard count < limit else { return false }
      count += 1
      switch (format, query.number) {
      case ("json", _): out.write(held.json)
      case (_, .some): out.write(held.fields.map { "\($0.name)\t\($0.value)\n" }.joined())
      default: out.write(held.line)
      }
      return out.isOpen
    }
    if let number = query.number, count == 0 {
      throw ReadProblem("nothing with number \(number) is held; see 'fixgate quarantine list'")
    }
  }

  private func export(_ query: ReadQuery, _ out: ReadOutput) throws {
    let name = try TenantReader.choose(query.format, among: SubjectExport.Format.allCases.map(\.rawValue))
    guard let format = SubjectExport.Format(rawValue: name) else { return }
    let target = try query.target(ofTenant: tenant, in: RegistryStore(path: registryPath))
    let dossier = SubjectDossier(storePath: storePath, registryPath: registryPath, bookPath: bookPath, cipher: try cipher())
    try dossier.write(target, as: format, into: out)
  }

  private static func choose(_ format: String?, among names: [String]) throws -> String {
    guard let format else { return names[0] }
    guard names.contains(format) else {
      throw ReadProblem("there is no format '\(format)'; choose one of " + names.joined(separator: ", "))
    }
    return format
  }
}

// MARK: - As text

extension GapLedger {
  fileprivate var json: String {
    get throws {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
      return String(decoding: try encoder.encode(self), as: UTF8.self) + "\n"
    }
  }

  fileprivate var text: String {
    var text = live ? "" : "no gateway runs: as of its last checkpoint\n"
    for stream in streams {
      text +=
        "stream \(stream.stream): recorded \(stream.recorded), stored \(stream.stored), missing \(stream.missing), "
        + "settled through \(stream.through)\n"
    }
    for gap in gaps {
      let since = gap.since_ms.map { Date(timeIntervalSince1970: Double($0) / 1_000).ISO8601Format() } ?? "-"
      text += "\(gap.stream)\t\(gap.first)\t\(gap.count)\t\(gap.state)\t\(gap.reason)\t\(since)\n"
    }
    return text
  }
}

extension HeldFix {
  fileprivate var line: String {
    "\(id)\t\(receiveTime)\t\(device)\t\(verdict.map { "\($0)" } ?? "\(record.code)")\t\(fixTime ?? "-")\t"
      + "\(latitude ?? "-")\t\(longitude ?? "-")\n"
  }

  fileprivate var json: String {
    let strings: Set = ["device", "verdict", "received", "time", "work_subject", "task", "stop"]
    let members = fields.map { field in
      strings.contains(field.name) ? "\"\(field.name)\":\(HeldFix.quoted(field.value))" : "\"\(field.name)\":\(field.value)"
    }
    return "{" + members.joined(separator: ",") + "}\n"
  }

  private static func quoted(_ text: String) -> String {
    (try? JSONEncoder().encode(text)).map { String(decoding: $0, as: UTF8.self) } ?? "\"\""
  }
}
