#if PostgreSQL
import Foundation
package import GatePostgres

extension PostgresServer {
  /// - Parameter folder: relative paths of the configuration start here.
  /// - Throws: `PostgresError.passwordFile`.
  package init(_ sink: SinkSettings, folder: String) throws(PostgresError) {
    let settings = sink.postgres
    func path(_ text: String) -> String { text.hasPrefix("/") ? text : folder + "/" + text }
    var password = ProcessInfo.processInfo.environment[sink.passwordVariable]
    if password == nil, !settings.passwordFile.isEmpty {
      let file = path(settings.passwordFile)
      guard let text = try? String(contentsOfFile: file, encoding: .utf8) else { throw .passwordFile(path: file) }
      password = text.trimmingCharacters(in: .newlines)
    }
    self.init(
      host: settings.host, port: settings.port, database: settings.database, user: settings.user, password: password,
      sslMode: settings.sslMode.rawValue,
      rootCertificate: settings.rootCertificate.isEmpty ? nil : path(settings.rootCertificate),
      timeoutS: settings.timeoutS)
  }
}
#endif
