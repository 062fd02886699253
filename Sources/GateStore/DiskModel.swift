/// The error number of a call that a `DiskModel` lets fail.
package struct DiskErrno: Error, Equatable, Sendable {
  package var code: Int32
  package init(_ code: Int32) { self.code = code }
}

/// One directory of a disk that is not the kernel's: what `Directory` and `DiskFile` ask, call by call, with the same
/// meaning. So everything above them, journal and small files alike, runs unchanged on a simulated disk.
package protocol DiskModel: AnyObject, Sendable {
  /// - Parameter flags: of open(2).
  /// - Returns: a handle, closed by `close`.
  func open(_ name: String, flags: Int32) throws(DiskErrno) -> Int32
  func close(_ handle: Int32)
  func size(_ handle: Int32) throws(DiskErrno) -> Int
  /// - Returns: at most `count` bytes; none at the end of the file, fewer than asked for is allowed.
  func read(_ handle: Int32, _ count: Int, at offset: Int) throws(DiskErrno) -> [UInt8]
  /// - Returns: number of bytes written; fewer than asked for is allowed.
  func write(_ handle: Int32, _ bytes: [UInt8], at offset: Int) throws(DiskErrno) -> Int
  /// As fdatasync(2).
  func sync(_ handle: Int32) throws(DiskErrno)
  func names() throws(DiskErrno) -> [String]
  func contains(_ name: String) -> Bool
  func rename(_ from: String, to: String) throws(DiskErrno)
  func remove(_ name: String) throws(DiskErrno)
  /// As fsync(2) of the directory.
  func syncNames() throws(DiskErrno)
}
