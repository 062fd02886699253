import BenchHarness
import Foundation
import GateMemory
import GateTLS

/// Connections from devices to the gateway, within this process.
package final class Lines {
  private final class Line {
    var gateway: TLSEngine
    var device: TLSEngine

    init(_ device: consuming TLSEngine, _ gateway: consuming TLSEngine) {
      self.device = device
      self.gateway = gateway
    }
  }

  private var lines: [Line] = []
  private var room = [UInt8](repeating: 0, count: 20_000)
  private var sealed: [[UInt8]] = []

  package init(_ count: Int, ownRecords: Bool) throws {
    let nowS = Int64(Date().timeIntervalSince1970)
    let authority = try DevelopmentCA.make(nowS: nowS)
    let server = try TLSServerContext(
      identity: authority.serverIdentity(nowS: nowS), ticketKeys: randomBytes(TLSServerContext.ticketKeyBytes),
      ownRecords: ownRecords)
    let client = try TLSClientContext(authorityPEM: authority.certificatePEM, ownRecords: ownRecords)
    let cipher = try ThreadCipher()
    for _ in 0..<count {
      let line = Line(try TLSEngine(client: client, serverName: "localhost"), try TLSEngine(server: server))
      while line.device.outputCount > 0 || line.gateway.outputCount > 0 {
        _ = Lines.carry(&line.device, &line.gateway, &room)
        _ = Lines.carry(&line.gateway, &line.device, &room)
      }
      if ownRecords {
        guard try line.device.letGo(to: cipher), try line.gateway.letGo(to: cipher) else { throw TLSError.notOpen }
      }
      lines.append(line)
    }
  }

  /// A record of a device's.
  package func seal(_ content: [UInt8], on place: Int) -> [UInt8] {
    do throws(TLSError) { try lines[place].device.write(content.span) } catch { preconditionFailure("\(error)") }
    var record: [UInt8] = []
    lines[place].device.drainOutput(into: &record)
    return record
  }

  /// As the gateway's worker, before it reads the connection's socket.
  package func prefetch(_ place: Int) { GateMemory.prefetch(lines[place], bytes: 256) }
  /// And behind that.
  package func prefetchKeys(_ place: Int) { lines[place].gateway.prefetchKeys() }

  /// - Returns: bytes of plaintext that came out of `bytes[range]` at the gateway.
  package func open(_ bytes: [UInt8], _ range: Range<Int>, on place: Int) -> Int { Lines.open(bytes, range, lines[place], &room) }

  private static func open(_ bytes: [UInt8], _ range: Range<Int>, _ line: Line, _ room: inout [UInt8]) -> Int {
    var end = 0
    var span = room.mutableSpan
    do throws(TLSError) {
      _ = try line.gateway.receive(bytes.span.extracting(range), plaintext: &span, at: &end)
    } catch { preconditionFailure("\(error)") }
    return end
  }

  /// Seals records for `openPrepared`, one connection after the other.
  func prepare(_ content: [UInt8], times: Int) {
    sealed.removeAll(keepingCapacity: true)
    for i in 0..<times { sealed.append(seal(content, on: i % lines.count)) }
  }

  /// - Returns: bytes of plaintext.
  func openPrepared() -> UInt64 {
    var bytes = 0
    for i in sealed.indices { bytes += open(sealed[i], sealed[i].indices, on: i % lines.count) }
    return UInt64(bytes)
  }

  /// Whole records, one connection after the other.
  package func send(_ content: [UInt8], times: Int) -> UInt64 {
    var sum: UInt64 = 0
    for i in 0..<times {
      let line = lines[i % lines.count]
      do throws(TLSError) { try line.device.write(content.span) } catch { preconditionFailure("\(error)") }
      precondition(Lines.carry(&line.device, &line.gateway, &room) == content.count)
      sum &+= UInt64(room[content.count - 1])
    }
    return sum
  }

  /// - Returns: bytes of plaintext that came out, which are in `room`.
  private static func carry(_ from: inout TLSEngine, _ to: inout TLSEngine, _ room: inout [UInt8]) -> Int {
    var end = 0
    var span = room.mutableSpan
    _ = from.drain { output in
      do throws(TLSError) { _ = try to.receive(output, plaintext: &span, at: &end) } catch {
        preconditionFailure("\(error)")
      }
      return output.count
    }
    return end
  }
}
