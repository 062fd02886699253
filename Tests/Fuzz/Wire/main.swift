// libFuzzer over framing and decoder: FIXGATE_FUZZ=1 swift build --product fuzz-wire, then
// fuzz-wire Tests/Fuzz/corpus/wire. A crash becomes a file in Tests/Fuzz/regressions/wire, which GateCoreTests replays.
import FuzzDriver
import WireVectors

fuzz(WireProperties.check)
