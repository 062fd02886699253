// libFuzzer over the recovery of journal segments: FIXGATE_FUZZ=1 swift build --product fuzz-journal, then
// fuzz-journal -max_len=64. A crash becomes a file in Tests/Fuzz/regressions/journal, which GateCoreTests replays.
import Glibc
import JournalProperties

@c func LLVMFuzzerTestOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  JournalProperties.check(input.span)
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
