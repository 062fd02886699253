package import GateCore
package import GateStore

extension Configuration {
  /// Where data goes by this configuration.
  package var sinkLabels: [SinkLabel] { [SinkLabel(name: SinkLabel.embedded)] }
}

extension RegistryStore {
  /// - Throws: `EgressError` for the first tenant whose data must not go to one of the sinks; `RegistryError`.
  package func checkEgress(to sinks: [SinkLabel]) throws {
    for entry in try egress() { try entry.egress.check(sinks, tenant: entry.tenant) }
  }
}
