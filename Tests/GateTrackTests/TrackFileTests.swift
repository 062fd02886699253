import GateCore
import GateTrack
import Glibc
import Testing

/// `printf 'lat,lon,time\n1,2,0\n3,4,1\n' | gzip -n9`
private let archiveBytes: [UInt8] = [
  0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xcb, 0x49, 0x2c, 0xd1, 0xc9, 0xc9,
  0xcf, 0xd3, 0x29, 0xc9, 0xcc, 0x4d, 0xe5, 0x32, 0xd4, 0x31, 0xd2, 0x31, 0xe0, 0x32, 0xd6, 0x31,
  0xd1, 0x31, 0xe4, 0x02, 0x00, 0xb8, 0xc5, 0x74, 0x05, 0x19, 0x00, 0x00, 0x00,
]

private func withFile(_ bytes: [UInt8], _ body: (String) throws -> Void) throws {
  let path = "/tmp/fixgate-track-\(getpid())-\(UInt64.random(in: 0 ... .max))"
  let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL, 0o600)
  #expect(descriptor >= 0)
  #expect(unsafe write(descriptor, bytes, bytes.count) == bytes.count)
  close(descriptor)
  defer { _ = unsafe unlink(path) }
  try body(path)
}

@Suite struct TrackFileTests {
  static let plain = Array("lat,lon,time\n1,2,0\n3,4,1\n".utf8)

  @Test(arguments: [plain, archiveBytes])
  func readsPlainAndGzip(bytes: [UInt8]) throws {
    try withFile(bytes) { path in
      let track = try Track.read(path: path)
      #expect(track.fixes.map(\.latitudeE7) == [10_000_000, 30_000_000])
    }
  }

  /// What it is shows in its first byte, not in its name.
  @Test(arguments: ["", "\u{feff}", "\n "])
  func findsGPX(before: String) throws {
    let text = before + "<gpx><trk><trkseg><trkpt lat='1' lon='2'><time>2020-01-01T00:00:00Z</time></trkpt></trkseg></trk></gpx>"
    try withFile(Array(text.utf8)) { path in
      let track = try Track.read(path: path)
      #expect(track.fixes.map(\.latitudeE7) == [10_000_000])
      #expect(throws: TrackError.selectionOfGPX) { try Track.read(path: path, selection: TrackSelection("uid=1")) }
    }
  }

  @Test func truncatedArchiveIsAnError() throws {
    for cut in 11..<archiveBytes.count {
      try withFile(Array(archiveBytes.prefix(cut))) { path in
        #expect(throws: TrackError.self) { try Track.read(path: path) }
      }
    }
  }

  @Test func unreadableFiles() {
    #expect(throws: TrackError.cannotOpen(errno: ENOENT)) { try Track.read(path: "/nonexistent/track.csv") }
    #expect(throws: TrackError.cannotOpen(errno: EISDIR)) { try Track.read(path: "/") }
  }
}
