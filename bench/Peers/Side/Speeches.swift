import BenchFleet

/// The plain server's protocol: each message behind its length as a varint, a token first; an answer is the number of
/// messages committed since the last one, as a varint. Like fixgate's, without a session.
struct PlainSpeech: PeerProtocol {
  let token: [UInt8]

  mutating func greet(into out: inout [UInt8]) {
    Varint.append(token.count, into: &out)
    out += token
  }

  mutating func wrap(_ content: [UInt8], number: Int, into out: inout [UInt8]) {
    Varint.append(content.count, into: &out)
    out += content
  }

  /// The first answer, 0, is to the token.
  mutating func take(_ bytes: [UInt8], at: inout Int) throws(FleetError) -> PeerAnswer? {
    guard let count = Varint.take(bytes, at: &at) else { return nil }
    return count == 0 ? .ready : .acked(count)
  }
}

/// MQTT 3.1.1, QoS 1.
struct MQTTSpeech: PeerProtocol {
  let client: String
  /// A session that outlives its connection, for the consumer; devices begin anew.
  var keepsSession = false
  /// What is subscribed to instead of publishing.
  var subscription: String?

  static let topic = "fix"

  mutating func greet(into out: inout [UInt8]) {
    var body: [UInt8] = [0, 4] + Array("MQTT".utf8) + [4, keepsSession ? 0 : 2, 0, 0]
    MQTTSpeech.append(client, into: &body)
    MQTTSpeech.packet(0x10, body, into: &out)
    guard let subscription else { return }
    body = [0, 1]
    MQTTSpeech.append(subscription, into: &body)
    MQTTSpeech.packet(0x82, body + [1], into: &out)
  }

  mutating func wrap(_ content: [UInt8], number: Int, into out: inout [UInt8]) {
    var body: [UInt8] = []
    MQTTSpeech.append("\(MQTTSpeech.topic)/\(client)", into: &body)
    let id = (number - 1) % 65_535 + 1
    body += [UInt8(id >> 8), UInt8(id & 0xFF)]
    MQTTSpeech.packet(0x32, body + content, into: &out)
  }

  mutating func take(_ bytes: [UInt8], at: inout Int) throws(FleetError) -> PeerAnswer? {
    var end = at + 1
    guard at < bytes.count, let length = Varint.take(bytes, at: &end), end + length <= bytes.count else { return nil }
    let (kind, body) = (bytes[at] >> 4, Array(bytes[end..<end + length]))
    at = end + length
    switch kind {
    case 2:
      guard body.count == 2, body[1] == 0 else { throw .conversation("mosquitto refuses the connection: \(body)") }
      return subscription == nil ? .ready : .nothing
    case 4: return .acked(1)
    // SUBACK: the one message that the consumer's device waits for.
    case 9: return .acked(1)
    default: return .nothing
    }
  }

  private static func append(_ text: String, into out: inout [UInt8]) {
    out += [UInt8(text.utf8.count >> 8), UInt8(text.utf8.count & 0xFF)] + Array(text.utf8)
  }

  private static func packet(_ head: UInt8, _ body: [UInt8], into out: inout [UInt8]) {
    out.append(head)
    Varint.append(body.count, into: &out)
    out += body
  }
}

/// NATS with JetStream: every message is published with a reply address, where the stream's own ack comes.
struct NATSSpeech: PeerProtocol {
  let client: Int
  /// Makes the stream instead of publishing into it.
  var makesStream = false

  static let stream = "FIXES"

  mutating func greet(into out: inout [UInt8]) {
    out += Array("CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":true}\r\nSUB _INBOX.\(client) 1\r\nPING\r\n".utf8)
    guard makesStream else { return }
    let body =
      "{\"name\":\"\(NATSSpeech.stream)\",\"subjects\":[\"fix.>\"],\"storage\":\"file\",\"retention\":\"limits\",\"max_age\":0,\"num_replicas\":1}"
    out += Array("PUB $JS.API.STREAM.CREATE.\(NATSSpeech.stream) _INBOX.\(client) \(body.utf8.count)\r\n\(body)\r\n".utf8)
  }

  mutating func wrap(_ content: [UInt8], number: Int, into out: inout [UInt8]) {
    out += Array("PUB fix.\(client) _INBOX.\(client) \(content.count)\r\n".utf8) + content + [13, 10]
  }

  mutating func take(_ bytes: [UInt8], at: inout Int) throws(FleetError) -> PeerAnswer? {
    guard let end = bytes[at...].firstIndex(of: 10) else { return nil }
    let line = String(decoding: bytes[at..<max(at, end - 1)], as: UTF8.self)
    if line.hasPrefix("-ERR") { throw .conversation("nats-server: \(line)") }
    guard line.hasPrefix("MSG "), let length = line.split(separator: " ").last.flatMap({ Int($0) }) else {
      at = end + 1
      return line == "PONG" && !makesStream ? .ready : .nothing
    }
    guard end + 1 + length + 2 <= bytes.count else { return nil }
    let body = String(decoding: bytes[end + 1..<end + 1 + length], as: UTF8.self)
    at = end + 1 + length + 2
    guard !body.contains("\"error\"") else { throw .conversation("nats-server: \(body)") }
    return .acked(1)
  }
}

/// Seven bits a byte, the lowest first: protobuf's and MQTT's.
enum Varint {
  static func append(_ value: Int, into out: inout [UInt8]) {
    var rest = value
    while rest > 0x7F {
      out.append(UInt8(rest & 0x7F) | 0x80)
      rest >>= 7
    }
    out.append(UInt8(rest))
  }

  /// - Returns: `nil` when its end is not there yet.
  static func take(_ bytes: [UInt8], at: inout Int) -> Int? {
    var (value, shift, place) = (0, 0, at)
    while place < bytes.count, shift < 35 {
      value |= Int(bytes[place] & 0x7F) << shift
      place += 1
      if bytes[place - 1] & 0x80 == 0 {
        at = place
        return value
      }
      shift += 7
    }
    return nil
  }
}
