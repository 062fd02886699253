import GateCore
import GateNet

/// One setting as it stands in the file: its path, what it means, and how its text becomes a value.
package struct ConfigurationKey: Sendable {
  /// `section.name`, as nested in the file. The environment overrides it as `FIXGATE_SECTION_NAME`.
  package let path: String
  package let comment: String
  /// What a value must be, for messages.
  package let expects: String
  package let isList: Bool
  /// - Returns: false if a value does not do.
  package let set: @Sendable (inout Configuration, [String]) -> Bool
  package let get: @Sendable (Configuration) -> [String]

  package var environmentName: String {
    "FIXGATE_" + path.uppercased().map { $0 == "." ? "_" : String($0) }.joined()
  }
}

extension ConfigurationKey {
  private static func text(
    _ path: String, _ comment: String, _ at: any WritableKeyPath<Configuration, String> & Sendable,
    expects: String = "a path", allowed: [String]? = nil, mayBeEmpty: Bool = false
  ) -> ConfigurationKey {
    ConfigurationKey(
      path: path, comment: comment, expects: allowed.map { "one of " + $0.joined(separator: ", ") } ?? expects,
      isList: false,
      set: { configuration, values in
        guard values.count == 1, mayBeEmpty || !values[0].isEmpty, allowed?.contains(values[0]) ?? true else { return false }
        configuration[keyPath: at] = values[0]
        return true
      },
      get: { [$0[keyPath: at]] })
  }

  private static func number<T: FixedWidthInteger & Sendable>(
    _ path: String, _ comment: String, _ at: any WritableKeyPath<Configuration, T> & Sendable, _ range: ClosedRange<T>
  ) -> ConfigurationKey {
    ConfigurationKey(
      path: path, comment: comment, expects: "a whole number from \(range.lowerBound) to \(range.upperBound)",
      isList: false,
      set: { configuration, values in
        guard values.count == 1, let value = T(values[0].filter { $0 != "_" }), range.contains(value) else { return false }
        configuration[keyPath: at] = value
        return true
      },
      get: { ["\($0[keyPath: at])"] })
  }

  private static func flag(
    _ path: String, _ comment: String, _ at: any WritableKeyPath<Configuration, Bool> & Sendable
  ) -> ConfigurationKey {
    ConfigurationKey(
      path: path, comment: comment, expects: "true or false", isList: false,
      set: { configuration, values in
        guard values == ["true"] || values == ["false"] else { return false }
        configuration[keyPath: at] = values == ["true"]
        return true
      },
      get: { ["\($0[keyPath: at])"] })
  }

  /// One of the raw values of `T`.
  private static func choice<T: RawRepresentable<String> & CaseIterable & Sendable>(
    _ path: String, _ comment: String, _ at: any WritableKeyPath<Configuration, T> & Sendable
  ) -> ConfigurationKey {
    ConfigurationKey(
      path: path, comment: comment, expects: "one of " + T.allCases.map(\.rawValue).joined(separator: ", "),
      isList: false,
      set: { configuration, values in
        guard values.count == 1, let value = T(rawValue: values[0]) else { return false }
        configuration[keyPath: at] = value
        return true
      },
      get: { [$0[keyPath: at].rawValue] })
  }

  private static func list(
    _ path: String, _ comment: String, _ at: any WritableKeyPath<Configuration, [String]> & Sendable, expects: String,
    mayBeEmpty: Bool = false, check: @escaping @Sendable (String) -> Bool = { _ in true }
  ) -> ConfigurationKey {
    ConfigurationKey(
      path: path, comment: comment, expects: expects, isList: true,
      set: { configuration, values in
        // `key:` with nothing behind it is one empty text.
        if mayBeEmpty, values.isEmpty || values == [""] {
          configuration[keyPath: at] = []
          return true
        }
        guard !values.isEmpty, !values.contains(""), values.allSatisfy(check) else { return false }
        configuration[keyPath: at] = values
        return true
      },
      get: { $0[keyPath: at] })
  }

