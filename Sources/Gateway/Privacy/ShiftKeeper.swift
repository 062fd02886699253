package import GateCore
package import GateNet
import GateStore
import Synchronization

/// The thread that enters shifts into the registry which devices open and close by their events. Until the registry has one on
/// disk, and all workers know it, the event is refused with a wait: so whatever is taken after it is taken after every crash.
package final class ShiftKeeper: Sendable {
  private let directory: String
  private let reloader: Reloader
  private let log: Log
  private let event: EventFD
  private let queue = Mutex<(waiting: Set<ShiftChange>, isStopping: Bool)>(([], false))

  package init(directory: String, reloader: Reloader, log: @escaping Log) throws(NetError) {
    self.directory = directory
    self.reloader = reloader
    self.log = log
    event = try EventFD()
  }

  /// Takes a change; the same one twice is one. Above `Limits.shiftsWaitingMax` it is left out, and comes with the next try.
  package func offer(_ change: ShiftChange) {
    let isFirst = queue.withLock { queue in
      guard !queue.isStopping, queue.waiting.count < Limits.shiftsWaitingMax else { return false }
      queue.waiting.insert(change)
      return queue.waiting.count == 1
    }
    if isFirst { event.signal() }
  }

  package func stop() {
    queue.withLock { $0.isStopping = true }
    event.signal()
  }

  package func run() throws(NetError) {
    while true {
      let (changes, isStopping) = queue.withLock { queue in
        defer { queue.waiting = [] }
        return queue
      }
      if changes.isEmpty {
        if isStopping { return }
        do throws(NetError) {
          try event.descriptor.wait(readable: true, writable: false, until: SystemClock.now().advanced(byNs: 60_000_000_000))
        } catch .timedOut {}
        event.clear()
        continue
      }
      do {
        try RegistryStore(path: directory + "/" + GatewayServer.registryName).take(changes.sorted { $0.timeMs < $1.timeMs })
        if let problem = reloader.reloadRegistry().problem {
          log(.error, "devices have opened or closed shifts that the gateway does not know yet: \(problem)")
        }
      } catch {
        log(.error, "shifts of devices cannot be entered, and their fixes wait: \(error)")
      }
    }
  }
}
