import GateCore
import GateStore
import Testing

@Suite struct EnrolmentStoreTests {
  private let directory: TemporaryDirectory
  private let path: String

  init() throws {
    directory = try TemporaryDirectory()
    path = directory.file("registry.db")
    let store = try RegistryStore(path: path)
    _ = try store.createTenant("demo", nowMs: 1)
    _ = try store.createTenant("other", nowMs: 1)
  }

  private func hash(_ byte: UInt8) -> SecretHash { SecretHash(InlineArray<32, UInt8>(repeating: byte)) }

  /// As the gateway does it.
  /// - Returns: `tenant/device`.
  private func enrol(
    _ store: borrowing RegistryStore, code: UInt8, key: UInt8, label: String? = nil, selector: UInt64, devicesMax: Int = 99,
    nowMs: Int64 = 20
  ) throws -> String {
    try store.together {
      let place = try store.admit(
        EnrolmentRequest(code: hash(code), key: hash(key), label: label), devicesMax: devicesMax, nowMs: nowMs)
      try store.give(.token(selector: selector, hash: hash(key)), to: place, nowMs: nowMs)
      return place.tenant + "/" + place.id
    }
  }

  private func open(
    _ store: borrowing RegistryStore, code: UInt8, devices: Int = 1, tenant: String = "demo", prefix: String = "p-",
    endsMs: Int64 = 100, nowMs: Int64 = 10
  ) throws -> Int64 {
    try store.openWindow(
      tenant: tenant, code: hash(code), namePrefix: prefix, devicesMax: devices, endsMs: endsMs, nowMs: nowMs)
  }

  @Test func aWindowLetsInAsManyAsItIsFor() throws {
    let store = try RegistryStore(path: path)
    _ = try open(store, code: 1, devices: 2)
    #expect(try enrol(store, code: 1, key: 1, selector: 1) == "demo/p-1")
    #expect(try enrol(store, code: 1, key: 2, label: "x", selector: 2) == "demo/p-x")
    let generation = try store.generation()
    #expect(throws: RegistryError.codeEnded) { try enrol(store, code: 1, key: 3, selector: 3) }
    #expect(try store.generation() == generation)
    #expect(try store.listWindows(tenant: "demo").map { $0.state(at: 20) } == [.used])
    #expect(try store.listDevices(tenant: "demo").map(\.id) == ["p-1", "p-x"])
  }

  @Test func theSameKeyIsTheSameDevice() throws {
    let store = try RegistryStore(path: path)
    _ = try open(store, code: 1)
    _ = try enrol(store, code: 1, key: 1, selector: 1)
    for selector in 2...5 as ClosedRange<UInt64> {
      #expect(try enrol(store, code: 1, key: 1, selector: selector, nowMs: 99) == "demo/p-1")
    }
    let snapshot = try store.loadSnapshot()
    // Of all that were given it holds the last, so a device that asks for ever fills nothing.
    #expect((1...5).filter { snapshot.lookup(selector: $0) != nil } == [5])
    #expect(snapshot.deviceCount == 1)
    // Behind the end not even the same device.
    #expect(throws: RegistryError.codeEnded) { try enrol(store, code: 1, key: 1, selector: 6, nowMs: 100) }
    _ = try store.revokeDevice(tenant: "demo", id: "p-1", nowMs: 30)
    #expect(throws: RegistryError.deviceRevoked(tenant: "demo", id: "p-1")) {
      try enrol(store, code: 1, key: 1, selector: 7, nowMs: 40)
    }
  }

  @Test func otherCodesOpenNothing() throws {
    let store = try RegistryStore(path: path)
    let closed = try open(store, code: 1)
    try store.closeWindow(closed, nowMs: 15)
    try store.closeWindow(closed, nowMs: 16)
    _ = try open(store, code: 2, endsMs: 12)
    _ = try open(store, code: 3, tenant: "other")
    for (code, error) in [(1, RegistryError.codeEnded), (2, .codeEnded), (4, .unknownCode)] as [(UInt8, RegistryError)] {
      #expect(throws: error) { try enrol(store, code: code, key: 1, selector: 1) }
    }
    #expect(try store.loadSnapshot().deviceCount == 0)
    // A code leads to its own tenant, and one device's key means nothing in another's window.
    #expect(try enrol(store, code: 3, key: 1, selector: 1) == "other/p-1")
    _ = try open(store, code: 5)
    #expect(try enrol(store, code: 5, key: 1, selector: 2) == "demo/p-1")
    #expect(throws: RegistryError.unknownWindow(9, open: [])) { try store.closeWindow(9, nowMs: 20) }
    #expect(try store.listWindows(tenant: nil).map { $0.state(at: 20) } == [.closed, .ended, .used, .used])
  }

  @Test func namesThatAreTakenGetANumber() throws {
    let store = try RegistryStore(path: path)
    _ = try store.addDevice(tenant: "demo", id: "p-1", credential: .token(selector: 90, hash: hash(9)), nowMs: 1)
    _ = try store.addDevice(tenant: "demo", id: "p-x", credential: .token(selector: 91, hash: hash(9)), nowMs: 1)
    _ = try open(store, code: 1, devices: 9)
    #expect(try enrol(store, code: 1, key: 1, selector: 1) == "demo/p-2")
    #expect(try enrol(store, code: 1, key: 2, label: "x", selector: 2) == "demo/p-x-2")
    #expect(try enrol(store, code: 1, key: 3, label: "x", selector: 3) == "demo/p-x-3")
    for (label, name) in [("a b", "p-a b"), ("\u{e4}", "p-\u{e4}"), ("a/b", "p-a/b")] {
      #expect(throws: RegistryError.invalidName(name)) {
        try enrol(store, code: 1, key: 4, label: label, selector: 4)
      }
    }
  }

  @Test func thereIsAnEndToThem() throws {
    let store = try RegistryStore(path: path)
    _ = try open(store, code: 1, devices: 2)
    _ = try enrol(store, code: 1, key: 1, selector: 1, devicesMax: 1)
    #expect(throws: RegistryError.devicesFull(max: 1)) {
      try enrol(store, code: 1, key: 2, selector: 2, devicesMax: 1)
    }
    #expect(try store.listDevices(tenant: nil).count == 1)
    for _ in 1..<Limits.enrolmentWindowsMax { _ = try open(store, code: 7) }
    #expect(throws: RegistryError.tooManyWindows) { try open(store, code: 8) }
    // Those that ended long ago make room; their devices stay.
    _ = try open(store, code: 8, nowMs: 101 + Limits.enrolmentMemoryMs)
    #expect(try store.listWindows(tenant: nil).count == 1)
    #expect(try store.listDevices(tenant: nil).count == 1)
  }

  @Test func togetherIsAllOrNothing() throws {
    struct Stop: Error {}
    let store = try RegistryStore(path: path)
    let generation = try store.generation()
    #expect(throws: Stop.self) {
      try store.together {
        _ = try store.createTenant("third", nowMs: 5)
        throw Stop()
      }
    }
    #expect(try store.generation() == generation)
    try store.together { _ = try store.createTenant("third", nowMs: 5) }
    #expect(try store.generation() > generation)
    #expect(try store.listTenants().map(\.name) == ["demo", "other", "third"])
  }
}
