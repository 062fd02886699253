import CLinux
import Glibc

package enum CPUs {
  /// CPUs that this process may run on, at least 1. A container's quota of CPU time is not looked at.
  package static var available: Int { max(1, Int(gate_cpu_count())) }
}

package enum OpenFiles {
  /// Raises the soft limit of open files to the hard one: each device needs a descriptor.
  /// - Returns: descriptors that the process may have.
  /// - Throws: `.system(.limit)`: log it and go on with what there is.
  @discardableResult
  package static func raiseLimit() throws(NetError) -> Int {
    var limit = rlimit()
    guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
      throw .system(.limit, errno: errno)
    }
    if limit.rlim_cur < limit.rlim_max {
      limit.rlim_cur = limit.rlim_max
      guard unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
        throw .system(.limit, errno: errno)
      }
    }
    return Int(clamping: limit.rlim_cur)
  }
}

package enum CallingUser {
  /// The real user's number.
  package static var number: UInt32 { getuid() }
}