  /// Every key, in the order of the file that `fixgate init` writes.
  package static let all: [ConfigurationKey] = [
    list(
      "listen.tls", "Addresses for TLS over TCP. Port 0 takes a free port, told in the line 'ready'.", \.listen.tls,
      expects: "host:port or [address]:port"),
    list(
      "listen.public_tls", "Where devices reach this gateway; new bundles carry it. The first host is the name that the certificate must bear.",
      \.listen.publicTLS, expects: "host:port or [address]:port"),
    list(
      "listen.dtls", "Addresses for DTLS over UDP. Empty: none.", \.listen.dtls, expects: "host:port or [address]:port",
      mayBeEmpty: true),
    list(
      "listen.public_dtls", "Where devices reach it over UDP; new bundles carry it. Empty: as listen.public_tls.",
      \.listen.publicDTLS, expects: "host:port or [address]:port", mayBeEmpty: true),
    number(
      "listen.node", "Number of this gateway in the connection IDs of sessions over UDP, for a load balancer to route by.",
      \.listen.node, 0...255),
    text(
      "listen.read",
      "A Unix socket, mode 0660, for holders of read tokens; its group decides who may come. Empty: none.", \.listen.read,
      mayBeEmpty: true),
    text("tls.certificate", "Certificate chain, PEM, leaf first.", \.tls.certificate),
    text("tls.key", "Its private key, PEM.", \.tls.key),
    text("tls.authority", "Certificates of the authority, PEM; new bundles carry them.", \.tls.authority),
    text(
      "tls.ticket_keys",
      "80 random bytes: with them devices reconnect cheaply after a restart too. To rotate, put 80 new bytes in front.",
      \.tls.ticketKeys),
    list(
      "tls.client_authority",
      "Who certifies devices, PEM: FILE for all tenants, or TENANT=FILE for one. Empty: no client certificates.",
      \.tls.clientAuthority, expects: "a path or TENANT=path", mayBeEmpty: true),
    text(
      "tls.registry_key", "32 random bytes that encrypt the pre-shared keys in the registry. Without them none is taken.",
      \.tls.registryKey),
    flag("tls.allow_tls12", "Accept TLS 1.2 from old modems.", \.tls.allowTLS12),
    flag(
      "tls.own_records",
      "Once a device is welcomed, free libssl's 14 KB of it and go on with fixgate's own TLS 1.3 records. false: libssl's.",
      \.tls.ownRecords),
    flag(
      "tls.early_data", "A device that comes back may send fixes with its first bytes (0-RTT).", \.tls.earlyData),
    number(
      "dtls.sessions_max", "Sessions over UDP; one more device is not let in.", \.dtls.sessionsMax, 1...10_000_000),
    number(
      "dtls.handshakes_max", "Handshakes over UDP under way at a time, about 60 KB each; the oldest gives way to the newest.",
      \.dtls.handshakesMax, 1...100_000),
    number(
      "dtls.session_days", "A session with a connection ID that is silent for so long is forgotten.", \.dtls.sessionDays,
      1...3_650),
    number(
      "dtls.classic_timeout_s", "One without, whose device cannot change its address.", \.dtls.classicTimeoutS,
      10...86_400),
    number(
      "dtls.receive_buffer_bytes", "Asked of the system for each UDP socket; it may grant less (net.core.rmem_max).",
      \.dtls.receiveBufferBytes, 65_536...1 << 30),
    text("data.directory", "Journal, registry, store, control socket. One gateway at a time.", \.data.directory),
    number("data.devices_max", "Devices that may ever be enrolled; 32 bytes each.", \.data.devicesMax, 1...10_000_000),
    number("workers", "Threads that serve connections; 0 = one a core.", \.workers, 0...256),
    number(
      "limits.connections_max", "Connections at a time; one more is closed at once.", \.limits.connectionsMax,
      1...1_000_000),
    number(
      "limits.handshake_timeout_s",
      "From accept to hello, time in the gateway's own queue not counted. Satellite modems need 24.",
      \.limits.handshakeTimeoutS, 1...600),
    number("limits.idle_timeout_s", "Without a byte from the device.", \.limits.idleTimeoutS, 1...86_400),
    number(
      "limits.frame_timeout_s", "From the first byte of a frame to its last. 16 KB over a satellite take a minute.",
      \.limits.frameTimeoutS, 1...3_600),
    number(
      "limits.write_timeout_s", "How long answers may wait for a device to read them.", \.limits.writeTimeoutS, 1...3_600),
    list(
      "limits.trusted_sources",
      "Networks that the source_ limits do not apply to: your own NAT, a load balancer. [none] for no exception.",
      \.limits.trustedSources, expects: "networks such as 10.0.0.0/8 or 2001:db8::/32, or none",
      check: { $0 == "none" || NetworkPrefix($0) != nil }),
    number(
      "limits.source_connections_max",
      "Connections of one address (IPv6: one /64) at a time. A carrier's NAT may hold a whole fleet.",
      \.limits.sourceConnectionsMax, 1...1_000_000),
    number(
      "limits.source_connections_per_second", "New connections of one address.",
      \.limits.sourceConnections.perSecond, 1...1_000_000),
    number(
      "limits.source_connections_burst", "New connections of one address that may come at once.",
      \.limits.sourceConnections.burst, 1...1_000_000),
    number(
      "limits.source_handshakes_per_second", "Full handshakes of one address; those by a ticket are free.",
      \.limits.sourceHandshakes.perSecond, 1...1_000_000),
    number(
      "limits.source_handshakes_burst", "Full handshakes of one address that may come at once.",
      \.limits.sourceHandshakes.burst, 1...1_000_000),
    number(
      "limits.source_failures_per_second",
      "Connections of one address that come to nothing (no TLS, silence, unknown or revoked credential).",
      \.limits.sourceFailures.perSecond, 1...1_000_000),
    number(
      "limits.source_failures_burst", "So many at once; then the address is not let in until they have decayed.",
      \.limits.sourceFailures.burst, 1...1_000_000),
    number(
      "limits.wrong_codes_per_second", "Wrong enrolment codes of all; above it nobody can enrol for a while.",
      \.limits.wrongCodes.perSecond, 1...1_000_000),
    number(
      "limits.wrong_codes_burst", "Wrong enrolment codes that may come at once.", \.limits.wrongCodes.burst, 1...1_000_000),
    number(
      "limits.handshakes_per_second", "Full handshakes of all; those by a ticket go first and are free.",
      \.limits.handshakes.perSecond, 1...1_000_000),
    number(
      "limits.handshakes_burst", "Full handshakes that may come at once.", \.limits.handshakes.burst, 1...1_000_000),
    number(
      "limits.handshakes_half_open", "Handshakes under way at a time; about 40 KB each.", \.limits.handshakesHalfOpen,
      1...1_000_000),
    number(
      "limits.handshakes_waiting", "ClientHellos that wait for their turn, at most.", \.limits.handshakesWaiting,
      1...1_000_000),
    number(
      "limits.buffered_bytes_max",
      "Bytes that wait in connections. At three quarters nobody new is let in, and within a second the largest holders go.",
      \.limits.bufferedBytesMax, (1 << 20)...(1 << 40)),
    number("limits.frames_per_second", "Frames a connection, before decoding.", \.limits.frames.perSecond, 1...1_000_000),
    number("limits.frames_burst", "Frames that may come at once.", \.limits.frames.burst, 1...1_000_000),
    number("limits.live_per_second", "Live fixes a device.", \.limits.live.perSecond, 1...1_000_000),
    number("limits.live_burst", "Live fixes that may come at once.", \.limits.live.burst, 1_024...10_000_000),
    number("limits.backlog_per_second", "Backlog fixes a device.", \.limits.backlog.perSecond, 1...10_000_000),
    number("limits.backlog_burst", "Backlog fixes that may come at once.", \.limits.backlog.burst, 1_024...10_000_000),
    number("limits.panic_per_second", "Panic fixes a device.", \.limits.panic.perSecond, 1...1_000),
    number("limits.panic_burst", "Panic fixes that may come at once.", \.limits.panic.burst, 1_024...10_000),
    number(
      "limits.backlog_window", "Backlog fixes that a device may have unacked.", \.limits.backlogWindow, 60...1_000_000),
    number(
      "limits.tenant_per_second", "Fixes of a tenant, all lanes but panic; 0 = no ceiling.", \.limits.tenantPerSecond,
      0...100_000_000),
    number(
      "limits.gateway_per_second", "Fixes of all tenants, all lanes but panic; 0 = no ceiling.",
      \.limits.gatewayPerSecond, 0...100_000_000),
    number(
      "journal.segment_bytes", "Size of a journal file.", \.journal.segmentBytes, (1 << 22)...(1 << 32)),
    number(
      "journal.bytes_max", "Above this nothing is taken until the store has caught up.", \.journal.bytesMax,
      (1 << 24)...(1 << 50)),
    number(
      "journal.commit_interval_us",
      "Under load one sync serves all fixes of this time; a lone fix does not wait for it.", \.journal.commitIntervalUs,
      0...1_000_000),
    number(
      "journal.checkpoint_interval_s", "How often the dedupe marks are written, so that a start reads little.",
      \.journal.checkpointIntervalS, 1...3_600),
    number(
      "normalise.future_tolerance_s", "A fix further ahead of the gateway's clock is held.",
      \.normalising.futureToleranceS, 0...86_400),
    choice(
      "normalise.week_rollover",
      "Times n x 1024 weeks too old: off, proven (moved where the device's clock proves it, else flagged), always (moved).",
      \.normalising.weekRollover),
    number(
      "normalise.week_rollover_days", "How old a fix may be whose time was moved so.", \.normalising.weekRolloverDays,
      1...3_650),
    flag(
      "normalise.clock_repair", "Move times that came from a device clock which is provably off.",
      \.normalising.clockRepair),
    number(
      "normalise.clock_tolerance_s", "A device clock that is off by less is left alone.", \.normalising.clockToleranceS,
      60...86_400),
    choice("normalise.null_island", "Position 0, 0: off, flag (stored) or hold.", \.normalising.nullIsland),
    choice("normalise.approximate", "Positions from cells or wifi: off, flag or hold.", \.normalising.approximate),
    choice("normalise.simulated", "Mock locations: off, flag or hold.", \.normalising.simulated),
    choice(
      "normalise.receiver_invalid", "A position though the receiver says it has none: off, flag or hold.",
      \.normalising.receiverInvalid),
    choice(
      "normalise.frozen", "The same coordinates to the last digit while moving: off, flag or hold.", \.normalising.frozen),
    number(
      "normalise.frozen_repeats", "Repeats before they count as frozen.", \.normalising.frozenRepeats, 1...1_000),
    choice(
      "normalise.teleport", "Further from the fixes around it than its class travels: off, flag or hold.",
      \.normalising.teleport),
    choice(
      "normalise.speed_class", "The fastest that carries a device: walker, cycle, car or plane.",
      \.normalising.speedClass),
    text("sqlite.file", "The store, in data.directory unless it is an absolute path.", \.sqlite.file),
    number("sqlite.batch_rows", "Rows in one transaction at most.", \.sqlite.batchRows, 100...1_000_000),
    number(
      "sqlite.interval_ms", "Time between transactions while little comes.", \.sqlite.intervalMs, 1...60_000),
    number("sqlite.quarantine_days", "How long held fixes are kept.", \.sqlite.quarantineDays, 1...3_650),
    number("sqlite.quarantine_rows", "How many held fixes are kept.", \.sqlite.quarantineRows, 1...100_000_000),
    text(
      "log.level", "Least severe message that is logged.", \.logLevel,
      allowed: ["trace", "debug", "info", "notice", "warning", "error", "critical"]),
  ]
}
