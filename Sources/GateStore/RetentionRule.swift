/// What is to go of one tenant's data by its policy, and what holds keep of it.
package struct RetentionRule: Equatable, Sendable {
  /// Its name.
  package var tenant: String
  package var days: RetentionDays
  package var cut: RetentionCut
  /// Whom the holds of `cut` are about, in their order.
  package var held: [OwnerNames]

  package init(tenant: String, days: RetentionDays, cut: RetentionCut, held: [OwnerNames]) {
    self.tenant = tenant
    self.days = days
    self.cut = cut
    self.held = held
  }

  /// Of every tenant, by the policies and holds in force.
  package static func all(
    _ registry: borrowing RegistryStore, _ book: borrowing SubjectBook, nowMs: Int64
  ) throws(StoreError) -> [RetentionRule] {
    var rules: [RetentionRule] = []
    for (index, name, days) in try registry.retention() {
      let holds = try book.holds(tenant: index).map(\.target)
      var held: [OwnerNames] = []
      for hold in holds { held.append(try registry.allNames(of: hold)) }
      rules.append(
        RetentionRule(
          tenant: name, days: days, cut: RetentionCut(tenant: index, days: days, holds: holds, nowMs: nowMs), held: held))
    }
    return rules
  }
}

/// One kind of datum of one tenant.
package struct RetentionState: Codable, Equatable, Sendable {
  package var oldest_ms: Int64?
  /// Past their time: not deleted yet, and kept by a hold.
  package var overdue = 0
  package var held = 0

  package init() {}
}

/// The kinds of which a store holds rows.
package struct RetentionStates: Equatable, Sendable {
  package var positions = RetentionState()
  package var events = RetentionState()
  package var quarantine = RetentionState()

  package init() {}

  package init(positions: RetentionState, events: RetentionState, quarantine: RetentionState) {
    self.positions = positions
    self.events = events
    self.quarantine = quarantine
  }
}
