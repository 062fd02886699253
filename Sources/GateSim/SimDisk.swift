import GateCore
import GateStore
import Glibc
import Synchronization

/// A disk under a page cache, both of which can fail. Blocks of 4,096 bytes reach it one by one, in any order, some torn at a
/// sector, at a sync or before; names reach it in the order in which they were changed, which is what journalling file systems keep.
///
/// After a failed sync the cache holds what was written and calls it clean, so that a later sync that succeeds proves
/// nothing. A crash in the middle of a call leaves a part of it done; from then on every call fails until `restart`.
final class SimDisk: Sendable {
  /// Chances in 1,024.
  struct Rates {
    var sync: UInt64 = 0
    var write: UInt64 = 0
    var short: UInt64 = 0
    var names: UInt64 = 0
  }

  static let blockBytes = 4_096
  static let sectorBytes = 512
  private static let zeros = [UInt8](repeating: 0, count: blockBytes)

  /// One file, whatever its name.
  fileprivate struct Node {
    var blocks: [[UInt8]] = []
    var bytes = 0
    /// As of the disk.
    var durableBlocks: [[UInt8]] = []
    var durableBytes = 0
    /// Blocks that differ and will be written by a sync.
    var dirty: Set<Int> = []
  }

  fileprivate enum NameChange {
    case put(String, node: Int)
    case rename(String, String)
    case remove(String)
  }

  fileprivate struct Folder {
    var names: [String: Int] = [:]
    var durable: [String: Int] = [:]
    var changes: [NameChange] = []
  }

  fileprivate struct State {
    var random: SeededRandom
    var rates = Rates()
    var isFull = false
    var isBroken = false
    var nodes: [Node] = []
    var folders: [Folder] = []
    /// Node by handle - 1.
    var handles: [Int] = []
    var calls: UInt64 = 0
    var crashAtCall: UInt64?
    var failedWrites = 0
    var isDown = false
  }

  fileprivate let state: Mutex<State>

  init(seed: UInt64) { state = Mutex(State(random: SeededRandom(seed: seed))) }

  func makeFolder() -> SimFolder {
    let index = state.withLock {
      $0.folders.append(Folder())
      return $0.folders.count - 1
    }
    return SimFolder(self, index)
  }

  var rates: Rates {
    get { state.withLock { $0.rates } }
    set { state.withLock { $0.rates = newValue } }
  }

  func set(full: Bool? = nil, broken: Bool? = nil) {
    state.withLock {
      if let full { $0.isFull = full }
      if let broken { $0.isBroken = broken }
    }
  }

  /// Crashes in the middle of a call that changes something, the `count`th from now.
  func crash(inCalls count: UInt64) { state.withLock { $0.crashAtCall = $0.calls + count } }
  var isDown: Bool { state.withLock { $0.isDown } }
  /// Writes that failed, those not counted that a crash cut off.
  var failedWrites: Int { state.withLock { $0.failedWrites } }
  /// The process has died.
  func stop() { state.withLock { $0.isDown = true } }

  /// A new process.
  /// - Parameter powerCut: what was not synced reached the disk or did not.
  func restart(powerCut: Bool) {
    state.withLock { state in
      if powerCut { state.loseUnsynced() }
      state.handles = []
      state.isDown = false
      state.crashAtCall = nil
    }
  }

  /// Bytes of all files that have a name.
  var bytes: Int {
    state.withLock { state in
      state.folders.reduce(0) { sum, folder in folder.names.values.reduce(sum) { $0 + state.nodes[$1].bytes } }
    }
  }
}

extension SimDisk.State {
  fileprivate mutating func chance(_ rate: UInt64) -> Bool { rate > 0 && random.next() % 1_024 < rate }

  /// A call that changes nothing.
  fileprivate func look() throws(DiskErrno) {
    if isDown { throw DiskErrno(EIO) }
  }

  /// Counts a call that changes something.
  /// - Returns: whether the crash comes in it.
  fileprivate mutating func begin() throws(DiskErrno) -> Bool {
    try look()
    calls += 1
    guard calls == crashAtCall else { return false }
    isDown = true
    return true
  }

  fileprivate func node(_ handle: Int32) -> Int {
    let i = Int(handle) - 1
    precondition(i >= 0 && i < handles.count && handles[i] >= 0, "a handle that is not open")
    return handles[i]
  }

  fileprivate mutating func put(_ bytes: ArraySlice<UInt8>, _ node: Int, at offset: Int) {
    let size = SimDisk.blockBytes
    let end = offset + bytes.count
    while nodes[node].blocks.count * size < end { nodes[node].blocks.append(SimDisk.zeros) }
    var at = offset
    while at < end {
      let block = at / size
      let from = at % size
      let to = min(size, from + end - at)
      let piece = bytes[bytes.startIndex + at - offset..<bytes.startIndex + at - offset + to - from]
      if from == 0, to == size {
        nodes[node].blocks[block] = Array(piece)
      } else {
        let old = nodes[node].blocks[block]
        nodes[node].blocks[block] = Array(old[..<from]) + Array(piece) + Array(old[to...])
      }
      nodes[node].dirty.insert(block)
      at += to - from
    }
    nodes[node].bytes = max(nodes[node].bytes, end)
  }

