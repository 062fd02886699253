// libFuzzer over track files: FIXGATE_FUZZ=1 swift build --product fuzz-track, then
// fuzz-track Tests/Fuzz/corpus/track. A crash becomes a file in Tests/Fuzz/regressions/track, which GatewayTests replays.
import FuzzDriver
import GatewayProperties

fuzz(TrackProperties.check)
