import ArgumentParser
import Foundation
import GateCore
import GateStore
import GateTLS
import Gateway

struct TokenCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "token",
    abstract: "Read tokens: let a dispatcher read one tenant's data through the running gateway, and nothing else.",
    discussion: """
      live: latest positions. history: tracks, gaps, what is held. export: all about one subject. erase: its erasure. \
      The gateway must have listen.read.
      """,
    subcommands: [Add.self, List.self, Revoke.self])

  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make a token and write it to a file, mode 0600. Only its hash is kept.")

    @Option(help: "The tenant whose data it opens.")
    var tenant: String

    @Option(name: .customLong("role"), help: "live, history, export or erase. May be repeated.")
    var roles: [String]

    @Option(name: .customLong("for"), help: "How long it is good: 12h, 90d. Default: until it is revoked.")
    var duration: TimeText?

    @Option(help: "Where to write it.")
    var out: String

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      var granted: ReadRoles = []
      for name in roles {
        guard let role = ReadRoles(name: name) else {
          throw Complaint("there is no role '\(name)'; choose of " + ReadRoles.all.map(\.name).joined(separator: ", "))
        }
        granted.formUnion(role)
      }
      guard !granted.isEmpty else { throw Complaint("name what it is for with --role") }
      let setup = try config.load()
      try Installation.refuseToOverwrite(out)
      let secret = try randomBytes(ReadToken.secretBytes)
      // The hash is of the secret alone, so the number may come with the row.
      let hash = SecretHash(Digest.sha256(ReadToken(number: 1, secret: secret).bytes.span).span)
      let nowMs = Clock.nowMs
      try setup.note(.added, tenant: tenant, about: "read token", numbers: ["roles": Int64(granted.rawValue)])
      let registry = try RegistryStore(path: setup.registryPath)
      let number = try registry.addReadToken(
        tenant: tenant, roles: granted, hash: hash, expiresMs: duration.map { nowMs + $0.seconds * 1_000 }, nowMs: nowMs)
      do {
        try Installation.write(Array((ReadToken(number: number, secret: secret).text + "\n").utf8), to: out, mode: 0o600)
      } catch {
        try registry.revokeReadToken(tenant: tenant, number: number, nowMs: nowMs)
        throw error
      }
      print("read token \(number) of tenant \(tenant) (\(granted.names.joined(separator: ", "))) is in \(out)")
      if setup.configuration.listen.read.isEmpty {
        print("listen.read is empty: name a socket there and restart the gateway, or nobody can use the token")
      }
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List read tokens: number, tenant, roles, state, when made, end.")

    @Option(help: "Only this tenant's.")
    var tenant: String?

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let nowMs = Clock.nowMs
      for token in try RegistryStore(path: config.load().registryPath).readTokens(tenant: tenant) {
        print(
          "\(token.number)\t\(token.tenant)\t\(token.roles.names.joined(separator: ","))\t\(token.state(at: nowMs).rawValue)\t"
            + "\(Clock.text(token.createdMs))\t\(token.expiresMs.map(Clock.text) ?? "-")")
      }
    }
  }

  struct Revoke: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "End a token at once.")

    @Argument(help: "Its number, from 'fixgate token list'.")
    var number: Int64

    @Option(help: "The tenant whose token it is.")
    var tenant: String

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      try setup.note(.revoked, tenant: tenant, about: "read token", numbers: ["token": number])
      try RegistryStore(path: setup.registryPath).revokeReadToken(tenant: tenant, number: number, nowMs: Clock.nowMs)
      print("read token \(number) of tenant \(tenant) is revoked")
    }
  }
}
