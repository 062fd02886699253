import GateCore
import GateMemory
import Testing

@Suite struct LimiterTableTests {
  private let now = Instant(ns: 1_000_000_000)

  private func table(tenant: UInt64? = nil, gateway: UInt64? = nil) -> LimiterTable {
    LimiterTable(
      settings: LimiterTable.Settings(
        lanes: [GCRA(perSecond: 10, burst: 100), GCRA(perSecond: 10, burst: 1_000), GCRA(perSecond: 1, burst: 5)],
        tenant: tenant.map { GCRA(perSecond: $0, burst: $0) },
        gateway: gateway.map { GCRA(perSecond: $0, burst: $0) }),
      devices: 10, tenants: 4)
  }

  private func isGranted(_ table: LimiterTable, _ device: UInt32, tenant: UInt32 = 1, lane: Int = 0, _ units: Int) -> Bool {
    table.charge(device: device, tenant: tenant, lane: lane, units: units, at: now) == .granted
  }

  @Test func lanesAndDevicesAreApart() {
    let table = table()
    #expect(isGranted(table, 1, 100))
    #expect(!isGranted(table, 1, 1))
    #expect(isGranted(table, 1, lane: 1, 1_000))
    #expect(isGranted(table, 1, lane: 2, 5))
    #expect(isGranted(table, 2, 100))
  }

  @Test func duplicatesAreGivenBack() {
    let table = table()
    #expect(isGranted(table, 1, 100))
    table.refund(device: 1, lane: 0, units: 30)
    #expect(!isGranted(table, 1, 31))
    #expect(isGranted(table, 1, 30))
  }

  /// What a ceiling refuses costs the device and the tenant nothing.
  @Test func ceilingsTakeAllOrNothing() {
    let table = table(tenant: 150, gateway: 200)
    #expect(isGranted(table, 1, 100))
    #expect(!isGranted(table, 2, 60))
    #expect(isGranted(table, 2, 50))
    #expect(!isGranted(table, 3, tenant: 2, 60))
    #expect(isGranted(table, 3, tenant: 2, 50))
    #expect(!isGranted(table, 4, tenant: 3, 1))
    #expect(isGranted(table, 4, tenant: 3, lane: 2, 5), "panic knows no ceiling")
  }

  @Test func knowsWhatItCovers() {
    let table = table()
    #expect(table.covers(device: 10, tenant: 4))
    #expect(!table.covers(device: 11, tenant: 1))
    #expect(!table.covers(device: 1, tenant: 5))
  }
}
