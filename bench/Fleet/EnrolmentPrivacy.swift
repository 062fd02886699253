import GateCore
import GateStore
import Gateway

/// What a tenant promises its people, set before a gateway is made from the enrolment.
extension Enrolment {
  private func registry() throws -> RegistryStore { try RegistryStore(path: folder + "/data/" + GatewayServer.registryName) }

  /// Each device is carried by a subject of its own, for all time.
  package func assignSubjects() throws {
    let registry = try registry()
    for i in 0..<tokens.count {
      try registry.addSubject(tenant: "demo", name: "s-\(i)", nowMs: 1)
      try registry.assign(tenant: "demo", id: "bench-\(i)", subject: "s-\(i)", sinceMs: 0)
    }
  }

  /// Subjects whom nobody has to do with, each with a key.
  package func addSubjects(_ count: Int) throws {
    let registry = try registry()
    for i in 0..<count { try registry.addSubject(tenant: "demo", name: "idle-\(i)", nowMs: 1) }
  }

  /// Duty by calendar, in a zone with summer time: every hour of every day, so that all is stored.
  package func setCalendar() throws {
    let day = DutyCalendar.minutesOfDay
    var policy = Policy()
    policy.duty = .calendar
    policy.calendar = DutyCalendar(
      zone: "Europe/Berlin",
      slots: (0..<7).flatMap { weekday in
        [0, day / 2].map { DutyCalendar.Slot(firstMinute: weekday * day + $0, endMinute: weekday * day + $0 + day / 2) }
      },
      days: [], offsets: (0..<40).map { DutyCalendar.Offset(sinceMs: $0 * 15_778_800_000, offsetS: $0 % 2 == 0 ? 3_600 : 7_200) })
    _ = try registry().setPolicy(tenant: "demo", policy, nowMs: 1)
  }
}
