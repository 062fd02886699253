import ArgumentParser
import Foundation
import GateCore
import GateStore
import Gateway

struct SubjectExportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Write all that is held about a subject: fixes, held and refused ones, corrections, devices carried, holds, erasures.",
    discussion: """
      As of one moment, while the gateway runs. What has not reached the store yet is not in it; see 'fixgate status'. A file is \
      there as a whole or not at all.
      """)

  @Argument(help: "The subject's id.")
  var subject: String?

  @Option(help: "geojson or csv.")
  var format = "geojson"

  @Option(name: .customLong("out"), help: "File to write, mode 0600; it must be new. Default: standard output.")
  var path: String?

  @OptionGroup var target: SubjectTarget

  func run() throws {
    let setup = try target.config.load()
    guard let format = SubjectExport.Format(rawValue: format) else {
      throw Complaint("there is no format '\(format)'; choose geojson or csv")
    }
    let range = try target.find(subject, in: setup)
    try setup.note(.exported, tenant: target.tenant, subject: range.subjectIndex, device: range.deviceIndex)
    guard let path else { return try write(range, format, setup) { try FileHandle.standardOutput.write(contentsOf: $0) } }
    try Installation.refuseToOverwrite(path)
    let unfinished = path + ".unfinished"
    try? FileManager.default.removeItem(atPath: unfinished)
    try Installation.write([], to: unfinished, mode: 0o600)
    guard let handle = FileHandle(forWritingAtPath: unfinished) else { throw Complaint("cannot write \(unfinished)") }
    try write(range, format, setup) { try handle.write(contentsOf: $0) }
    try handle.synchronize()
    try handle.close()
    try FileManager.default.moveItem(atPath: unfinished, toPath: path)
  }

  private func write(
    _ range: SubjectRange, _ format: SubjectExport.Format, _ setup: Setup, _ out: @escaping (Data) throws -> Void
  ) throws {
    let registry = try RegistryStore(path: setup.registryPath)
    let carried = try registry.carried(by: range.owner)
    let book = try SubjectBook(path: setup.subjectBookPath)
    let holds = try book.holds(tenant: range.tenant, lifted: true).filter { $0.target.owner == range.owner }
    let erasures = try book.erasures(tenant: range.tenant).filter { $0.target.owner == range.owner }
    var export = SubjectExport(format) { try out(Data($0)) }
    export.begin()
    var problem: (any Error)?
    try SubjectReader(path: setup.storePath, cipher: try setup.cipher(of: range.tenant)).read(
      range, carried: carried.map { ($0.device, ($0.sinceMs ?? .min)...max($0.untilMs ?? .max, $0.sinceMs ?? .min)) }
    ) { datum in
      guard problem == nil else { return }
      do { try export.append(datum) } catch { problem = error }
    }
    if let problem { throw problem }
    for each in carried where !range.owner.isDevice {
      var datum = SubjectDatum("assignment")
      datum.add("device", each.id)
      datum.add("since_ms", each.sinceMs)
      datum.add("until_ms", each.untilMs)
      try export.append(datum)
    }
    for hold in holds {
      var datum = SubjectDatum("hold")
      datum.add("number", hold.number)
      datum.add("reason", hold.reason)
      datum.add("made_ms", hold.placedMs)
      datum.add("until_ms", hold.liftedMs)
      SubjectExportCommand.add(hold.target.times, to: &datum)
      try export.append(datum)
    }
    for erasure in erasures {
      var datum = SubjectDatum("erasure")
      datum.add("number", erasure.number)
      datum.add("made_ms", erasure.askedMs)
      datum.add("until_ms", erasure.doneMs)
      SubjectExportCommand.add(erasure.target.times, to: &datum)
      try export.append(datum)
    }
    try export.end()
  }

  private static func add(_ times: ClosedRange<Int64>, to datum: inout SubjectDatum) {
    if times.lowerBound != .min { datum.add("from_ms", times.lowerBound) }
    if times.upperBound != .max { datum.add("to_ms", times.upperBound) }
  }
}

struct SubjectCorrect: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "correct",
    abstract: "Link a correction to a stored fix. The fix stays as it is; exports show both.")

  @Option(help: "Tenant that the device belongs to.")
  var tenant: String

  @Option(help: "The device's id.")
  var device: String

  @Option(help: "The fix's stream, as history prints it.")
  var stream: UInt32

  @Option(help: "The fix's sequence.")
  var sequence: UInt64

  @Option(help: "Where it was instead: LATITUDE,LONGITUDE in degrees.")
  var position: String?

  @Option(help: "When it was instead: 2026-11-21T04:00:00Z.")
  var time: String?

  @Option(help: "Why. No names.")
  var reason: String

  @OptionGroup var config: ConfigurationOption

  func run() throws {
    let setup = try config.load()
    guard position != nil || time != nil else { throw Complaint("say what is to be corrected: --position, --time, or both") }
    guard (1...Limits.reasonBytesMax).contains(reason.utf8.count) else {
      throw Complaint("--reason must have 1 to \(Limits.reasonBytesMax) bytes")
    }
    let (tenantIndex, owner) = try RegistryStore(path: setup.registryPath).owner(tenant: tenant, subject: nil, device: device)
    let correction = Correction(
      tenant: tenantIndex, device: owner.index, stream: stream, sequence: sequence,
      fixTimeMs: try time.map { try HistoryCommand.milliseconds($0) },
      position: try position.map { try SubjectCorrect.place($0) }, reason: reason)
    try setup.note(.corrected, tenant: tenant, device: owner.index)
    guard let number = try SQLiteSubjectRows(path: setup.storePath).correct(correction, nowMs: Clock.nowMs) else {
      throw Complaint("the store has no fix \(sequence) of stream \(stream) of this device; see 'fixgate history'")
    }
    print("correction \(number) is linked to the fix")
  }

  private static func place(_ text: String) throws -> TrackPoint.Position {
    let parts = text.split(separator: ",").map { Double($0) }
    guard parts.count == 2, let latitude = parts[0], let longitude = parts[1], (-90...90).contains(latitude),
      (-180...180).contains(longitude)
    else { throw Complaint("'\(text)' is no place like 43.2389,76.8897") }
    return TrackPoint.Position(
      latitudeE7: Int64((latitude * 1e7).rounded()), longitudeE7: Int64((longitude * 1e7).rounded()))
  }
}
