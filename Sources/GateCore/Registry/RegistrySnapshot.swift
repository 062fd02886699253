/// SHA-256 of a token, of a certificate (its fingerprint), or of a pre-shared key.
package struct SecretHash: Sendable, BitwiseCopyable {
  private let words: InlineArray<4, UInt64>

  /// - Parameter bytes: exactly 32 bytes; anything else is a bug of the caller.
  package init(_ bytes: Span<UInt8>) {
    precondition(bytes.count == 32)
    words = InlineArray { bytes.load64(at: $0 &* 8) }
  }

  package init(_ bytes: InlineArray<32, UInt8>) { self.init(bytes.span) }

  package var bytes: InlineArray<32, UInt8> {
    InlineArray { UInt8(truncatingIfNeeded: words[$0 &>> 3] &>> (8 &* UInt64($0 & 7))) }
  }

  /// Compares in a time that does not depend on where the hashes differ.
  package static func == (a: SecretHash, b: SecretHash) -> Bool {
    var difference: UInt64 = 0
    for i in 0..<4 { difference |= a.words[i] ^ b.words[i] }
    return difference == 0
  }
}

extension SecretHash: Equatable {}

/// Tenants, subjects, devices and credentials as they were at one moment. Never changes; readers of any thread share it.
///
/// Indexes are dense, start at 1 and are never given twice; 0 is nobody. Revoked devices and credentials stay, so that their
/// owners hear "revoked" and not "unknown".
package final class RegistrySnapshot: Sendable {
  /// What a credential's selector leads to. It is not proof: the secret's hash must match.
  package struct Candidate: Sendable, BitwiseCopyable, Equatable {
    package let device: UInt32
    package let kind: CredentialKind
    package let secretHash: SecretHash
    /// The credential or its device is revoked.
    package let revoked: Bool
    /// From this moment on it is refused, ms since 1970-01-01 UTC; `.max` = never.
    package let expiresMs: Int64

    package init(
      device: UInt32, kind: CredentialKind = .token, secretHash: SecretHash, revoked: Bool, expiresMs: Int64 = .max
    ) {
      self.device = device
      self.kind = kind
      self.secretHash = secretHash
      self.revoked = revoked
      self.expiresMs = expiresMs
    }
  }

  /// Counts changes of the registry; the same number is the same content.
  package let generation: UInt64
  package let deviceCount: Int
  /// Highest device index ever given, 0 for none: arrays by device need one more entry.
  package let maxDeviceIndex: UInt32

  private let tenantNames: [String]
  private let subjectNames: [String]
  private let devices: [Device]
  private let externalIDs: [String]
  /// Device indexes ordered by tenant, then external id.
  private let byName: [UInt32]
  private let sealedKeys: [UInt64: [UInt8]]
  /// What decides about single fixes.
  package let privacy: PrivacyTable

  // Open addressing over a power of two of slots, at most half of them taken. Selectors are random numbers of our own
  // choosing, so chains stay short whatever a peer asks for.
  private let slots: [Token]
  private let slotMask: Int

  fileprivate struct Device: BitwiseCopyable {
    /// 0 = the index was given to nobody known.
    var tenant: UInt32 = 0
    var revoked = false
  }

  fileprivate struct Token: BitwiseCopyable {
    var selector: UInt64
    /// 0 = an empty slot.
    var device: UInt32
    var kind: CredentialKind
    var revoked: Bool
    var expiresMs: Int64
    var hash: SecretHash
  }

  /// Gathers the content of a snapshot; indexes may come in any order.
  package struct Builder {
    fileprivate var tenantNames = [""]
    fileprivate var subjectNames = [""]
    fileprivate var devices = [Device()]
    fileprivate var externalIDs = [""]
    fileprivate var deviceCount = 0
    fileprivate var tokens: [Token] = []
    fileprivate var sealedKeys: [UInt64: [UInt8]] = [:]
    fileprivate var privacy = PrivacyTable.Builder()

    package init() {}

    package mutating func addTenant(_ index: UInt32, name: String) {
      Builder.grow(&tenantNames, to: index, with: "")
      tenantNames[Int(index)] = name
    }

    package mutating func addSubject(_ index: UInt32, name: String) {
      Builder.grow(&subjectNames, to: index, with: "")
      subjectNames[Int(index)] = name
    }

    /// - Parameter subject: who has always carried the device; 0 = nobody, or whom `assign` says.
    package mutating func addDevice(
      _ index: UInt32, tenant: UInt32, subject: UInt32 = 0, externalID: String, revoked: Bool
    ) {
      precondition(index > 0 && tenant > 0)
      Builder.grow(&devices, to: index, with: Device())
      Builder.grow(&externalIDs, to: index, with: "")
      if devices[Int(index)].tenant == 0 { deviceCount += 1 }
      devices[Int(index)] = Device(tenant: tenant, revoked: revoked)
      if subject != 0 { assign(device: index, subject: subject, sinceMs: .min, untilMs: nil) }
      externalIDs[Int(index)] = externalID
    }

    package mutating func addToken(selector: UInt64, hash: SecretHash, device: UInt32, revoked: Bool) {
      addCredential(selector: selector, Candidate(device: device, secretHash: hash, revoked: revoked))
    }

    package mutating func addCredential(selector: UInt64, _ candidate: Candidate) {
      precondition(candidate.device > 0)
      tokens.append(
        Token(
          selector: selector, device: candidate.device, kind: candidate.kind, revoked: candidate.revoked,
          expiresMs: candidate.expiresMs, hash: candidate.secretHash))
    }

    /// The secret of a key as it is stored: encrypted.
    package mutating func addSealedKey(selector: UInt64, _ sealed: [UInt8]) { sealedKeys[selector] = sealed }

    /// - Parameter untilMs: not included; `nil` = still.
    package mutating func assign(device: UInt32, subject: UInt32, sinceMs: Int64, untilMs: Int64?) {
      privacy.assign(device: device, subject: subject, sinceMs: sinceMs, untilMs: untilMs)
    }

    /// - Parameter untilMs: included; `nil` = open.
    package mutating func addDuty(of owner: DutyOwner, sinceMs: Int64, untilMs: Int64?) {
      privacy.addDuty(of: owner, sinceMs: sinceMs, untilMs: untilMs)
    }

    package mutating func withdraw(_ owner: DutyOwner) { privacy.withdraw(owner) }

    package mutating func addPolicy(_ policy: Policy, tenant: UInt32) { privacy.addPolicy(policy, tenant: tenant) }

    private static func grow<T>(_ array: inout [T], to index: UInt32, with empty: T) {
      while array.count <= Int(index) { array.append(empty) }
    }
  }

  package init(_ builder: consuming Builder, generation: UInt64) {
    self.generation = generation
    deviceCount = builder.deviceCount
    maxDeviceIndex = UInt32(builder.devices.count - 1)
    tenantNames = builder.tenantNames
    subjectNames = builder.subjectNames
    devices = builder.devices
    externalIDs = builder.externalIDs
    sealedKeys = builder.sealedKeys
    privacy = builder.privacy.build()
    let (known, ids) = (builder.devices, builder.externalIDs)
    byName = (1..<UInt32(max(known.count, 1))).filter { known[Int($0)].tenant != 0 }.sorted {
      (known[Int($0)].tenant, ids[Int($0)]) < (known[Int($1)].tenant, ids[Int($1)])
    }
    var capacity = 8
    while capacity < 2 * builder.tokens.count { capacity *= 2 }
    let mask = capacity - 1
    let none = Token(
      selector: 0, device: 0, kind: .token, revoked: false, expiresMs: .max,
      hash: SecretHash(InlineArray<32, UInt8>(repeating: 0)))
    var slots = [Token](repeating: none, count: capacity)
    for token in builder.tokens {
      var at = RegistrySnapshot.slot(token.selector) & mask
      while slots[at].device != 0, slots[at].selector != token.selector { at = (at + 1) & mask }
      var token = token
      token.revoked = token.revoked || Int(token.device) >= devices.count || devices[Int(token.device)].revoked
      slots[at] = token
    }
    self.slots = slots
    slotMask = mask
  }

  /// A registry in which nobody is known.
  package static let empty = RegistrySnapshot(Builder(), generation: 0)

  private static func slot(_ selector: UInt64) -> Int {
    Int(truncatingIfNeeded: (selector &* 0x9e37_79b9_7f4a_7c15) &>> 32)
  }

  /// Finds a credential by its selector (8 bytes, little endian). Allocates nothing.
  package func lookup(selector: UInt64) -> Candidate? {
    var at = RegistrySnapshot.slot(selector) & slotMask
    while slots[at].device != 0 {
      if slots[at].selector == selector {
        let slot = slots[at]
        return Candidate(
          device: slot.device, kind: slot.kind, secretHash: slot.hash, revoked: slot.revoked, expiresMs: slot.expiresMs)
      }
      at = (at &+ 1) & slotMask
    }
    return nil
  }

  /// The encrypted secret of an external key.
  package func sealedKey(selector: UInt64) -> [UInt8]? { sealedKeys[selector] }

  /// Finds a device by its names. Takes the time of a binary search.
  package func device(tenant name: String, id: String) -> UInt32? {
    guard !name.isEmpty, let tenant = tenantNames.firstIndex(of: name).map({ UInt32($0) }) else { return nil }
    var range = byName.startIndex..<byName.endIndex
    while !range.isEmpty {
      let middle = range.lowerBound + range.count / 2
      let index = Int(byName[middle])
      let here = (devices[index].tenant, externalIDs[index])
      if here == (tenant, id) { return byName[middle] }
      range = here < (tenant, id) ? middle + 1..<range.upperBound : range.lowerBound..<middle
    }
    return nil
  }

  /// Whether the index belongs to a device; the other questions about a device answer 0, "" or true for one that is not known.
  package func knows(device: UInt32) -> Bool { Int(device) < devices.count && devices[Int(device)].tenant != 0 }
  package func tenant(ofDevice device: UInt32) -> UInt32 { knows(device: device) ? devices[Int(device)].tenant : 0 }
  /// Who carries the device now; 0 = nobody known.
  package func subject(ofDevice device: UInt32) -> UInt32 { privacy.subject(ofDevice: device, at: nil) }
  package func isRevoked(device: UInt32) -> Bool { !knows(device: device) || devices[Int(device)].revoked }
  /// The name that the operator gave the device; unique within its tenant.
  package func externalID(ofDevice device: UInt32) -> String { knows(device: device) ? externalIDs[Int(device)] : "" }
  /// All tenants.
  package var tenants: [(index: UInt32, name: String)] {
    tenantNames.enumerated().compactMap { $1.isEmpty ? nil : (UInt32($0), $1) }
  }
  package func tenantName(_ tenant: UInt32) -> String { Int(tenant) < tenantNames.count ? tenantNames[Int(tenant)] : "" }
  package func subjectName(_ subject: UInt32) -> String {
    Int(subject) < subjectNames.count ? subjectNames[Int(subject)] : ""
  }
}
