// libFuzzer over the session file: FIXGATE_FUZZ=1 swift build --product fuzz-slots, then
// fuzz-slots Tests/Fuzz/corpus/slots. A crash becomes a file in Tests/Fuzz/regressions/slots, which GatewayTests replays.
import DTLSProperties
import FuzzDriver

fuzz(SlotProperties.check)
