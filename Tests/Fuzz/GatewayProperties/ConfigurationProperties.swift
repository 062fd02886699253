import GateConfiguration
import Gateway

/// What must hold for any configuration file: it is refused with a reason, or what `init` would write for it reads the same.
package enum ConfigurationProperties {
  package static func check(_ bytes: [UInt8]) {
    let text = String(decoding: bytes, as: UTF8.self)
    guard let configuration = try? ConfigurationFile.parse(text, path: "f", environment: [:]) else { return }
    let written = ConfigurationFile.commented(configuration)
    guard !text.contains("\"") && !text.contains("\\") && text.utf8.allSatisfy({ $0 < 0x7F && $0 != 0x23 }) else { return }
    guard let again = try? ConfigurationFile.parse(written, path: "f", environment: [:]) else {
      preconditionFailure("what was written cannot be read")
    }
    precondition(again == configuration)
  }
}
