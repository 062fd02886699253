import Foundation
import GateTrack
import Testing

/// What `send` reads.
@Suite struct TrackInputTests {
  /// A ride that was stored, written as GPX, sent by another device, and stored again is the same ride.
  @Test func whatHistoryWritesSendReads() throws {
    let gateway = try GatewayProcess()
    try gateway.start()
    let csv = gateway.folder + "/rides.csv"
    try TrackFileText.write(to: csv, fixesEach: 200, seed: 3)
    let first = try gateway.send(csv, bundle: gateway.addDevice("bike-1"), select: "uid=001").wait(seconds: 60)
    #expect(first?.status == 0, "\(first?.errors ?? "")")
    try gateway.drained()
    let gpx = try gateway.run(["history", "--tenant", "demo", "--device", "bike-1", "--format", "gpx"]).output
    let path = gateway.folder + "/ride.gpx"
    try Data(gpx.utf8).write(to: URL(fileURLWithPath: path))
    #expect(try Child("/usr/bin/env", ["gzip", path]).wait(seconds: 60)?.status == 0)
    let second = try gateway.send(path + ".gz", bundle: gateway.addDevice("bike-2")).wait(seconds: 60)
    #expect(second?.output.hasPrefix("200 of 200 fixes acked") == true, "\(second?.errors ?? "")")
    try gateway.drained()
    let rows = try gateway.rows(of: "bike-1")
    #expect(rows.count == 200)
    #expect(try gateway.rows(of: "bike-2") == rows)
    let selected = try gateway.send(path + ".gz", bundle: gateway.folder + "/bike-2.bundle", select: "uid=1").wait(seconds: 60)
    #expect(selected?.status == 1 && selected?.errors.contains("--select is for CSV") == true)
  }
}
