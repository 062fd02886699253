import Foundation

package enum Seeds {
  /// FIXGATE_SEED: one seed to run instead of the usual ones.
  package static var fromEnvironment: UInt64? {
    ProcessInfo.processInfo.environment["FIXGATE_SEED"].flatMap { UInt64($0) }
  }
}
