func pad(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: max(0, width - text.count)) }

/// Two decimals, right-aligned.
func number(_ value: Double, _ width: Int) -> String {
  let hundredths = Int((value * 100).rounded())
  let text = "\(hundredths / 100)." + (hundredths % 100 < 10 ? "0" : "") + "\(hundredths % 100)"
  return String(repeating: " ", count: max(0, width - text.count)) + text
}
