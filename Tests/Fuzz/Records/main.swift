// libFuzzer over TLS records behind the handshake: FIXGATE_FUZZ=1 swift build --product fuzz-records, then
// fuzz-records Tests/Fuzz/corpus/records. A crash becomes a file in Tests/Fuzz/regressions/records, which GatewayTests replays.
import FuzzDriver
import GatewayProperties

fuzz(RecordProperties.check)
