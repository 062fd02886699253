import CLinux
internal import GateCore
import Glibc

/// Calls that shall fail, for tests: what no real disk does on demand. Each entry is the errno of the next such call.
package struct InjectedFaults: Equatable, Sendable {
  /// Fails before anything is written.
  package var write: Int32?
  /// Fails after the write has reached the page cache, which is what makes a failed sync dangerous.
  package var sync: Int32?
  package var syncDirectory: Int32?
  package var rename: Int32?

  package init() {}

  mutating func take(_ call: JournalCall) throws(JournalError) {
    var code: Int32?
    switch call {
    case .write: swap(&code, &write)
    case .sync: swap(&code, &sync)
    case .syncDirectory: swap(&code, &syncDirectory)
    case .rename: swap(&code, &rename)
    default: break
    }
    if let code { throw .of(call, code) }
  }
}

/// Owns one open file; closed exactly once. Offsets and lengths are in bytes.
@safe package struct DiskFile: ~Copyable, Sendable {
  fileprivate let descriptor: Int32
  /// `nil`: the kernel's.
  private let model: (any DiskModel)?

  /// Opens `name` below `directory`, created with mode 0600 where `flags` say so.
  init(_ name: String, in directory: borrowing Directory, flags: Int32) throws(JournalError) {
    model = directory.model
    if let model {
      do { descriptor = try model.open(name, flags: flags) } catch { throw .of(.open, error.code) }
      return
    }
    while true {
      let result = unsafe openat(directory.descriptor, name, flags | O_CLOEXEC | O_NOFOLLOW, 0o600)
      let code = errno
      if result >= 0 {
        descriptor = result
        return
      }
      if code != EINTR { throw .of(.open, code) }
    }
  }

  deinit {
    if let model { model.close(descriptor) } else { _ = close(descriptor) }
  }

  func size() throws(JournalError) -> Int {
    if let model {
      do { return try model.size(descriptor) } catch { throw .of(.read, error.code) }
    }
    var status = stat()
    let result = unsafe fstat(descriptor, &status)
    let code = errno
    guard result == 0 else { throw .of(.read, code) }
    return Int(status.st_size)
  }

  /// Reads into `range` of `buffer` until it is full or the file ends.
  /// - Returns: the number of bytes read.
  func read(into buffer: inout [UInt8], _ range: Range<Int>, at offset: Int) throws(JournalError) -> Int {
    precondition(range.lowerBound >= 0 && range.upperBound <= buffer.count)
    var done = 0
    if let model {
      while done < range.count {
        let bytes: [UInt8]
        do { bytes = try model.read(descriptor, range.count - done, at: offset + done) } catch {
          throw .of(.read, error.code)
        }
        if bytes.isEmpty { break }
        unsafe buffer.withUnsafeMutableBytes { buffer in
          unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[(range.lowerBound + done)...]).copyBytes(from: bytes)
        }
        done += bytes.count
      }
      return done
    }
    while done < range.count {
      let (result, code) = unsafe buffer.withUnsafeMutableBytes { raw in
        let result = unsafe pread(
          descriptor, raw.baseAddress! + range.lowerBound + done, range.count - done, off_t(offset + done))
        return (result, errno)
      }
      if result == 0 { break }
      if result < 0 {
        if code == EINTR { continue }
        throw .of(.read, code)
      }
      done += result
    }
    return done
  }

  /// Writes all of `head`, `body` and `padding` zeros, one behind the other, with one system call where the disk lets it.
  func write(_ head: Span<UInt8>, _ body: Span<UInt8>, padding: Int, at offset: Int) throws(JournalError) {
    precondition(padding >= 0 && padding <= Limits.journalBlockBytes)
    if let model { return try write(head, body, padding: padding, at: offset, to: model) }
    let total = head.count + body.count + padding
    var done = 0
    while done < total {
      let (result, code) = unsafe head.withUnsafeBytes { head in
        unsafe body.withUnsafeBytes { body in
          unsafe zeros.withUnsafeBytes { zeros in
            var skip = done
            var parts = unsafe InlineArray<3, iovec>(repeating: iovec())
            var count = 0
            for unsafe part in unsafe [head, body, UnsafeRawBufferPointer(rebasing: zeros[..<padding])] {
              let from = min(skip, part.count)
              skip -= from
              guard part.count > from else { continue }
              unsafe parts[count] = unsafe iovec(
                iov_base: UnsafeMutableRawPointer(mutating: part.baseAddress! + from), iov_len: part.count - from)
              count += 1
            }
            var vectors = unsafe parts.mutableSpan
            let result = unsafe vectors.withUnsafeMutableBufferPointer { parts in
              unsafe pwritev(descriptor, parts.baseAddress!, Int32(count), off_t(offset + done))
            }
            return (result, errno)
          }
        }
      }
      if result < 0 {
        if code == EINTR { continue }
        throw .of(.write, code)
      }
      // No progress and no error: a full disk that does not say so.
      if result == 0 { throw .of(.write, ENOSPC) }
      done += result
    }
  }

  private func write(
    _ head: Span<UInt8>, _ body: Span<UInt8>, padding: Int, at offset: Int, to model: any DiskModel
  ) throws(JournalError) {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(head.count + body.count + padding)
    unsafe head.withUnsafeBufferPointer { unsafe bytes.append(contentsOf: $0) }
    unsafe body.withUnsafeBufferPointer { unsafe bytes.append(contentsOf: $0) }
    bytes.append(contentsOf: zeros[..<padding])
    var done = 0
    while done < bytes.count {
      let count: Int
      do { count = try model.write(descriptor, done == 0 ? bytes : Array(bytes[done...]), at: offset + done) } catch {
        throw .of(.write, error.code)
      }
      if count == 0 { throw .of(.write, ENOSPC) }
      done += count
    }
  }

  /// Returns when the data, and the length where it changed, would survive a power cut. Never tried twice: a failed sync
  /// may have dropped the pages, and the next one would succeed without them.
  func sync() throws(JournalError) {
    if let model {
      do { return try model.sync(descriptor) } catch { throw .of(.sync, error.code) }
    }
    let result = fdatasync(descriptor)
    let code = errno
    guard result == 0 else { throw .of(.sync, code) }
  }

  /// Has the kernel begin to write to the disk and waits for nothing. A hint: it makes nothing durable, but leaves a later `sync`,
  /// whoever's it is, less to do.
  /// - Parameter range: `nil` = the whole file.
  func beginWriting(_ range: Range<Int>? = nil) {
    if model == nil { _ = gate_begin_writing(descriptor, Int64(range?.lowerBound ?? 0), Int64(range?.count ?? 0)) }
  }

  /// Cuts the file off; not for the journal, whose disk may be a model.
  func truncate(to size: Int) throws(JournalError) {
    precondition(model == nil)
    let result = ftruncate(descriptor, off_t(size))
    let code = errno
    guard result == 0 else { throw .of(.write, code) }
  }

  /// Takes an exclusive lock that ends with the process.
  func lock() throws(JournalError) {
    let result = flock(descriptor, LOCK_EX | LOCK_NB)
    let code = errno
    if result == 0 { return }
    if code == EWOULDBLOCK { throw .locked }
    throw .of(.lock, code)
  }
}

