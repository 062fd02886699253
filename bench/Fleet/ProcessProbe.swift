import Foundation

/// What /proc tells of another process and of the kernel.
package enum ProcessProbe {
  /// CPU time of its threads by their names, ns, user and system: `schedstat`. What a thread that has ended took is not
  /// in it.
  package static func cpuNs(of process: Int32) -> [String: UInt64] {
    var times: [String: UInt64] = [:]
    let ids = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/task")) ?? []
    for id in ids.compactMap(Int.init) {
      let name = text("/proc/\(process)/task/\(id)/comm").trimmingCharacters(in: .newlines)
      let ns = text("/proc/\(process)/task/\(id)/schedstat").split(separator: " ").first.flatMap { UInt64($0) }
      times[name, default: 0] += ns ?? 0
    }
    return times
  }

  /// Memory of its own that is in RAM, bytes: `RssAnon`.
  package static func anonymousBytes(of process: Int32) -> Int {
    kilobytes("/proc/\(process)/status", "RssAnon:") * 1_024
  }

  /// All of its memory that is in RAM, bytes.
  package static func residentBytes(of process: Int32) -> Int {
    kilobytes("/proc/\(process)/status", "VmRSS:") * 1_024
  }

  /// Kernel memory that sockets take: their slab objects where `/proc/slabinfo` may be read (as root), and buffers.
  ///
  /// Each socket has also one file and one directory entry. These are counted by the number of sockets, since programs
  /// that have nothing to do with it make and drop such objects all the time.
  /// - Returns: bytes; `nil` for what this user may not read.
  package static func socketBytes() -> (objects: Int?, buffers: Int) {
    var active: [String: (count: Int, bytes: Int)] = [:]
    for line in text("/proc/slabinfo").split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count > 3, let count = Int(fields[1]), let size = Int(fields[3]) else { continue }
      active[String(fields[0])] = (count, size)
    }
    var objects: Int?
    if let sockets = active["sock_inode_cache"] {
      let own = ["TCP", "UDP", "sock_inode_cache", "eventpoll_epi", "eventpoll_pwq"].reduce(0) { sum, name in
        sum + (active[name].map { $0.count * $0.bytes } ?? 0)
      }
      objects = own + sockets.count * ["filp", "dentry"].reduce(0) { $0 + (active[$1]?.bytes ?? 0) }
    }
    // "TCP: inuse 5 orphan 0 tw 0 alloc 7 mem 1", mem in pages of 4,096 bytes.
    let tcp = text("/proc/net/sockstat").split(separator: "\n").first { $0.hasPrefix("TCP:") }?.split(separator: " ") ?? []
    let pages = tcp.firstIndex(of: "mem").flatMap { $0 + 1 < tcp.count ? Int(tcp[$0 + 1]) : nil } ?? 0
    return (objects, pages * 4_096)
  }

  /// `FileManager` would read one page of a file whose size the kernel does not say.
  package static func text(_ path: String) -> String {
    let file = FileHandle(forReadingAtPath: path)
    return String(decoding: (try? file?.readToEnd()) ?? Data(), as: UTF8.self)
  }

  private static func kilobytes(_ path: String, _ field: String) -> Int {
    let line = text(path).split(separator: "\n").first { $0.hasPrefix(field) }
    return line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) } ?? 0
  }
}

package enum ServerError: Error, Equatable, CustomStringConvertible {
  /// The hook wrote no file: it was not built, or not preloaded.
  case noCounters
  /// An executable or library that must lie beside this one is not there.
  case notBuilt(String)
  /// It ended or said something else before it was ready.
  case notReady
  /// It did not end with 0 after SIGTERM.
  case exit(Int32)

  package var description: String {
    switch self {
    case .noCounters: "the hook counted nothing: was libpathhook.so built for this machine?"
    case .notBuilt(let name): "\(name) does not lie beside this program: build everything, not one product"
    case .notReady: "the server did not become ready; its message, if it gave one, is above"
    case .exit(let status): "the server ended with status \(status) instead of 0; its message is above"
    }
  }
}
