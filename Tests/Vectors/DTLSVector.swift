import Foundation

/// One session of `dtls-cid.txt`: its keys, and every protected record of it both ways.
package struct DTLSVector: Sendable, CustomStringConvertible {
  package struct Record: Sendable {
    package let isFromServer: Bool
    /// Of the content; the record itself may be 25.
    package let type: UInt8
    package let bytes: [UInt8]
    package let content: [UInt8]
  }

  package let client: String
  /// By the client's own name for it.
  package let suite: String
  package let serverCID: [UInt8]
  package let clientCID: [UInt8]
  package let masterSecret: [UInt8]
  package let clientRandom: [UInt8]
  package let serverRandom: [UInt8]
  /// Client key, server key, client IV, server IV.
  package let keyBlock: [UInt8]
  package let records: [Record]

  package var description: String { "\(client), \(suite), client CID of \(clientCID.count)" }

  package static let all: [DTLSVector] = {
    let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "dtls-cid.txt")
    guard let text = try? String(contentsOf: file, encoding: .utf8) else { preconditionFailure("dtls-cid.txt is missing") }
    let lines = text.split(separator: "\n").filter { !$0.hasPrefix("#") }
    let starts = lines.indices.filter { lines[$0].hasPrefix("client: ") } + [lines.endIndex]
    return zip(starts, starts.dropFirst()).map { DTLSVector(lines: lines[$0..<$1]) }
  }()

  private init(lines: ArraySlice<Substring>) {
    var values: [String: String] = [:]
    var records: [Record] = []
    for line in lines {
      if line.hasPrefix("c2s ") || line.hasPrefix("s2c ") {
        let fields = line.split(separator: " ").dropFirst().map { $0.split(separator: "=").last.map(String.init) ?? "" }
        guard fields.count == 3, let type = UInt8(fields[0]), let bytes = hexBytes(fields[1]),
          let content = hexBytes(fields[2])
        else { preconditionFailure("not a record: \(line)") }
        records.append(Record(isFromServer: line.hasPrefix("s2c"), type: type, bytes: bytes, content: content))
      } else if let colon = line.firstIndex(of: ":") {
        values[String(line[..<colon])] = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
      }
    }
    func hex(_ name: String) -> [UInt8] {
      guard let bytes = values[name].flatMap(hexBytes) else { preconditionFailure("\(name) is missing") }
      return bytes
    }
    client = values["client"] ?? ""
    suite = values["suite"] ?? ""
    serverCID = hex("server_cid")
    clientCID = hex("client_cid")
    masterSecret = hex("master")
    clientRandom = hex("client_random")
    serverRandom = hex("server_random")
    keyBlock = hex("client_write_key") + hex("server_write_key") + hex("client_write_iv") + hex("server_write_iv")
    self.records = records
  }
}
