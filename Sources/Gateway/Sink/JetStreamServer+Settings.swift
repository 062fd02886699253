#if JetStream
import Foundation
package import GateJetStream

extension JetStreamServer {
  /// - Parameter folder: relative paths of the configuration start here.
  /// - Throws: `JetStreamError.file`.
  package init(_ sink: SinkSettings, folder: String) throws(JetStreamError) {
    let settings = sink.jetStream
    func path(_ text: String) throws(JetStreamError) -> String? {
      if text.isEmpty { return nil }
      let path = text.hasPrefix("/") ? text : folder + "/" + text
      guard FileManager.default.isReadableFile(atPath: path) else { throw .file(path: path) }
      return path
    }
    var secret = ProcessInfo.processInfo.environment[sink.passwordVariable]
    if secret == nil, let file = try path(settings.passwordFile) {
      guard let text = try? String(contentsOfFile: file, encoding: .utf8) else { throw .file(path: file) }
      secret = text.trimmingCharacters(in: .newlines)
    }
    let login: Login
    if let file = try path(settings.credentialsFile) {
      login = .credentials(path: file)
    } else if !settings.user.isEmpty {
      login = .user(settings.user, password: secret ?? "")
    } else {
      login = secret.map { .token($0) } ?? .none
    }
    self.init(
      addresses: settings.servers.map(JetStreamSettings.address), login: login,
      tls: settings.usesTLS
        ? TLS(
          rootCertificate: try path(settings.rootCertificate), certificate: try path(settings.certificate),
          key: try path(settings.key)) : nil,
      timeoutS: settings.timeoutS)
  }
}

extension StreamSettings {
  package init(_ settings: JetStreamSettings) {
    self.init(
      name: settings.stream, subject: settings.subject, replicas: settings.replicas,
      retention: settings.retention == .limits ? .limits : .workqueue, maxAgeS: Int64(settings.maxDays) * 86_400,
      maxBytes: settings.maxBytes, messageBytes: settings.messageBytes)
  }
}
#endif
