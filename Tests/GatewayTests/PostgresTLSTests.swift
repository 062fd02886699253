#if PostgreSQL
import Foundation
import GatePostgres
import Gateway
import Testing

extension EndToEnd {
  /// The way to a real PostgreSQL over TCP: it is proven, or not taken.
  @Suite(.serialized) struct PostgresTLS {
    private func keys(_ mode: String, authority: String) -> [String] {
      ["host: localhost", "sslmode: \(mode)", "root_certificate: \(authority)"]
    }

    @Test func aProvenServerGetsTheFixes() throws {
      let postgres = try TemporaryPostgres(tlsName: "localhost")
      let scene = try PostgresScene(fixes: 500, postgres: postgres)
      // A relative path starts at the configuration's folder.
      try FileManager.default.copyItem(atPath: postgres.authority, toPath: scene.gateway.folder + "/gateway/db-ca.crt")
      let sink = try scene.gateway.sink("warehouse", postgres, more: keys("verify-full", authority: "db-ca.crt"))
      try scene.gateway.configure(sinks: "  - sqlite\n" + sink)
      try scene.gateway.run(["store", "migrate"])
      for command in [["config", "check"], ["store", "check"]] {
        #expect(try scene.gateway.run(command).output.contains("ok    sink warehouse"))
      }
      try scene.gateway.start()
      let sender = try scene.send()
      #expect(try #require(sender.wait(seconds: 60)).status == 0)
      try scene.drained("warehouse")
      try scene.check()
      let sessions = """
        SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name = 'fixgate' AND client_addr IS NOT NULL
        """
      #expect(try postgres.value(sessions) == "t")
    }

    @Test func anotherServerIsToldInOneLine() throws {
      let elsewhere = try TemporaryPostgres(tlsName: "db.example")
      let scene = try PostgresScene(fixes: 1, postgres: elsewhere)
      try elsewhere.makeTables()
      try scene.fails(
        "PostgreSQL's certificate is for another server: server certificate for \"db.example\" does not match host name \"localhost\"",
        keys("verify-full", authority: elsewhere.authority))
      for mode in ["verify-ca", "verify-full"] {
        try scene.fails(
          "PostgreSQL's certificate is not signed by an authority in 'root_certificate'",
          keys(mode, authority: elsewhere.otherAuthority))
        try scene.fails("nowhere.crt\" does not exist; name the file of its authority", keys(mode, authority: "nowhere.crt"))
      }
      // Whoever asks for less gets in.
      let sink = try scene.gateway.sink("warehouse", elsewhere, more: keys("verify-ca", authority: elsewhere.authority))
      try scene.gateway.configure(sinks: "  - sqlite\n" + sink)
      try scene.gateway.run(["store", "check"])
    }

    /// Nothing is sent to a server that has no TLS where TLS is asked for, and a running gateway says so.
    @Test func aServerWithoutTLSGetsNothing() throws {
      let scene = try PostgresScene(fixes: 100)
      try scene.postgres.makeTables()
      for mode in ["require", "verify-ca", "verify-full"] {
        try scene.fails("PostgreSQL there has no TLS, and 'sslmode' asks for it", keys(mode, authority: scene.gateway.data + "/../ca.crt"))
      }
      try scene.gateway.start()
      let sender = try scene.send()
      #expect(try #require(sender.wait(seconds: 60)).status == 0)
      let status = try scene.gateway.status("failing") { scene.sink("warehouse", $0)?.state == .failing }
      #expect(scene.sink("warehouse", status)?.problem?.contains("has no TLS") == true)
      #expect(try scene.postgres.count("SELECT count(*) FROM fixgate.fix") == 0)
    }
  }
}
#endif
