// libFuzzer over a session's bytes: FIXGATE_FUZZ=1 swift build --product fuzz-session, then
// fuzz-session Tests/Fuzz/corpus/session. A crash becomes a file in Tests/Fuzz/regressions/session, which GatewayTests replays.
import FuzzDriver
import GatewayProperties

fuzz(SessionProperties.check)
