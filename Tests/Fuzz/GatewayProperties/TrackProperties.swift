import GateCore
import GateTrack

/// What must hold for any track file: how its bytes arrive does not matter, and a fix that was read can be stored.
package enum TrackProperties {
  package static func check(_ bytes: [UInt8]) {
    for skipBad in [false, true] {
      let whole = read([bytes[...]], skipBad)
      let cut = bytes.count / 3
      precondition(describe(whole) == describe(read([bytes[..<cut], bytes[cut...]], skipBad)))
      precondition(describe(whole) == describe(read(bytes.indices.map { bytes[$0...$0] }, skipBad)))
      gpx(bytes, skipBad)
    }
  }

  /// The parser is the system's: how its bytes come matters only to where it sees an error.
  private static func gpx(_ bytes: [UInt8], _ skipBad: Bool) {
    let whole = gpx(bytes, skipBad, chunk: max(bytes.count, 1))
    let cut = gpx(bytes, skipBad, chunk: max(bytes.count / 3, 1))
    switch (whole, cut) {
    case (.success(let a), .success(let b)):
      precondition(a.fixes.count == b.fixes.count && a.rows == b.rows && a.skippedCount == b.skippedCount)
      precondition(a.rows == a.fixes.count + a.skippedCount)
    case (.failure, .failure): break
    default: preconditionFailure("it depends on how the bytes come")
    }
  }

  private static func gpx(_ bytes: [UInt8], _ skipBad: Bool, chunk: Int) -> Result<Track, TrackError> {
    var at = 0
    do throws(TrackError) {
      return .success(
        try GPXReader.read(skipBad: skipBad) { (buffer: inout [UInt8]) throws(TrackError) in
          let count = min(chunk, buffer.count, bytes.count - at)
          buffer.replaceSubrange(0..<count, with: bytes[at..<at + count])
          at += count
          return count
        })
    } catch {
      return .failure(error)
    }
  }

  private static func read(_ parts: [ArraySlice<UInt8>], _ skipBad: Bool) -> Result<Track, TrackError> {
    var reader = TrackReader(skipBad: skipBad)
    do throws(TrackError) {
      for part in parts { try reader.feed(part) }
      return .success(try reader.finish())
    } catch {
      return .failure(error)
    }
  }

  private static func describe(_ result: Result<Track, TrackError>) -> String {
    switch result {
    case .success(let track): "\(track.fixes.count) \(track.unselected)"
    case .failure(let error): "\(error)"
    }
  }
}
