import ArgumentParser
import BenchHarness
import COpenSSL
import Foundation
import GateTLS

/// `records`: TLS 1.3 records of AES-128-GCM, sealed by one end and opened by the other, through the gateway's engine with its
/// own records and with libssl's, and the ciphers alone.
struct Records: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Seal and open TLS records by fixgate, by libssl, and by libcrypto's ciphers alone, in one run.")

  @Option(help: "Rounds; the medians are printed.") var rounds = 15
  @Option(help: "Records a round.") var records = 20_000
  @Option(help: "Connections that take turns; may be repeated.") var connections = [1, 1_000]
  @Option(help: "Bytes of plaintext a record; may be repeated.") var bytes = [100, 1_400]

  func run() throws {
    print("connections  bytes  by                      ns/record   least    most   ratio  allocations/record")
    for connections in connections {
      for bytes in bytes {
        let results = try Records.contest(connections: connections, bytes: bytes, records: records, rounds: rounds)
        for result in results {
          let n = Double(records)
          print(
            pad("\(connections)", 12), pad("\(bytes)", 6), pad(result.name, 25), number(result.medianNs / n, 7),
            number(result.leastNs / n, 7), number(result.mostNs / n, 7), number(result.medianNs / results[0].medianNs, 7),
            number(Double(result.allocations) / n, 8))
        }
      }
    }
  }

  static func contest(connections: Int, bytes: Int, records: Int, rounds: Int) throws -> [Contest.Result] {
    let content = (0..<bytes).map { UInt8(truncatingIfNeeded: $0) }
    let own = try Lines(connections, ownRecords: true)
    let libssl = try Lines(connections, ownRecords: false)
    let keyed = BareCiphers(connections)
    let shared = BareCiphers(1)
    return Contest.run(
      [
        .init("fixgate") { own.send(content, times: records) },
        .init("libssl") { libssl.send(content, times: records) },
        .init("EVP, a context a key") { keyed.send(content, times: records, rekeying: false) },
        .init("EVP, one context re-keyed") { shared.send(content, times: records, rekeying: true) },
      ], rounds: rounds)
  }
}

/// Connections from devices to the gateway, within this process.
final class Lines {
  private final class Line {
    var device: TLSEngine
    var gateway: TLSEngine

    init(_ device: consuming TLSEngine, _ gateway: consuming TLSEngine) {
      self.device = device
      self.gateway = gateway
    }
  }

  private var lines: [Line] = []
  private var room = [UInt8](repeating: 0, count: 20_000)

  init(_ count: Int, ownRecords: Bool) throws {
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
  func seal(_ content: [UInt8], on place: Int) -> [UInt8] {
    do throws(TLSError) { try lines[place].device.write(content.span) } catch { preconditionFailure("\(error)") }
    var record: [UInt8] = []
    lines[place].device.drainOutput(into: &record)
    return record
  }

  /// - Returns: bytes of plaintext that came out of `record[..<count]` at the gateway.
  func open(_ record: [UInt8], _ count: Int, on place: Int) -> Int { Lines.open(record, count, lines[place], &room) }

  private static func open(_ record: [UInt8], _ count: Int, _ line: Line, _ room: inout [UInt8]) -> Int {
    var end = 0
    var span = room.mutableSpan
    do throws(TLSError) {
      _ = try line.gateway.receive(record.span.extracting(..<count), plaintext: &span, at: &end)
    } catch { preconditionFailure("\(error)") }
    return end
  }

  /// Whole records, one connection after the other.
  func send(_ content: [UInt8], times: Int) -> UInt64 {
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

/// libcrypto's ciphers with a nonce that counts, and nothing else: what any record layer over them must cost.
@safe private final class BareCiphers {
  private let contexts: [(sealing: OpaquePointer, opening: OpaquePointer)]
  private let key = [UInt8](repeating: 7, count: 16)
  private let header: [UInt8] = [23, 3, 3, 0, 0]
  private var sealed = [UInt8](repeating: 0, count: 20_000)
  private var opened = [UInt8](repeating: 0, count: 20_000)

  init(_ count: Int) {
    var contexts: [(sealing: OpaquePointer, opening: OpaquePointer)] = unsafe []
    for _ in 0..<count {
      let (sealing, opening) = unsafe (EVP_CIPHER_CTX_new()!, EVP_CIPHER_CTX_new()!)
      unsafe EVP_EncryptInit_ex(sealing, EVP_aes_128_gcm(), nil, key, nil)
      unsafe EVP_DecryptInit_ex(opening, EVP_aes_128_gcm(), nil, key, nil)
      unsafe contexts.append((sealing, opening))
    }
    unsafe self.contexts = unsafe contexts
  }

  deinit {
    for unsafe pair in unsafe contexts {
      unsafe EVP_CIPHER_CTX_free(pair.sealing)
      unsafe EVP_CIPHER_CTX_free(pair.opening)
    }
  }

  func send(_ content: [UInt8], times: Int, rekeying: Bool) -> UInt64 {
    var nonce = [UInt8](repeating: 0, count: 12)
    var tag = [UInt8](repeating: 0, count: 16)
    var sum: UInt64 = 0
    var count: Int32 = 0
    let bytes = Int32(content.count)
    for i in 0..<times {
      let pair = unsafe contexts[i % contexts.count]
      for place in 0..<4 { nonce[11 - place] = UInt8(truncatingIfNeeded: i >> (8 * place)) }
      unsafe EVP_EncryptInit_ex(pair.sealing, nil, nil, rekeying ? key : nil, nonce)
      unsafe EVP_EncryptUpdate(pair.sealing, nil, &count, header, 5)
      unsafe EVP_EncryptUpdate(pair.sealing, &sealed, &count, content, bytes)
      unsafe EVP_EncryptFinal_ex(pair.sealing, &opened, &count)
      unsafe EVP_CIPHER_CTX_ctrl(pair.sealing, EVP_CTRL_AEAD_GET_TAG, 16, &tag)
      unsafe EVP_DecryptInit_ex(pair.opening, nil, nil, rekeying ? key : nil, nonce)
      unsafe EVP_CIPHER_CTX_ctrl(pair.opening, EVP_CTRL_AEAD_SET_TAG, 16, &tag)
      unsafe EVP_DecryptUpdate(pair.opening, nil, &count, header, 5)
      unsafe EVP_DecryptUpdate(pair.opening, &opened, &count, sealed, bytes)
      precondition(unsafe EVP_DecryptFinal_ex(pair.opening, &tag, &count) == 1)
      sum &+= UInt64(opened[content.count - 1])
    }
    return sum
  }
}
