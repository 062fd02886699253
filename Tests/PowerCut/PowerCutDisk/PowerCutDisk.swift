import Foundation

/// A data directory under the preloaded library of `CPowerCut`, and the power switch.
///
/// ```
/// let disk = try PowerCutDisk(root: data)
/// process.environment = disk.environment(library: PowerCutDisk.builtLibrary)
/// ... kill(process.processIdentifier, SIGKILL), wait for it ...
/// try disk.cut(seed: seed)   // root now holds what was synced; start again
/// ```
package struct PowerCutDisk: Sendable {
  package let root: String
  package let shadow: String

  /// - Parameter root: the data directory; it must exist. Its copy is made beside it.
  package init(root: String) {
    self.root = root
    shadow = root + ".powercut"
  }

  /// The library as SwiftPM builds it, beside the running test or program.
  package static var builtLibrary: String {
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
    return URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent("libpowercut.so").path
  }

  /// What to add to the environment of the program.
  package func environment(library: String, ignoringSync: Bool = false) -> [String: String] {
    var environment = ["LD_PRELOAD": library, "POWERCUT_ROOT": root, "POWERCUT_SHADOW": shadow]
    if ignoringSync { environment["POWERCUT_IGNORE_SYNC"] = "1" }
    return environment
  }

  /// Cuts the power: `root` is what the disk held. Call it once the program is dead.
  ///
  /// - Parameter seed: `nil` lets nothing through that was not synced. Otherwise each unsynced block of 4,096 bytes
  ///   reached the disk or did not, each changed length too, and so did all of a directory's unsynced names or none.
  package func cut(seed: UInt64?) throws {
    if var seed { try leak(&seed) }
    let files = FileManager.default
    try files.removeItem(atPath: root)
    try files.createDirectory(atPath: root, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
    try copyTree("")
    try files.removeItem(atPath: shadow)
  }

  private func copyTree(_ path: String) throws {
    let files = FileManager.default
    for name in try files.contentsOfDirectory(atPath: shadow + "/tree" + path) {
      let from = shadow + "/tree" + path + "/" + name
      let to = root + path + "/" + name
      if isDirectory(from) {
        try files.createDirectory(atPath: to, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        try copyTree(path + "/" + name)
      } else {
        // Two durable names of one file stay one file.
        try files.copyItem(atPath: from, toPath: to)
        try files.setAttributes([.posixPermissions: 0o600], ofItemAtPath: to)
      }
    }
  }

  // MARK: What the disk did before anyone told it to

  private func leak(_ seed: inout UInt64) throws {
    // Names first: a file whose name got through may have got some blocks through too.
    try leakNames("", &seed)
    let files = FileManager.default
    for name in try files.subpathsOfDirectory(atPath: root).sorted() where !isDirectory(root + "/" + name) {
      let live = root + "/" + name
      let copy = shadow + "/tree/" + name
      guard files.fileExists(atPath: copy), let now = files.contents(atPath: live), let then = files.contents(atPath: copy)
      else { continue }
      var bytes = [UInt8](then)
      let new = [UInt8](now)
      if new.count != bytes.count, coin(&seed) {
        bytes = Array(bytes.prefix(new.count)) + [UInt8](repeating: 0, count: max(0, new.count - bytes.count))
      }
      for start in stride(from: 0, to: min(bytes.count, new.count), by: 4_096) {
        let block = start..<min(start + 4_096, bytes.count, new.count)
        if new[block] != bytes[block], coin(&seed) { bytes.replaceSubrange(block, with: new[block]) }
      }
      // In place: the copy may have another name.
      let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: copy))
      try handle.truncate(atOffset: UInt64(bytes.count))
      try handle.seek(toOffset: 0)
      try handle.write(contentsOf: Data(bytes))
      try handle.close()
    }
  }

  private func leakNames(_ path: String, _ seed: inout UInt64) throws {
    let files = FileManager.default
    let here = root + path
    let there = shadow + "/tree" + path
    let live = try files.contentsOfDirectory(atPath: here).sorted()
    let through = coin(&seed)
    if through {
      // Every name moves at once, so the old ones go aside before the new ones come.
      let aside = shadow + "/aside"
      try files.createDirectory(atPath: aside, withIntermediateDirectories: false)
      for name in try files.contentsOfDirectory(atPath: there) where !isDirectory(there + "/" + name) {
        try files.moveItem(atPath: there + "/" + name, toPath: aside + "/" + name)
      }
      for name in live {
        if isDirectory(here + "/" + name) {
          if !files.fileExists(atPath: there + "/" + name) {
            try files.createDirectory(atPath: there + "/" + name, withIntermediateDirectories: false)
          }
        } else if let copy = try copyOf(here + "/" + name) {
          try files.linkItem(atPath: copy, toPath: there + "/" + name)
        }
      }
      try files.removeItem(atPath: aside)
    }
    for name in live where isDirectory(here + "/" + name) && files.fileExists(atPath: there + "/" + name) {
      try leakNames(path + "/" + name, &seed)
    }
  }

  /// The copy of a file of `root` by inode, made empty if it was never synced; `nil` for sockets and the like.
  private func copyOf(_ path: String) throws -> String? {
    let attributes = try FileManager.default.attributesOfItem(atPath: path)
    guard attributes[.type] as? FileAttributeType == .typeRegular, let inode = attributes[.systemFileNumber] as? UInt64
    else { return nil }
    let prefix = "\(inode)-"
    let inodes = shadow + "/inodes"
    let names = try FileManager.default.contentsOfDirectory(atPath: inodes).filter { $0.hasPrefix(prefix) }
    // A number used again: the file of ROOT is the youngest.
    let youngest = names.max { birth($0) < birth($1) }
    if let youngest { return inodes + "/" + youngest }
    let made = inodes + "/" + prefix + "0-0"
    _ = FileManager.default.createFile(atPath: made, contents: Data())
    return made
  }

  private func birth(_ name: String) -> (Int, Int) {
    let parts = name.split(separator: "-").map { Int($0) ?? 0 }
    return parts.count == 3 ? (parts[1], parts[2]) : (0, 0)
  }

  private func isDirectory(_ path: String) -> Bool {
    (try? FileManager.default.attributesOfItem(atPath: path)[.type] as? FileAttributeType) == .typeDirectory
  }

  /// SplitMix64.
  private func coin(_ seed: inout UInt64) -> Bool {
    seed &+= 0x9e37_79b9_7f4a_7c15
    var z = seed
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return (z ^ z >> 31) & 1 == 0
  }
}
