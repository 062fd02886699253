package enum PathError: Error, Equatable {
  /// The gateway's own counts do not fit what was sent.
  case unbalanced
  /// A number is over its bound, or the hook does not see what was done.
  case outOfBounds(String)
}
