import Glibc

/// A small file that is replaced as a whole: after a power cut it holds the old content or the new one.
package enum DurableFile {
  /// Writes `name` below `directory`: a temporary file, its sync, the rename, the directory's sync.
  ///
  /// - Throws: any error of the disk. The file may then hold the old content or the new one.
  package static func replace(_ name: String, in directory: borrowing Directory, with content: Span<UInt8>)
    throws(JournalError)
  {
    let temporary = name + ".tmp"
    do throws(JournalError) {
      let file = try DiskFile(temporary, in: directory, flags: O_WRONLY | O_CREAT | O_TRUNC)
      try file.write(content, [UInt8]().span, padding: 0, at: 0)
      try file.sync()
      try directory.rename(temporary, to: name)
    } catch {
      try? directory.remove(temporary)
      throw error
    }
    try directory.sync()
  }

  /// The content of `name` below `directory`; `nil` if there is no such file.
  ///
  /// - Throws: `.oversize` above `bytesMax`.
  package static func read(_ name: String, in directory: borrowing Directory, bytesMax: Int) throws(JournalError)
    -> [UInt8]?
  {
    guard directory.contains(name) else { return nil }
    let file = try DiskFile(name, in: directory, flags: O_RDONLY)
    let size = try file.size()
    guard size <= bytesMax else { throw .oversize(bytes: size) }
    var content = [UInt8](repeating: 0, count: size)
    let read = try file.read(into: &content, 0..<size, at: 0)
    content.removeLast(size - read)
    return content
  }
}
