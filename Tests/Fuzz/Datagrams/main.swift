// libFuzzer over what may come to the UDP socket: FIXGATE_FUZZ=1 swift build --product fuzz-datagrams, then
// fuzz-datagrams Tests/Fuzz/corpus/datagrams. A crash becomes a file in Tests/Fuzz/regressions/datagrams, which GatewayTests replays.
import DTLSProperties
import FuzzDriver

fuzz(DatagramProperties.check)
