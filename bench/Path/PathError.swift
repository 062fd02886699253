package enum PathError: Error, Equatable {
  /// A connection ended, or a fix was refused: this run measures nothing.
  case conversation(String)
  /// The gateway's own counts do not fit what was sent.
  case unbalanced
  /// A number is over its bound, or the hook does not see what was done.
  case outOfBounds(String)
}
