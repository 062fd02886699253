import GateTLS
import Testing

@Test(arguments: [
  (DTLSError.version(0x0303), "0x303"), (.handshake(.alert(115)), "115"), (.oversize(bytes: 20_000), "20000"),
  (.library(code: 0), "libssl"), (.malformed(offset: 3), "byte 3"), (.timedOut, "in time"),
])
func dtlsErrorsSayWhatIsWrong(error: DTLSError, words: String) { #expect(error.description.contains(words)) }
