package import GateCore
import Glibc
import Synchronization

/// Why the session file cannot be used.
package enum SessionFileError: Error, Equatable, Sendable {
  case disk(JournalError)
  /// Another run than the last one left it, by its counter of starts: a copy from earlier. Going on from it could use record
  /// numbers twice.
  case stale(file: UInt64, directory: UInt64)
  case damaged
  /// Written by another version of fixgate.
  case version(UInt32)
  /// The file `starts` holds no number.
  case noCounter
}

extension SessionFileError: CustomStringConvertible {
  package var description: String {
    let name = SessionFile.name
    switch self {
    case .disk(let error): return "\(name): \(error)"
    case .stale(let file, let directory):
      return "\(name) is an earlier copy: it was left by start \(file) of this data directory, the last one was \(directory). "
        + "Its sessions must not be gone on from. Remove it; the devices that use DTLS make a new handshake each"
    case .damaged: return "\(name) is no session file, or damaged. Remove it; the devices that use DTLS make a new handshake each"
    case .version(let version):
      return "\(name) has version \(version), which this fixgate does not know. Run the version that wrote it, or remove the "
        + "file; the devices that use DTLS then make a new handshake each"
    case .noCounter:
      return "\(SessionFile.startsName) must hold the number of starts. Remove it together with \(name); the devices that use "
        + "DTLS make a new handshake each"
    }
  }
}

