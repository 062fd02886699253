import GateCore
import GateMemory

/// What each device has been told to do, and what it has confirmed: one word a device, shared by the workers.
///
/// Nothing of it is stored. The version of the settings carries what they say: it grows with the clock, and its lowest bit is
/// `stop`. So what a device has in force is known again as soon as it names its version in a hello.
package final class Steering: Sendable {
  /// Low half: version confirmed. High half: version told last. 0 = none.
  private let words: AtomicWords

  /// An order that is not confirmed is given again after so long.
  private static let patienceS: UInt32 = 10
  /// 2020-01-01 in seconds since 1970: 31 bits of seconds last until 2088.
  private static let epochS: Int64 = 1_577_836_800

  /// - Parameter devices: highest index.
  package init(devices: Int) { words = AtomicWords(count: devices + 1) }

  /// What a version says.
  package static func saysStop(_ version: UInt32) -> Bool { version & 1 == 1 }

  /// A hello names the version that is in force on the device; what it was told before may not have reached it.
  package func greet(_ device: UInt32, version: UInt32) {
    change(device) { $0 = State(UInt64(version)) }
  }

  /// The device has applied the settings of that version.
  package func confirm(_ device: UInt32, version: UInt32) {
    change(device) { $0.confirmed = version }
  }

  /// - Returns: the version to tell the device now; `nil` = it has been told, and may have confirmed.
  package func order(_ device: UInt32, stop: Bool, wallMs: Int64) -> UInt32? {
    guard Int(device) < words.count else { return nil }
    let state = State(words.load(Int(device)))
    if state.confirmed >= state.told, Steering.saysStop(state.confirmed) == stop { return nil }
    let nowS = UInt32(clamping: (wallMs / 1_000 - Steering.epochS))
    if state.told > 0, Steering.saysStop(state.told) == stop, nowS &- state.told / 2 < Steering.patienceS { return nil }
    let bit: UInt32 = stop ? 1 : 0
    let version = max(nowS, max(state.told, state.confirmed) / 2 &+ 1) << 1 | bit
    change(device) { $0.told = version }
    return version
  }

  package struct State: Equatable, Sendable {
    package fileprivate(set) var confirmed: UInt32
    package fileprivate(set) var told: UInt32

    fileprivate init(_ word: UInt64) {
      confirmed = UInt32(truncatingIfNeeded: word)
      told = UInt32(word >> 32)
    }
    fileprivate var word: UInt64 { UInt64(told) << 32 | UInt64(confirmed) }
  }

  package func state(of device: UInt32) -> State { State(Int(device) < words.count ? words.load(Int(device)) : 0) }

  private func change(_ device: UInt32, _ body: (inout State) -> Void) {
    guard Int(device) < words.count else { return }
    var word = words.load(Int(device))
    while true {
      var state = State(word)
      body(&state)
      guard let other = words.exchange(Int(device), expected: word, new: state.word) else { return }
      word = other
    }
  }
}
