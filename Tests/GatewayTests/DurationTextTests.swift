import Testing
@testable import fixgate

@Suite struct DurationTextTests {
  @Test(arguments: [
    ("0", 0), ("0s", 0), ("90s", 90), ("30m", 1_800), ("12h", 43_200), ("7d", 604_800), ("36525d", 3_155_760_000),
    ("007d", 604_800),
  ])
  func isRead(text: String, seconds: Int64) {
    #expect(Duration.seconds(parsing: text) == seconds)
    #expect(TimeText(argument: text)?.seconds == seconds)
  }

  @Test(arguments: [
    "", "d", "7", "7w", "7 d", " 7d", "-1d", "+1d", "1.5h", "1d2h", "36526d", "9223372036854775807d", "7D", "\u{663}d", "7d\n",
  ])
  func isNoTime(text: String) { #expect(Duration.seconds(parsing: text) == nil) }

  @Test func defaultsAreShownAsTheyAreTyped() {
    #expect(TimeText(seconds: 604_800).defaultValueDescription == "7d")
    #expect(TimeText(seconds: 7_200).defaultValueDescription == "2h")
  }
}
