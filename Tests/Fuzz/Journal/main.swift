// libFuzzer over the recovery of journal segments: FIXGATE_FUZZ=1 swift build --product fuzz-journal, then
// fuzz-journal -max_len=64. A crash becomes a file in Tests/Fuzz/regressions/journal, which GateCoreTests replays.
import FuzzDriver
import JournalProperties

fuzz { input in JournalProperties.check(input.span) }