private let zeros = [UInt8](repeating: 0, count: Limits.journalBlockBytes)

/// Owns an open directory; names are relative to it.
@safe package struct Directory: ~Copyable, Sendable {
  fileprivate let descriptor: Int32
  /// `nil`: the kernel's.
  fileprivate let model: (any DiskModel)?

  /// A directory of a disk that is not the kernel's.
  package init(_ model: any DiskModel) {
    self.model = model
    descriptor = -1
  }

  package init(_ path: String) throws(JournalError) {
    model = nil
    descriptor = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    let code = errno
    guard descriptor >= 0 else { throw .of(.open, code) }
  }

  deinit {
    if model == nil { _ = close(descriptor) }
  }

  /// Makes `path` with mode 0700 if it is not there, durably. Its parent must be there.
  package static func make(_ path: String) throws(JournalError) {
    let result = unsafe mkdir(path, 0o700)
    let code = errno
    if result != 0 && code != EEXIST { throw .of(.makeDirectory, code) }
    if result == 0 { try Directory(parent(of: path)).sync() }
  }

  package static func parent(of path: String) -> String {
    let parts = path.split(separator: "/", omittingEmptySubsequences: true).dropLast()
    let joined = parts.joined(separator: "/")
    return path.hasPrefix("/") ? "/" + joined : joined.isEmpty ? "." : joined
  }

  /// The names in the directory, in no order.
  func names() throws(JournalError) -> [String] {
    if let model {
      do { return try model.names() } catch { throw .of(.list, error.code) }
    }
    let copy = unsafe openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
    var code = errno
    guard copy >= 0 else { throw .of(.list, code) }
    guard let stream = unsafe fdopendir(copy) else {
      code = errno
      _ = close(copy)
      throw .of(.list, code)
    }
    defer { _ = unsafe closedir(stream) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = unsafe readdir(stream) else {
        code = errno
        if code != 0 { throw .of(.list, code) }
        return names
      }
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { raw in
        unsafe String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
  }

  package func contains(_ name: String) -> Bool {
    if let model { return model.contains(name) }
    return unsafe faccessat(descriptor, name, F_OK, 0) == 0
  }

  func rename(_ from: String, to: String) throws(JournalError) {
    if let model {
      do { return try model.rename(from, to: to) } catch { throw .of(.rename, error.code) }
    }
    let result = unsafe renameat(descriptor, from, descriptor, to)
    let code = errno
    guard result == 0 else { throw .of(.rename, code) }
  }

  /// Removes a file; one that is gone already is no error.
  package func remove(_ name: String) throws(JournalError) {
    if let model {
      do { return try model.remove(name) } catch {
        if error.code == ENOENT { return }
        throw .of(.remove, error.code)
      }
    }
    let result = unsafe unlinkat(descriptor, name, 0)
    let code = errno
    guard result == 0 || code == ENOENT else { throw .of(.remove, code) }
  }

  /// Returns when all names created, renamed and removed so far would survive a power cut.
  package func sync() throws(JournalError) {
    if let model {
      do { return try model.syncNames() } catch { throw .of(.syncDirectory, error.code) }
    }
    let result = fsync(descriptor)
    let code = errno
    guard result == 0 else { throw .of(.syncDirectory, code) }
  }
}

/// Holds a data directory, or something in one, for one process, so that two gateways never share a journal. The lock ends
/// with the value or with the process, however that ends; its file stays.
package struct DirectoryLock: ~Copyable, Sendable {
  private let file: DiskFile

  /// - Throws: `.locked` if another process, or another value in this one, holds it.
  package static func take(_ path: String, name: String = "lock") throws(JournalError) -> DirectoryLock {
    let directory = try Directory(path)
    let file = try DiskFile(name, in: directory, flags: O_RDWR | O_CREAT)
    try file.lock()
    return DirectoryLock(file: file)
  }
}
