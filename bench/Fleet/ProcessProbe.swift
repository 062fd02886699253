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

  /// Kernel memory that sockets take: their slab objects where `/proc/slabinfo` may be read (as root), and buffers.
  /// - Returns: bytes; `nil` for what this user may not read.
  package static func socketBytes() -> (objects: Int?, buffers: Int) {
    let table = text("/proc/slabinfo")
    var objects: Int?
    for line in table.split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count > 3, socketSlabs.contains(String(fields[0])), let active = Int(fields[1]), let size = Int(fields[3])
      else { continue }
      objects = (objects ?? 0) + active * size
    }
    // "TCP: inuse 5 orphan 0 tw 0 alloc 7 mem 1", mem in pages of 4,096 bytes.
    let tcp = text("/proc/net/sockstat").split(separator: "\n").first { $0.hasPrefix("TCP:") }?.split(separator: " ") ?? []
    let pages = tcp.firstIndex(of: "mem").flatMap { $0 + 1 < tcp.count ? Int(tcp[$0 + 1]) : nil } ?? 0
    return (objects, pages * 4_096)
  }

  /// One socket takes one each of: TCP or UDP, its inode, its file, its directory entry, and in epoll an item and a hook.
  private static let socketSlabs: Set<String> = [
    "TCP", "UDP", "sock_inode_cache", "filp", "dentry", "eventpoll_epi", "eventpoll_pwq",
  ]

  package static func text(_ path: String) -> String {
    String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
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