  /// Moves one block to the disk.
  fileprivate mutating func flush(_ block: Int, of node: Int) {
    while nodes[node].durableBlocks.count <= block { nodes[node].durableBlocks.append(SimDisk.zeros) }
    nodes[node].durableBlocks[block] = nodes[node].blocks[block]
  }

  fileprivate mutating func flushSome(of node: Int) {
    // In a fixed order, or the seed would not decide.
    for block in nodes[node].dirty.sorted() {
      switch random.next() % 4 {
      case 0: break
      case 1:
        // Torn inside the block, at a sector.
        let old = block < nodes[node].durableBlocks.count ? nodes[node].durableBlocks[block] : SimDisk.zeros
        let at = SimDisk.sectorBytes * Int.random(in: 1...7, using: &random)
        flush(block, of: node)
        nodes[node].durableBlocks[block] = Array(nodes[node].blocks[block][..<at]) + Array(old[at...])
      default: flush(block, of: node)
      }
    }
    if Bool.random(using: &random) { nodes[node].durableBytes = nodes[node].bytes }
  }

  fileprivate mutating func loseUnsynced() {
    for i in folders.indices {
      let kept = folders[i].changes.isEmpty ? 0 : Int.random(in: 0...folders[i].changes.count, using: &random)
      for change in folders[i].changes[..<kept] { SimDisk.apply(change, to: &folders[i].durable) }
      folders[i].names = folders[i].durable
      folders[i].changes = []
    }
    for i in nodes.indices {
      flushSome(of: i)
      let size = SimDisk.blockBytes
      while nodes[i].durableBlocks.count * size < nodes[i].durableBytes { nodes[i].durableBlocks.append(SimDisk.zeros) }
      nodes[i].blocks = nodes[i].durableBlocks
      nodes[i].bytes = nodes[i].durableBytes
      nodes[i].dirty = []
    }
  }
}

extension SimDisk {
  fileprivate static func apply(_ change: NameChange, to names: inout [String: Int]) {
    switch change {
    case .put(let name, let node): names[name] = node
    case .rename(let from, let to): names[to] = names.removeValue(forKey: from)
    case .remove(let name): names[name] = nil
    }
  }
}

/// One directory of a `SimDisk`.
final class SimFolder: DiskModel {
  private let disk: SimDisk
  private let index: Int

  fileprivate init(_ disk: SimDisk, _ index: Int) {
    self.disk = disk
    self.index = index
  }

  private func locked<T>(_ body: (inout SimDisk.State) throws(DiskErrno) -> sending T) throws(DiskErrno) -> sending T {
    try disk.state.withLock { (state) throws(DiskErrno) -> sending T in try body(&state) }
  }

  func open(_ name: String, flags: Int32) throws(DiskErrno) -> Int32 {
    try locked { (state) throws(DiskErrno) in
      try state.look()
      let exists = state.folders[index].names[name] != nil
      guard exists || flags & O_CREAT != 0 else { throw DiskErrno(ENOENT) }
      let crashes = flags & (O_CREAT | O_TRUNC) != 0 ? try state.begin() : false
      if !exists {
        if state.isBroken { throw DiskErrno(EIO) }
        if state.isFull { throw DiskErrno(ENOSPC) }
        state.nodes.append(SimDisk.Node())
        change(&state, .put(name, node: state.nodes.count - 1))
      } else if flags & O_TRUNC != 0 {
        // A new node: the old content may come back with the old name.
        state.nodes.append(SimDisk.Node())
        change(&state, .put(name, node: state.nodes.count - 1))
      }
      if crashes { throw DiskErrno(EIO) }
      state.handles.append(state.folders[index].names[name] ?? -1)
      return Int32(state.handles.count)
    }
  }

  func close(_ handle: Int32) {
    disk.state.withLock { state in
      // A handle of a process that has died is gone already.
      if Int(handle) <= state.handles.count { state.handles[Int(handle) - 1] = -1 }
    }
  }

  func size(_ handle: Int32) throws(DiskErrno) -> Int {
    try locked { (state) throws(DiskErrno) in
      try state.look()
      return state.nodes[state.node(handle)].bytes
    }
  }

  func read(_ handle: Int32, _ count: Int, at offset: Int) throws(DiskErrno) -> [UInt8] {
    try locked { (state) throws(DiskErrno) in
      try state.look()
      let node = state.node(handle)
      let size = SimDisk.blockBytes
      let end = min(offset + count, state.nodes[node].bytes)
      var bytes: [UInt8] = []
      var at = offset
      while at < end {
        let from = at % size
        let to = min(size, from + end - at)
        let block = state.nodes[node].blocks[at / size]
        if from == 0, to == size { bytes += block } else { bytes += block[from..<to] }
        at += to - from
      }
      return bytes
    }
  }

