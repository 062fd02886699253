// libFuzzer over track: FIXGATE_FUZZ=1 swift build --product fuzz-track, then
// fuzz-track Tests/Fuzz/corpus/track. A crash becomes a file in Tests/Fuzz/regressions/track, which GatewayTests replays.
import GatewayProperties
import Glibc

@c func LLVMFuzzerTestOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  TrackProperties.check(unsafe Array(UnsafeBufferPointer(start: start, count: count)))
  return 0
}

@_silgen_name("LLVMFuzzerRunDriver")
func runDriver(
  _ argc: UnsafeMutablePointer<CInt>,
  _ argv: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

var argc = CommandLine.argc
var argv = unsafe CommandLine.unsafeArgv
exit(unsafe runDriver(&argc, &argv, LLVMFuzzerTestOneInput))
