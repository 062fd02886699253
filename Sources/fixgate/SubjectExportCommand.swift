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
      there as a whole or not at all: what a killed run leaves is called FILE.unfinished, and goes with the next one.
      """)

  @Argument(help: "The subject's id.")
  var subject: String?

  @Option(help: "geojson or csv.")
  var format = "geojson"

  @Option(name: .customLong("out"), help: "File to write, mode 0600; it must be new. Default: standard output.")
  var path: String?

  @OptionGroup var target: SubjectTarget

  @OptionGroup var reading: ReadOptions

  func run() throws {
    var query = try target.query(.export, subject)
    query.format = format
    guard let path else {
      try reading.read(query, tenant: target.tenant)
      return
    }
    try Installation.refuseToOverwrite(path)
    let unfinished = path + ".unfinished"
    // Of a run that was killed.
    try? FileManager.default.removeItem(atPath: unfinished)
    do {
      try Installation.write([], to: unfinished, mode: 0o600)
      guard let handle = FileHandle(forWritingAtPath: unfinished) else { throw Complaint("cannot write \(unfinished)") }
      try reading.read(query, tenant: target.tenant) { try handle.write(contentsOf: Data($0)) }
      try handle.synchronize()
      try handle.close()
      try FileManager.default.moveItem(atPath: unfinished, toPath: path)
    } catch {
      try? FileManager.default.removeItem(atPath: unfinished)
      throw error
    }
    try Directory(URL(fileURLWithPath: path).deletingLastPathComponent().path).sync()
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
