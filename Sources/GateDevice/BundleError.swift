/// Why a text is not a bundle. Lines count from 1. Ask the operator of the gateway for a new bundle.
package enum BundleError: Error, Equatable, Sendable {
  /// The first line is not `fixgate-bundle: 1`.
  case notBundle
  /// Written for a newer version of fixgate.
  case newer(version: UInt32)
  /// Not `key: value`, nor a part of a certificate.
  case badLine(line: Int)
  case unknownKey(line: Int)
  case repeated(Bundle.Key, line: Int)
  case badValue(Bundle.Key, line: Int)
  case missing(Bundle.Key)
  /// The certificates are cut off or not PEM.
  case badCertificate(line: Int)
}

extension BundleError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .notBundle: "it does not begin with 'fixgate-bundle: 1'; ask the operator of the gateway for the device's bundle"
    case .newer(let version): "it is of version \(version), newer than this fixgate: install a newer one"
    case .badLine(let line): "line \(line) is neither 'key: value' nor part of a certificate"
    case .unknownKey(let line):
      "line \(line) has a key that this fixgate does not know; the keys are "
        + Bundle.Key.allCases.filter { $0 != .certificate }.map(\.rawValue).joined(separator: ", ")
        + ". It may have been written by a newer fixgate"
    case .repeated(let key, let line): "line \(line) says '\(key.rawValue)' a second time"
    case .badValue(let key, let line): "line \(line): that is no value for '\(key.rawValue)'; take the bundle as it was written"
    case .missing(.token):
      "it has no token, psk or client-certificate, so the device cannot prove itself: ask the operator for a new one"
    case .missing(let key): "it has no '\(key.rawValue)': ask the operator for a new one"
    case .badCertificate(let line): "line \(line): the certificates are cut off or not PEM; take the bundle as it was written"
    }
  }
}
