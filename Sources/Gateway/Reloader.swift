import GateCore
import GateNet
import GateStore
import GateTLS
import Synchronization

/// Brings what is read from files up to date while the gateway runs. Called from the control thread and on SIGHUP.
package final class Reloader: Sendable {
  private let configuration: Configuration
  private let folder: String
  private let directory: String
  private let tls: TLSHolder
  private let dtls: DTLSHolder?
  private let registry: RegistryHolder
  private let links: [WorkerLink]
  private let log: Log
  /// In force; one reload at a time.
  private let ticketKeys: Mutex<[UInt8]>

  private static let patienceNs: UInt64 = 10_000_000_000

  package init(
    configuration: Configuration, folder: String, directory: String, tls: TLSHolder, dtls: DTLSHolder?, ticketKeys: [UInt8],
    registry: RegistryHolder, links: [WorkerLink], log: @escaping Log
  ) {
    self.configuration = configuration
    self.folder = folder
    self.directory = directory
    self.tls = tls
    self.dtls = dtls
    self.ticketKeys = Mutex(ticketKeys)
    self.registry = registry
    self.links = links
    self.log = log
  }

  /// The registry only: what the command line asks for after a change.
  package func reloadRegistry() -> ControlAnswer {
    ticketKeys.withLock { _ in loadRegistry() }
  }

  /// Certificate, key, ticket keys, authorities, registry.
  package func reloadAll() {
    ticketKeys.withLock { keys in
      do {
        let material = try TLSMaterial(configuration, folder: folder, nowS: SystemClock.wallMs() / 1_000)
        guard material.daysLeft >= 0 else { throw GatewayError.expired(days: -material.daysLeft) }
        let (context, fresh) = try material.makeContext(configuration, registry: registry, earlierTicketKeys: keys)
        let dtlsContext = try dtls.map { _ in try material.makeDTLSContext(registry: registry) }
        tls.swap(context)
        if let dtls, let dtlsContext { dtls.swap(dtlsContext) }
        wipe(&keys)
        keys = fresh
        material.warn(configuration, log)
        log(.notice, "reloaded: new connections get the certificate that ends in \(material.daysLeft) days")
      } catch {
        log(.error, "not reloaded, the old certificate, keys and authorities stay in force: \(error)")
      }
      let answer = loadRegistry()
      if let problem = answer.problem {
        log(.error, "the registry was not reloaded: \(problem)")
      } else {
        log(.notice, "reloaded the registry; connections closed: \(answer.closed ?? 0)")
      }
    }
  }

  private func loadRegistry() -> ControlAnswer {
    do {
      let store = try RegistryStore(path: directory + "/" + GatewayServer.registryName)
      registry.swap(try store.loadSnapshot())
      let completion = try Completion(links.count)
      for link in links { link.send(.registryChanged(completion)) }
      guard completion.wait(until: SystemClock.now().advanced(byNs: Reloader.patienceNs)) else {
        return ControlAnswer(problem: "the gateway took the change, but not all of its threads have answered yet")
      }
      return ControlAnswer(closed: completion.closed.load(ordering: .relaxed))
    } catch {
      return ControlAnswer(problem: "\(error)")
    }
  }
}