/// The DTLS sessions on disk: a header and slots of 256 bytes, see `SessionSlot`. Each slot is one worker's, which writes it in
/// place; another thread syncs all of them together.
///
/// The start counter stands in the header and in the file `starts` beside it, and each start moves both, the header first. So
/// the header is level with `starts`, or one ahead after a crash between the two; one that lags behind is an old copy.
package final class SessionFile: Sendable {
  package static let name = "sessions"
  package static let startsName = "starts"
  private static let chunkSlots = 4_096

  /// Of this run, see `WriteReservation`; durable.
  package let base: UInt64
  private let file: DiskFile
  /// Writes begun and ended, and how many of them are durable.
  private let written = Atomic<UInt64>(0)
  private let durable = Atomic<UInt64>(0)

  /// Opens or creates the file, and begins a run: on return the counters and all that the file holds are durable.
  /// - Parameter nowS: seconds since 1970-01-01 UTC.
  package static func open(
    in directory: borrowing Directory, nowS: UInt64, reservation: WriteReservation = .standard
  ) throws(SessionFileError) -> SessionFile {
    let found = try find(in: directory)
    do throws(JournalError) {
      return try begin(found, in: directory, reservation.base(after: found.header?.base ?? 0, nowS: nowS))
    } catch { throw .disk(error) }
  }

  /// Whether `open` would take what is there. Changes nothing.
  package static func check(in directory: borrowing Directory) throws(SessionFileError) {
    _ = try find(in: directory)
  }

  private struct Found {
    /// The number in `starts`.
    let last: UInt64
    /// `nil` = there is no file yet.
    let header: SessionFileHeader?
  }

  private static func find(in directory: borrowing Directory) throws(SessionFileError) -> Found {
    let starts: [UInt8]?
    let isThere = directory.contains(name)
    var bytes = [UInt8](repeating: 0, count: SessionSlot.bytes)
    do throws(JournalError) {
      starts = try DurableFile.read(startsName, in: directory, bytesMax: 64)
      if isThere { _ = try DiskFile(name, in: directory, flags: O_RDONLY).read(into: &bytes, 0..<bytes.count, at: 0) }
    } catch { throw .disk(error) }
    let text = String(decoding: starts ?? [UInt8(ascii: "0")], as: UTF8.self)
    guard let last = UInt64(text.filter { $0 != "\n" }) else { throw .noCounter }
    guard isThere else { return Found(last: last, header: nil) }
    switch SessionFileHeader.read(bytes.span) {
    case .damaged: throw .damaged
    case .version(let version): throw .version(version)
    case .valid(let header):
      guard header.start == last || header.start == last + 1 else { throw .stale(file: header.start, directory: last) }
      return Found(last: last, header: header)
    }
  }

  private static func begin(_ found: Found, in directory: borrowing Directory, _ base: UInt64) throws(JournalError) -> SessionFile {
    let header = found.header ?? SessionFileHeader(start: found.last, base: 0)
    if found.header == nil { try DurableFile.replace(name, in: directory, with: bytes(of: header).span) }
    if header.start > found.last { try writeStarts(header.start, in: directory) }
    let next = SessionFileHeader(start: header.start + 1, base: base)
    let file = try SessionFile(in: directory, next)
    try writeStarts(next.start, in: directory)
    return file
  }

  /// Makes the header durable, and with it every slot as it will be read. Each is written once more: after kill -9 some may be
  /// in the page cache only, and if a sync failed before that, the cache calls them clean.
  private init(in directory: borrowing Directory, _ header: SessionFileHeader) throws(JournalError) {
    base = header.base
    let file = try DiskFile(SessionFile.name, in: directory, flags: O_RDWR)
    var slots = [UInt8](repeating: 0, count: min(try file.size(), SessionFile.chunkSlots * SessionSlot.bytes))
    var at = 0
    while case let count = try file.read(into: &slots, 0..<slots.count, at: at), count > 0 {
      try file.write(slots.span.extracting(first: count), Span(), padding: 0, at: at)
      at += count
    }
    try file.write(SessionFile.bytes(of: header).span, Span(), padding: 0, at: 0)
    try file.sync()
    self.file = file
  }

  private static func bytes(of header: SessionFileHeader) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: SessionSlot.bytes)
    var span = bytes.mutableSpan
    header.write(into: &span)
    return bytes
  }

  private static func writeStarts(_ start: UInt64, in directory: borrowing Directory) throws(JournalError) {
    try DurableFile.replace(startsName, in: directory, with: Array("\(start)\n".utf8).span)
  }

  // MARK: Reading

  /// One worker's slots. Ascending, and the lowest free one last.
  package struct Share: Equatable, Sendable {
    package var taken: [UInt32] = []
    package var free: [UInt32] = []
  }

  /// Deals out the slots: those that hold a session to the worker that owns it, free ones to all in turn. Before any worker
  /// writes.
  /// - Parameters:
  ///   - slotsMax: how many sessions there may be. Sessions that are there already stay, even if they are more.
  ///   - owner: the worker of a session, by its virtual shard; `nil` = nobody's, its slot is given to somebody else.
  /// - Returns: the shares, and how many slots were damaged; they count as free.
  package func deal(
    to workers: Int, slotsMax: Int, owner: (UInt8) -> Int?
  ) throws(SessionFileError) -> (shares: [Share], damaged: Int) {
    precondition(workers > 0 && slotsMax > 0 && slotsMax < Int(UInt32.max))
    var shares = [Share](repeating: Share(), count: workers)
    var damaged = 0
    var free: [UInt32] = []
    let count = try slotCount()
    var number: UInt32 = 0
    try read(0..<count) { slot in
      var isTaken = false
      switch SessionSlot.read(slot) {
      case .free: break
      case .damaged: damaged += 1
      case .session(let session):
        if let worker = owner(session.shard) {
          shares[worker].taken.append(number)
          isTaken = true
        }
      }
      if !isTaken, number < slotsMax { free.append(number) }
      number += 1
    }
    if count < slotsMax { free += UInt32(count)..<UInt32(slotsMax) }
    for (i, slot) in free.reversed().enumerated() { shares[(free.count - 1 - i) % workers].free.append(slot) }
    return (shares, damaged)
  }

  /// Hands out whole slots in the order in which they are named, which is ascending.
  package func forEach(_ slots: [UInt32], _ body: (UInt32, Span<UInt8>) -> Void) throws(SessionFileError) {
    var at = 0
    while at < slots.count {
      let first = Int(slots[at])
      let count = min(SessionFile.chunkSlots, Int(slots[slots.count - 1]) - first + 1)
      var number = first
      try read(first..<first + count) { bytes in
        if at < slots.count, Int(slots[at]) == number {
          body(slots[at], bytes)
          at += 1
        }
        number += 1
      }
    }
  }

  private func slotCount() throws(SessionFileError) -> Int {
    do throws(JournalError) { return max(0, try file.size() / SessionSlot.bytes - 1) } catch { throw .disk(error) }
  }

  /// Slots behind the file's end are zeros.
  private func read(_ slots: Range<Int>, _ body: (Span<UInt8>) -> Void) throws(SessionFileError) {
    let chunk = min(SessionFile.chunkSlots, slots.count)
    var buffer = [UInt8](repeating: 0, count: chunk * SessionSlot.bytes)
    var first = slots.lowerBound
    while first < slots.upperBound {
      let count = min(chunk, slots.upperBound - first)
      let bytes = count * SessionSlot.bytes
      let got: Int
      do throws(JournalError) {
        got = try file.read(into: &buffer, 0..<bytes, at: (first + 1) * SessionSlot.bytes)
      } catch { throw .disk(error) }
      for i in got..<bytes { buffer[i] = 0 }
      let span = buffer.span
      for slot in 0..<count { body(span.extracting(slot * SessionSlot.bytes..<(slot + 1) * SessionSlot.bytes)) }
      first += count
    }
  }

  // MARK: Writing

  /// Writes to the front of a slot. Into the page cache: kill -9 does not undo it, a power cut may until `durableTicket` is at
  /// the ticket.
  /// - Returns: the ticket.
  package func write(_ bytes: Span<UInt8>, slot: UInt32) throws(JournalError) -> UInt64 {
    precondition(bytes.count <= SessionSlot.bytes)
    try file.write(bytes, Span(), padding: 0, at: (Int(slot) + 1) * SessionSlot.bytes)
    return written.add(1, ordering: .releasing).newValue
  }

  /// All writes with this ticket or a lower one are durable.
  package var durableTicket: UInt64 { durable.load(ordering: .acquiring) }
  package var isSynced: Bool { written.load(ordering: .relaxed) == durable.load(ordering: .relaxed) }

  /// Makes all writes durable that have ended. One thread's.
  /// - Throws: the writes since the last one may be lost, and no later sync would tell: `abandon` the file.
  package func sync() throws(JournalError) {
    let ticket = written.load(ordering: .acquiring)
    try file.sync()
    durable.store(ticket, ordering: .releasing)
  }

  /// Takes the file away, so that no later start goes on from slots of which nobody knows what the disk holds. Sessions go on
  /// in memory, within what they have reserved.
  package static func abandon(in directory: borrowing Directory) throws(JournalError) {
    try directory.remove(name)
    try directory.sync()
  }
}
