import Glibc

/// Runs libFuzzer with the process's own arguments, and never returns.
/// - Parameter check: gets each input; traps if a promise is broken.
package func fuzz(_ check: @escaping ([UInt8]) -> Void) -> Never {
  unsafe target = check
  var argc = CommandLine.argc
  var argv = unsafe CommandLine.unsafeArgv
  exit(unsafe runDriver(&argc, &argv, LLVMFuzzerTestOneInput))
}

/// libFuzzer calls a C function, which can hold nothing; it does so on the thread that called `fuzz`.
nonisolated(unsafe) private var target: ([UInt8]) -> Void = { _ in }

@c func LLVMFuzzerTestOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  unsafe target(Array(UnsafeBufferPointer(start: start, count: count)))
  return 0
}

@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ argc: UnsafeMutablePointer<CInt>,
  _ argv: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt
