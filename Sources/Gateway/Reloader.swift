package import GateCore
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
  private let keys: SubjectKeys?
  private let links: [WorkerLink]
  private let log: Log
  /// What new connections get; one reload at a time.
  private let inForce: Mutex<InForce>

  private struct InForce {
    var identity: TLSIdentity
    var isP256: Bool
    var daysLeft: Int64
    var ticketKeys: [UInt8]

    init(_ material: TLSMaterial, _ ticketKeys: [UInt8]) {
      (identity, isP256, daysLeft) = (material.identity, material.isP256, material.daysLeft)
      self.ticketKeys = ticketKeys
    }
  }

  private static let patienceNs: UInt64 = 10_000_000_000

  package init(
    configuration: Configuration, folder: String, directory: String, tls: TLSHolder, dtls: DTLSHolder?,
    material: TLSMaterial, ticketKeys: [UInt8], registry: RegistryHolder, keys: SubjectKeys?, links: [WorkerLink],
    log: @escaping Log
  ) {
    self.configuration = configuration
    self.folder = folder
    self.directory = directory
    self.tls = tls
    self.dtls = dtls
    inForce = Mutex(InForce(material, ticketKeys))
    self.registry = registry
    self.keys = keys
    self.links = links
    self.log = log
  }

  /// The registry only: what the command line asks for after a change.
  package func reloadRegistry() -> ControlAnswer {
    inForce.withLock { _ in loadRegistry() }
  }

  /// Certificate, key, ticket keys, authorities, registry.
  package func reloadAll() -> ControlAnswer {
    inForce.withLock { inForce in
      var problem: String?
      do {
        try loadMaterial(&inForce)
      } catch {
        problem = "\(error)"
        log(.error, "not reloaded, the old certificate, keys and authorities stay in force: \(error)")
      }
      var answer = loadRegistry()
      if let problem = answer.problem {
        log(.error, "the registry was not reloaded: \(problem)")
      } else {
        log(.notice, "reloaded the registry; connections closed: \(answer.closed ?? 0)")
      }
      answer.problem = answer.problem ?? problem
      return answer
    }
  }

  /// An expired certificate is taken, as at the start, with an error in the log: not every device looks at dates, and those
  /// with a pre-shared key see none. It never takes the place of one that is still good.
  private func loadMaterial(_ inForce: inout InForce) throws {
    let nowS = SystemClock.wallMs() / 1_000
    var material = try TLSMaterial(configuration, folder: folder, nowS: nowS)
    material.warn(configuration, log)
    if material.daysLeft < 0, inForce.daysLeft >= 0 {
      inForce.daysLeft = try CertificateSummary.leaf(of: inForce.identity.certificatePEM).daysLeft(nowS: nowS)
      if inForce.daysLeft >= 0 {
        material.identity = inForce.identity
        material.isP256 = inForce.isP256
        material.daysLeft = inForce.daysLeft
        log(.error, "the certificate that was in force stays")
      }
    }
    let (context, fresh) = try material.makeContext(
      configuration, registry: registry, earlierTicketKeys: inForce.ticketKeys)
    let dtlsContext = try dtls.map { _ in try material.makeDTLSContext(registry: registry) }
    tls.swap(context)
    if let dtls, let dtlsContext { dtls.swap(dtlsContext) }
    wipe(&inForce.ticketKeys)
    inForce = InForce(material, fresh)
    log(.notice, "reloaded: new connections get the certificate that ends in \(material.daysLeft) days")
  }

  private func loadRegistry() -> ControlAnswer {
    do {
      let store = try RegistryStore(path: directory + "/" + GatewayServer.registryName)
      // Until it is right again the old registry stays in force.
      try store.checkEgress(to: configuration.sinkLabels)
      let snapshot = try store.loadSnapshot()
      try keys?.cover()
      snapshot.warn(devicesMax: configuration.data.devicesMax, log)
      registry.swap(snapshot)
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

extension RegistrySnapshot {
  /// Devices beyond the room that the gateway has; `nil` = there are none.
  package func beyond(devicesMax: Int) -> GatewayError? {
    Int(maxDeviceIndex) > devicesMax ? .devicesBeyond(max: devicesMax, highest: maxDeviceIndex) : nil
  }

  /// A line for the log when there are such.
  package func warn(devicesMax: Int, _ log: Log) {
    if let problem = beyond(devicesMax: devicesMax) { log(.error, "\(problem)") }
  }
}
