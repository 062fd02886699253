package import GateCore

/// A time in which devices may enrol themselves by one code. Times are ms since 1970-01-01 UTC.
package struct EnrolmentWindow: Equatable, Sendable {
  package enum State: String, Sendable {
    case open
    /// Its time is over.
    case ended
    case closed
    /// As many devices as it was for have enrolled.
    case used
  }

  /// What the operator calls it by.
  package var number: Int64
  package var tenant: String
  package var namePrefix: String
  package var devicesMax: Int
  package var devices: Int
  package var openedMs: Int64
  package var endsMs: Int64
  package var closedMs: Int64?

  package func state(at nowMs: Int64) -> State {
    if closedMs != nil { return .closed }
    if nowMs >= endsMs { return .ended }
    return devices >= devicesMax ? .used : .open
  }
}

/// What a device brings to be enrolled.
package struct EnrolmentRequest: Sendable {
  /// SHA-256 of the code.
  package var code: SecretHash
  /// SHA-256 of the device's own random key.
  package var key: SecretHash
  /// Last part of the name that it would like.
  package var label: String?

  package init(code: SecretHash, key: SecretHash, label: String?) {
    self.code = code
    self.key = key
    self.label = label
  }
}

/// A device that has shown a good code and is to get its credential, in the same transaction.
package struct EnrolmentPlace: Equatable, Sendable {
  package let tenant: String
  package let id: String
  fileprivate let device: UInt32
  fileprivate let window: Int64
  fileprivate let key: SecretHash
}

extension RegistryStore {
  /// Opens a window.
  /// - Parameters:
  ///   - code: SHA-256 of the code.
  ///   - namePrefix: the devices' names begin with it, at most `namePrefixBytesMax` of the registry's alphabet.
  ///   - devicesMax: at least 1.
  /// - Returns: its number.
  package func openWindow(
    tenant: String, code: SecretHash, namePrefix: String, devicesMax: Int, endsMs: Int64, nowMs: Int64
  ) throws(RegistryError) -> Int64 {
    guard namePrefix.utf8.count <= RegistryStore.namePrefixBytesMax else { throw .invalidName(namePrefix) }
    try RegistryStore.check(namePrefix)
    return try change { () throws(RegistryError) in
      let owner = try knownTenant(tenant)
      let forgotten = nowMs - Limits.enrolmentMemoryMs
      try run("DELETE FROM enrolment WHERE window IN (SELECT number FROM enrolment_window WHERE ends_ms < ?1)", forgotten)
      try run("DELETE FROM enrolment_window WHERE ends_ms < ?1", forgotten)
      guard try windows().count < Limits.enrolmentWindowsMax else { throw .tooManyWindows }
      do throws(StoreError) {
        let statement = try SQLiteStatement(
          connection,
          """
          INSERT INTO enrolment_window(tenant, code_hash, name_prefix, devices_max, opened_ms, ends_ms)
          VALUES (?1, ?2, ?3, ?4, ?5, ?6)
          """)
        statement.bind(Int64(owner), at: 1)
        statement.bind(code.bytes.span, at: 2)
        statement.bind(namePrefix, at: 3)
        statement.bind(Int64(devicesMax), at: 4)
        statement.bind(nowMs, at: 5)
        statement.bind(endsMs, at: 6)
        try statement.run()
        return connection.lastInsertRowID
      } catch {
        throw .store(error)
      }
    }
  }

  package static let namePrefixBytesMax = 31

  /// Closes a window before its time; who has enrolled stays enrolled. Doing so twice changes nothing.
  package func closeWindow(_ number: Int64, nowMs: Int64) throws(RegistryError) {
    try change { () throws(RegistryError) in
      let all = try windows()
      guard all.contains(where: { $0.window.number == number }) else {
        throw .unknownWindow(number, open: all.filter { $0.window.state(at: nowMs) == .open }.map(\.window.number))
      }
      try run("UPDATE enrolment_window SET closed_ms = ?1 WHERE number = ?2 AND closed_ms IS NULL", nowMs, number)
    }
  }

  /// Windows that are open or have ended lately, oldest first.
  /// - Parameter tenant: `nil` = of all tenants.
  package func listWindows(tenant: String?) throws(RegistryError) -> [EnrolmentWindow] {
    if let tenant { _ = try knownTenant(tenant) }
    return try windows().map(\.window).filter { tenant == nil || $0.tenant == tenant }
  }

