/// Where a tenant's data may lie and go.
package struct TenantEgress: Equatable, Sendable {
  /// Data goes only to sinks of this region.
  package var region = SinkLabel.localRegion
  /// Names of the sinks that it may go to; none else gets any.
  package var sinks = [SinkLabel.embedded]

  package init() {}
  package init(region: String, sinks: [String]) {
    self.region = region
    self.sinks = sinks
  }
}

/// What an operator says about a sink: where it is and what for.
package struct SinkLabel: Equatable, Sendable {
  /// The default of sinks and tenants alike: on this machine, and no more is said.
  package static let localRegion = "local"
  /// The name of the embedded store.
  package static let embedded = "sqlite"

  package var name: String
  package var region: String
  package var purpose: String

  package init(name: String, region: String = SinkLabel.localRegion, purpose: String = "operations") {
    self.name = name
    self.region = region
    self.purpose = purpose
  }
}

/// A tenant whose data would go where it must not. Nothing may be sent there.
package enum EgressError: Error, Equatable, Sendable {
  case region(tenant: String, allowed: String, sink: String, region: String)
  case notListed(tenant: String, sink: String, listed: [String])
}

extension TenantEgress {
  /// - Throws: the first sink that must not have the tenant's data.
  package func check(_ sinks: [SinkLabel], tenant: String) throws(EgressError) {
    for sink in sinks {
      guard sink.region == region else {
        throw .region(tenant: tenant, allowed: region, sink: sink.name, region: sink.region)
      }
      guard self.sinks.contains(sink.name) else { throw .notListed(tenant: tenant, sink: sink.name, listed: self.sinks) }
    }
  }
}

extension EgressError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .region(let tenant, let allowed, let sink, let region):
      "data of tenant '\(tenant)' may lie in region '\(allowed)' only, but sink '\(sink)' is in '\(region)': take the sink out of the "
        + "configuration or correct its region; or, if the tenant agrees, 'fixgate tenant egress \(tenant) --region \(region)'"
    case .notListed(let tenant, let sink, let listed):
      "sink '\(sink)' is not on the list of tenant '\(tenant)' (\(listed.isEmpty ? "nothing is" : listed.joined(separator: ", "))): "
        + "take the sink out of the configuration; or, if the tenant agrees, "
        + "'fixgate tenant egress \(tenant) --sink \((listed + [sink]).joined(separator: " --sink "))'"
    }
  }
}
