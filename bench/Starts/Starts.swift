import BenchFleet
package import GateCore
import GateNet
import GateTLS

/// Every way in which a device begins to talk, over real sockets with the real gateway, one after the other.
package enum Starts {
  /// - Parameters:
  ///   - fixes: one is sent each time.
  ///   - folder: on the disk to use.
  package static func run(fixes: [Fix], in folder: String) throws -> [Start] {
    let enrolment = try Enrolment(devices: 2)
    let key = try enrolment.addPreSharedKey("starts")
    return try overUDP(enrolment, key, fixes, folder) + overTCP(enrolment, fixes, folder)
  }

  private static func overUDP(
    _ enrolment: Enrolment, _ key: (identity: [UInt8], key: [UInt8]), _ fixes: [Fix], _ folder: String
  ) throws -> [Start] {
    let gateway = try GatewayProcess(enrolment, in: folder, transport: .dtls, workers: 1)
    var starts: [Start] = []
    func both(_ name: String, _ context: DTLSClientContext, token: [UInt8]) throws {
      let device = try Starter(token: token, fixes: fixes)
      let link = try DTLSLink(
        to: gateway.address, context: context, serverName: "localhost", at: SystemClock.now())
      _ = device.record()
      starts.append(try device.start("DTLS 1.2, full handshake, \(name)", over: link))
      _ = device.record()
      starts.append(try device.wake("DTLS 1.2, connection ID after sleep, \(name)", over: link))
    }
    try both(
      "PSK, CCM-8", DTLSClientContext(identity: key.identity, key: key.key, suites: [.pskAES128CCM8]), token: [])
    try both(
      "ECDSA, GCM, token",
      DTLSClientContext(authorityPEM: enrolment.authorityPEM, identity: nil, suites: [.ecdheECDSAAES128GCM]),
      token: enrolment.tokens[0])
    try gateway.stop()
    return starts
  }

  private static func overTCP(_ enrolment: Enrolment, _ fixes: [Fix], _ folder: String) throws -> [Start] {
    let gateway = try GatewayProcess(enrolment, in: folder, transport: .tls, workers: 1)
    let context = try TLSClientContext(authorityPEM: enrolment.authorityPEM)
    let device = try Starter(token: enrolment.tokens[1], fixes: fixes)
    var starts: [Start] = []
    var ticket: [UInt8]? = nil
    for (name, resumes, isEarly) in [
      ("full handshake, token", false, false), ("resumed by ticket", true, false), ("resumed, early data", true, true),
    ] {
      let bytesMax = isEarly ? TLSEngine.earlyDataBytesMax(of: ticket ?? [], to: "localhost") : 0
      let early = device.record(earlyBytesMax: bytesMax)
      guard !isEarly || !early.isEmpty else { throw FleetError.conversation("the ticket allows no early data") }
      let link = try TLSLink(
        to: gateway.address, context: context, serverName: "localhost", ticket: ticket, earlyData: early)
      starts.append(try device.start("TLS 1.3, \(name)", over: link))
      guard link.isResumed == resumes, link.tookEarlyData == isEarly else {
        throw FleetError.conversation("\(name): the gateway did not take the ticket")
      }
      // A gateway remembers no tickets, so one will do for both.
      if ticket == nil { ticket = try device.awaitTicket(link, serverName: "localhost") }
      link.close()
    }
    try gateway.stop()
    return starts
  }
}