  /// Enrols a device that shows a code; `give` within the same `together` completes it. The same device, known by its key, loses
  /// the credential that it was given before: its answer may have been lost.
  ///
  /// - Throws: `.unknownCode`, `.codeEnded`, `.deviceRevoked`, `.devicesFull` and others; nothing was changed.
  package func admit(
    _ request: EnrolmentRequest, devicesMax: Int, nowMs: Int64
  ) throws(RegistryError) -> EnrolmentPlace {
    try change { () throws(RegistryError) in
      // Every one is compared, in the same time: how long it takes says nothing about any code.
      var found: EnrolmentWindow?
      for each in try windows() where each.code == request.code { found = each.window }
      guard let window = found else { throw .unknownCode }
      let before = try enrolled(window.number, request.key)
      if before == nil, window.state(at: nowMs) == .used { throw .codeEnded }
      guard window.closedMs == nil, nowMs < window.endsMs else { throw .codeEnded }
      let owner = try knownTenant(window.tenant)
      let (device, id): (UInt32, String)
      if let before {
        (device, id) = (before.device, before.id)
        try refuseRevoked(device, window.tenant, id)
        try forget(selector: before.selector)
      } else {
        id = try freeName(owner, window, request.label)
        device = try insertDevice(owner, id, devicesMax: devicesMax, nowMs)
      }
      return EnrolmentPlace(tenant: window.tenant, id: id, device: device, window: window.number, key: request.key)
    }
  }

  /// Gives an admitted device its credential.
  package func give(_ credential: NewCredential, to place: EnrolmentPlace, nowMs: Int64) throws(RegistryError) {
    precondition(connection.isInTransaction)
    try change { () throws(RegistryError) in
      try insert(credential, place.device, nowMs)
      try note(credential, place, nowMs)
    }
  }

  // MARK: Steps

  private func windows() throws(RegistryError) -> [(code: SecretHash, window: EnrolmentWindow)] {
    do throws(StoreError) {
      let statement = try SQLiteStatement(
        connection,
        """
        SELECT w.code_hash, w.number, t.name, w.name_prefix, w.devices_max,
          (SELECT count(*) FROM enrolment WHERE window = w.number), w.opened_ms, w.ends_ms, w.closed_ms
        FROM enrolment_window w JOIN tenant t ON t.idx = w.tenant ORDER BY w.number
        """)
      var found: [(SecretHash, EnrolmentWindow)] = []
      while try statement.step() {
        let window = EnrolmentWindow(
          number: statement.int64(1), tenant: statement.text(2), namePrefix: statement.text(3),
          devicesMax: Int(clamping: statement.int64(4)), devices: Int(clamping: statement.int64(5)),
          openedMs: statement.int64(6), endsMs: statement.int64(7), closedMs: statement.optional(8))
        found.append((statement.withBytes(0) { SecretHash($0) }, window))
      }
      return found
    } catch {
      throw .store(error)
    }
  }

  /// Whom this window has enrolled under that key, and the credential that it was given.
  private func enrolled(
    _ window: Int64, _ key: SecretHash
  ) throws(RegistryError) -> (device: UInt32, id: String, selector: Int64)? {
    do throws(StoreError) {
      let statement = try SQLiteStatement(
        connection,
        """
        SELECT d.idx, d.id, e.selector FROM enrolment e JOIN device d ON d.idx = e.device
        WHERE e.window = ?1 AND e.key_hash = ?2
        """)
      statement.bind(window, at: 1)
      statement.bind(key.bytes.span, at: 2)
      guard try statement.step() else { return nil }
      return (UInt32(clamping: statement.int64(0)), statement.text(1), statement.int64(2))
    } catch {
      throw .store(error)
    }
  }

  /// The name with the label, or with a number where there is no label or somebody has it already.
  private func freeName(
    _ owner: UInt32, _ window: EnrolmentWindow, _ label: String?
  ) throws(RegistryError) -> String {
    let wanted = window.namePrefix + (label ?? "")
    if label != nil {
      try RegistryStore.check(wanted)
      if try deviceIndex(owner, wanted) == nil { return wanted }
    }
    var number = label == nil ? window.devices + 1 : 2
    while true {
      let name = label == nil ? "\(wanted)\(number)" : "\(wanted)-\(number)"
      try RegistryStore.check(name)
      if try deviceIndex(owner, name) == nil { return name }
      number += 1
    }
  }

  /// The device may have two lost answers to one that arrived: what it has not got is not kept.
  private func forget(selector: Int64) throws(RegistryError) {
    do throws(StoreError) {
      let statement = try SQLiteStatement(connection, "DELETE FROM credential WHERE selector = ?1")
      statement.bind(RegistryStore.blob(UInt64(bitPattern: selector)).span, at: 1)
      try statement.run()
    } catch {
      throw .store(error)
    }
  }

  private func note(_ credential: NewCredential, _ place: EnrolmentPlace, _ nowMs: Int64) throws(RegistryError) {
    do throws(StoreError) {
      let statement = try SQLiteStatement(
        connection,
        """
        INSERT INTO enrolment(window, key_hash, device, selector, enrolled_ms) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT(window, key_hash) DO UPDATE SET selector = ?4
        """)
      statement.bind(place.window, at: 1)
      statement.bind(place.key.bytes.span, at: 2)
      statement.bind(Int64(place.device), at: 3)
      statement.bind(Int64(bitPattern: credential.selector), at: 4)
      statement.bind(nowMs, at: 5)
      try statement.run()
    } catch {
      throw .store(error)
    }
  }
}
