// libFuzzer over configuration files: FIXGATE_FUZZ=1 swift build --product fuzz-configuration, then
// fuzz-configuration Tests/Fuzz/corpus/configuration. A crash becomes a file in Tests/Fuzz/regressions/configuration, which GatewayTests replays.
import FuzzDriver
import GatewayProperties

fuzz(ConfigurationProperties.check)
