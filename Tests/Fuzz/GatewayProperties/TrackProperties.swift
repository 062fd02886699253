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