  func write(_ handle: Int32, _ bytes: [UInt8], at offset: Int) throws(DiskErrno) -> Int {
    try locked { (state) throws(DiskErrno) in
      let crashes = try state.begin()
      let node = state.node(handle)
      if crashes {
        let size = SimDisk.blockBytes
        var at = 0
        while at < bytes.count {
          let end = min(bytes.count, at + size - (offset + at) % size)
          if Bool.random(using: &state.random) { state.put(bytes[at..<end], node, at: offset + at) }
          at = end
        }
        throw DiskErrno(EIO)
      }
      var count = bytes.count
      if state.isBroken || state.chance(state.rates.write) {
        // A part of it may be there all the same.
        count = Int.random(in: 0...bytes.count, using: &state.random)
        state.put(bytes[..<count], node, at: offset)
        state.failedWrites += 1
        throw DiskErrno(EIO)
      }
      if state.isFull, offset + count > state.nodes[node].bytes {
        count = max(0, state.nodes[node].bytes - offset)
        if count == 0 {
          state.failedWrites += 1
          throw DiskErrno(ENOSPC)
        }
      }
      if count > 1, state.chance(state.rates.short) {
        let short = Int.random(in: 1..<count, using: &state.random)
        // What lies in one sector is taken whole: a page is copied under its lock, and no signal comes between.
        if offset / SimDisk.sectorBytes != (offset + count - 1) / SimDisk.sectorBytes { count = short }
      }
      state.put(bytes[..<count], node, at: offset)
      return count
    }
  }

  func sync(_ handle: Int32) throws(DiskErrno) {
    try locked { (state) throws(DiskErrno) in
      let crashes = try state.begin()
      let node = state.node(handle)
      if crashes || state.isBroken || state.chance(state.rates.sync) {
        state.flushSome(of: node)
        if !crashes { state.nodes[node].dirty = [] }
        throw DiskErrno(EIO)
      }
      for block in state.nodes[node].dirty { state.flush(block, of: node) }
      state.nodes[node].dirty = []
      state.nodes[node].durableBytes = state.nodes[node].bytes
    }
  }

  func names() throws(DiskErrno) -> [String] {
    try locked { (state) throws(DiskErrno) in
      try state.look()
      return state.folders[index].names.keys.sorted()
    }
  }

  func contains(_ name: String) -> Bool {
    disk.state.withLock { !$0.isDown && $0.folders[index].names[name] != nil }
  }

  func rename(_ from: String, to: String) throws(DiskErrno) {
    try locked { (state) throws(DiskErrno) in
      let crashes = try state.begin()
      if state.isBroken || (!crashes && state.chance(state.rates.names)) { throw DiskErrno(EIO) }
      guard state.folders[index].names[from] != nil else { throw DiskErrno(ENOENT) }
      if !crashes || Bool.random(using: &state.random) { change(&state, .rename(from, to)) }
      if crashes { throw DiskErrno(EIO) }
    }
  }

  func remove(_ name: String) throws(DiskErrno) {
    try locked { (state) throws(DiskErrno) in
      let crashes = try state.begin()
      if state.isBroken || (!crashes && state.chance(state.rates.names)) { throw DiskErrno(EIO) }
      guard state.folders[index].names[name] != nil else { throw DiskErrno(ENOENT) }
      if !crashes || Bool.random(using: &state.random) { change(&state, .remove(name)) }
      if crashes { throw DiskErrno(EIO) }
    }
  }

  func syncNames() throws(DiskErrno) {
    try locked { (state) throws(DiskErrno) in
      let crashes = try state.begin()
      if crashes || state.isBroken || state.chance(state.rates.names) { throw DiskErrno(EIO) }
      state.folders[index].durable = state.folders[index].names
      state.folders[index].changes = []
    }
  }

  /// The file's content as a process would read it; `nil` = there is none.
  func content(_ name: String) -> [UInt8]? {
    disk.state.withLock { state in
      guard let node = state.folders[index].names[name] else { return nil }
      return Array(state.nodes[node].blocks.joined().prefix(state.nodes[node].bytes))
    }
  }

  /// An operator's hand: the file is replaced, or taken away, and that is durable. No process runs.
  func put(_ name: String, _ bytes: [UInt8]?) {
    disk.state.withLock { state in
      state.folders[index].names[name] = nil
      if let bytes {
        state.nodes.append(SimDisk.Node())
        let node = state.nodes.count - 1
        state.put(bytes[...], node, at: 0)
        for block in state.nodes[node].dirty { state.flush(block, of: node) }
        state.nodes[node].dirty = []
        state.nodes[node].durableBytes = bytes.count
        state.folders[index].names[name] = node
      }
      state.folders[index].durable = state.folders[index].names
      state.folders[index].changes = []
    }
  }

  private func change(_ state: inout SimDisk.State, _ change: SimDisk.NameChange) {
    SimDisk.apply(change, to: &state.folders[index].names)
    state.folders[index].changes.append(change)
  }
}
