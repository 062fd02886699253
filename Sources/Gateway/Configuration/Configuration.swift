package import GateCore
package import GateMemory

/// All that an operator can set. Paths are absolute or relative to the configuration file's folder.
package struct Configuration: Equatable, Sendable {
  package struct Listen: Equatable, Sendable {
    /// `host:port`, `[address]:port`; port 0 takes a free one.
    package var tls = ["0.0.0.0:7443", "[::]:7443"]
    /// What bundles tell devices.
    package var publicTLS = ["localhost:7443"]
    /// UDP, as `tls`; empty = none.
    package var dtls = ["0.0.0.0:7443", "[::]:7443"]
    /// What bundles tell devices of UDP; empty = as `publicTLS`.
    package var publicDTLS: [String] = []
    /// The first byte of connection IDs.
    package var node: UInt8 = 0
    /// A Unix socket for holders of read tokens; empty = none.
    package var read = ""
  }

  /// Sessions over UDP, of all workers together.
  package struct DTLS: Equatable, Sendable {
    package var sessionsMax = 200_000
    package var handshakesMax = 1_024
    /// A session with a connection ID that is silent for so long is forgotten.
    package var sessionDays = 30
    /// One without: its address is soon another's.
    package var classicTimeoutS = 300
    /// Asked of the kernel for each socket.
    package var receiveBufferBytes: Int32 = 4 << 20
  }

  package struct TLS: Equatable, Sendable {
    package var certificate = "server.crt"
    package var key = "server.key"
    /// What bundles tell devices to check the certificate against.
    package var authority = "ca.crt"
    /// 80 random bytes; without them a restart makes every device do a full handshake.
    package var ticketKeys = "ticket.keys"
    /// Who certifies devices: `FILE` for all tenants, `TENANT=FILE` for one.
    package var clientAuthority: [String] = []
    /// 32 random bytes that encrypt the external keys in the registry.
    package var registryKey = "registry.key"
    package var allowTLS12 = false
    /// Carry on with our own record layer behind libssl's handshake.
    package var ownRecords = true
    /// 0-RTT: a device that comes back may send fixes before the handshake is done.
    package var earlyData = true
  }

  package struct Data: Equatable, Sendable {
    package var directory = "data"
    /// Dense device indexes that the limiter has room for.
    package var devicesMax = 100_000
  }

  package struct Limiter: Equatable, Sendable {
    package var perSecond: UInt64
    package var burst: UInt64
    package var gcra: GCRA { GCRA(perSecond: perSecond, burst: burst) }
  }

  package struct Limiting: Equatable, Sendable {
    package var connectionsMax = 10_000
    package var handshakeTimeoutS = 30
    package var idleTimeoutS = 1_800
    /// From the first byte of a frame to its last; 16 KB over a satellite take a minute.
    package var frameTimeoutS = 180
    /// How long answers may wait for a device to read them.
    package var writeTimeoutS = 120
    /// Networks that the per-source filter does not look at: `10.0.0.0/8`, one address, or `none`.
    package var trustedSources = ["127.0.0.0/8", "::1"]
    /// One address (IPv4) or /64 (IPv6) may be a carrier's NAT with a whole fleet behind it.
    package var sourceConnectionsMax = 5_000
    package var sourceConnections = Limiter(perSecond: 200, burst: 5_000)
    package var sourceHandshakes = Limiter(perSecond: 100, burst: 5_000)
    package var sourceFailures = Limiter(perSecond: 5, burst: 500)
    /// Wrong enrolment codes that the whole gateway looks at. To guess one of 256 codes of 60 bits takes millions of years then.
    package var wrongCodes = Limiter(perSecond: 10, burst: 1_000)
    /// Full handshakes of the whole gateway; those by a ticket are not metered.
    package var handshakes = Limiter(perSecond: 1_000, burst: 1_000)
    package var handshakesHalfOpen = 1_024
    package var handshakesWaiting = 8_192
    /// Of the whole gateway: ClientHellos, frames cut off, answers not read.
    package var bufferedBytesMax = 256 << 20
    /// Charged before a frame is decoded, per connection.
    package var frames = Limiter(perSecond: 50_000, burst: 100_000)
    package var live = Limiter(perSecond: 50, burst: 2_000)
    /// The window bounds a backlog; this is against a device that lies about it.
    package var backlog = Limiter(perSecond: 250_000, burst: 250_000)
    /// As in the other lanes a whole frame fits the burst: one that does not would be told to come back for ever.
    package var panic = Limiter(perSecond: 1, burst: 1_024)
    /// Fixes of backlog that a device may have unacked.
    package var backlogWindow = 6_000
    /// Fixes a second, all lanes but panic; 0 = no ceiling. A second's worth may come at once, two frames at least.
    package var tenantPerSecond: UInt64 = 0
    package var gatewayPerSecond: UInt64 = 0

    package var table: LimiterTable.Settings {
      func ceiling(_ perSecond: UInt64) -> GCRA? {
        guard perSecond > 0 else { return nil }
        return GCRA(perSecond: perSecond, burst: max(perSecond, 2 * UInt64(Limits.fixesPerFrameMax)))
      }
      return LimiterTable.Settings(
        lanes: [live.gcra, backlog.gcra, panic.gcra], tenant: ceiling(tenantPerSecond),
        gateway: ceiling(gatewayPerSecond))
    }
  }

  package struct Journal: Equatable, Sendable {
    package var segmentBytes = 64 << 20
    /// Above this nothing is taken until a sink has caught up.
    package var bytesMax = 8 << 30
    package var commitIntervalUs = 2_000
    package var checkpointIntervalS = 30
  }

  package struct SQLite: Equatable, Sendable {
    package var file = "fixes.db"
    /// Rows in one transaction at most.
    package var batchRows = 50_000
    /// Time between transactions at least, while little is to be stored.
    package var intervalMs = 200
    package var quarantineDays = 30
    package var quarantineRows = 1_000_000
  }

  /// Threads that serve connections; 0 = one a core.
  package var workers = 0
  package var listen = Listen()
  package var tls = TLS()
  package var dtls = DTLS()
  package var data = Data()
  package var limits = Limiting()
  package var journal = Journal()
  package var normalising = NormalisingRules()
  package var sqlite = SQLite()
  package var logLevel = "info"

  package init() {}
}
