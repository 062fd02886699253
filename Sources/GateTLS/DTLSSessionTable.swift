import GateCore
import Glibc

/// One session of an endpoint.
struct LiveSession: ~Copyable {
  /// `fileSlot` of a session that is not kept on disk.
  static let noSlot = UInt32.max

  var session: DTLSSession
  /// The connection ID, also if the device knows none.
  let id: UInt64
  /// `nil` = it has not sent yet since the start.
  var address: PeerAddress?
  let usesConnectionID: Bool
  /// Whether the slot holds the sealed keys already.
  var isSealed = false
  /// Whether the slot waits to be written.
  var isDirty = false
  /// When its handshake was done, or its last authentic record came: seconds since 1970.
  var heardS: UInt32
  /// `heardS` as the slot has it.
  var storedS: UInt32 = 0
  /// Its slot in the session file.
  let fileSlot: UInt32
  /// Bytes that may still be sent to a new address; `nil` once a second record has come from there.
  var unprovenCredit: Int32? = nil
  /// A record has come that the slot does not know of.
  var isHeardSince = false

  init(_ session: consuming DTLSSession, id: UInt64, address: PeerAddress?, heardS: UInt32, fileSlot: UInt32) {
    usesConnectionID = !session.readConnectionID.isEmpty
    self.session = session
    self.id = id
    self.address = address
    self.heardS = heardS
    self.fileSlot = fileSlot
  }
}

/// The sessions of one endpoint. They lie in one block, each at its place until it is removed, and are found by their number
/// through an index of open addressing. The block is address space until a session lies there: a million take what they need.
///
/// Invariant: an entry of `index` is 0 or a place + 1; between a session's entry and where its number hashes to none is 0.
/// Numbers have 48 random bits of our own choosing, so chains stay short whatever a peer asks for.
@safe struct DTLSSessionTable: ~Copyable {
  let capacity: Int
  private(set) var count = 0
  private let places: UnsafeMutablePointer<LiveSession>
  private let index: UnsafeMutablePointer<UInt32>
  private let mask: Int
  /// Places from here on were never used.
  private var fresh = 0
  private var vacant: [UInt32] = []

  init(capacity: Int) {
    precondition(capacity > 0 && capacity < Int(UInt32.max))
    self.capacity = capacity
    var entries = 16
    while entries < capacity + capacity / 3 { entries *= 2 }
    mask = entries - 1
    // Zeroed by the kernel page by page, as they are touched.
    guard let block = unsafe calloc(capacity, MemoryLayout<LiveSession>.stride),
      let table = unsafe calloc(entries, MemoryLayout<UInt32>.stride)
    else { preconditionFailure("no memory for the session table") }
    unsafe places = block.assumingMemoryBound(to: LiveSession.self)
    unsafe index = table.assumingMemoryBound(to: UInt32.self)
  }

  deinit {
    for entry in 0...mask {
      guard case let place = unsafe index[entry], place > 0 else { continue }
      unsafe (places + Int(place - 1)).deinitialize(count: 1)
    }
    unsafe free(places)
    unsafe free(index)
  }

  /// Where the session with this number lies.
  func place(of id: UInt64) -> Int? {
    let entry = entry(of: id)
    let place = unsafe index[entry]
    return place == 0 ? nil : Int(place - 1)
  }

  /// The session at a place that `place(of:)` or `insert` gave.
  subscript(place: Int) -> LiveSession {
    unsafeAddress { unsafe UnsafePointer(places + place) }
    unsafeMutableAddress { unsafe places + place }
  }

  /// - Returns: its place; `nil` if the table is full or has the number.
  mutating func insert(_ session: consuming LiveSession) -> Int? {
    let entry = entry(of: session.id)
    guard count < capacity, unsafe index[entry] == 0 else { return nil }
    let place: Int
    if let free = vacant.popLast() {
      place = Int(free)
    } else {
      place = fresh
      fresh += 1
    }
    unsafe (places + place).initialize(to: session)
    unsafe index[entry] = UInt32(place + 1)
    count += 1
    return place
  }

  /// Wipes the session's keys.
  mutating func remove(at place: Int) {
    var hole = entry(of: self[place].id)
    precondition(unsafe index[hole] == UInt32(place + 1))
    // Whatever stands behind the hole and may stand in it moves up, so that no chain is cut.
    var next = (hole + 1) & mask
    while case let other = unsafe index[next], other > 0 {
      let home = Int(truncatingIfNeeded: self[Int(other - 1)].id) & mask
      if (next - home) & mask >= (next - hole) & mask {
        unsafe index[hole] = other
        hole = next
      }
      next = (next + 1) & mask
    }
    unsafe index[hole] = 0
    unsafe (places + place).deinitialize(count: 1)
    vacant.append(UInt32(place))
    count -= 1
  }

  /// Every place that has a session.
  func forEach(_ body: (Int) -> Void) {
    for entry in 0...mask {
      guard case let place = unsafe index[entry], place > 0 else { continue }
      body(Int(place - 1))
    }
  }

  /// The entry that holds the session, or the empty one where it would stand.
  private func entry(of id: UInt64) -> Int {
    var entry = Int(truncatingIfNeeded: id) & mask
    while case let place = unsafe index[entry], place > 0, unsafe places[Int(place - 1)].id != id {
      entry = (entry + 1) & mask
    }
    return entry
  }
}
