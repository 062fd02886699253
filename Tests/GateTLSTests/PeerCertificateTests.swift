import GateTLS
import Testing

@Suite struct PeerCertificateTests {
  private func server(_ authorities: ClientAuthorities?) throws -> TLSServerContext {
    try TLSServerContext(
      identity: Fixture.identity.get(), ticketKeys: Fixture.ticketKeys, proof: ClientProof(authorities: authorities))
  }

  private func client(_ identity: TLSIdentity?) throws -> TLSClientContext {
    try TLSClientContext(authorityPEM: Fixture.authority.get().certificatePEM, identity: identity)
  }

  @Test func theCertificateNamesItsDevice() throws {
    let (one, two) = try (DevelopmentCA.make(nowS: realNowS), DevelopmentCA.make(nowS: realNowS))
    let authorities = try ClientAuthorities([("demo", one.certificatePEM), (nil, two.certificatePEM)])
    let identity = try one.deviceIdentity(tenant: "demo", device: "bike-1", nowS: realNowS)
    var pair = try Pair(server: server(authorities), client: client(identity))
    try pair.settle()
    let peer = try pair.peer(authorities)
    #expect(peer.tenant == "demo" && peer.device == "bike-1")
    #expect(peer.tenants == ["demo"] && !peer.anyTenant)
    #expect(peer.fingerprint == (try PeerCertificate.leaf(of: identity.certificatePEM)).fingerprint)
    // A ticket brings the certificate along; the authorities in force now judge it anew.
    let ticket = try pair.ticket()
    var resumed = try Pair(server: server(authorities), client: client(nil), ticket: ticket)
    try resumed.settle()
    #expect(resumed.server.isResumed && resumed.server.peerCertificate(authorities) == peer)
    let onlyTwo = try ClientAuthorities([(nil, two.certificatePEM)])
    #expect(resumed.server.peerCertificate(onlyTwo)?.tenants == [])
    // Where another authority is configured, the ticket is not even taken.
    var refused = try Pair(server: server(onlyTwo), client: client(nil), ticket: ticket)
    do { try refused.settle() } catch {}
    #expect(!refused.server.isResumed || !refused.server.isEstablished)
  }

  @Test func strangersAndServersAreRefused() throws {
    let (known, stranger) = try (DevelopmentCA.make(nowS: realNowS), DevelopmentCA.make(nowS: realNowS))
    let authorities = try ClientAuthorities([("demo", known.certificatePEM)])
    let bad = try [
      stranger.deviceIdentity(tenant: "demo", device: "bike-1", nowS: realNowS),
      // Meant for servers: it proves no device.
      known.serverIdentity(nowS: realNowS),
      // Ended ten years ago.
      known.deviceIdentity(tenant: "demo", device: "bike-1", nowS: realNowS - 3_650 * 86_400),
    ]
    for identity in bad {
      var pair = try Pair(server: server(authorities), client: client(identity))
      #expect(throws: TLSError.self) { try pair.settle() }
      #expect(!pair.server.isEstablished && pair.server.peerCertificate(authorities) == nil)
    }
  }

  @Test func whoHasNoneIsLetIn() throws {
    let authorities = try ClientAuthorities([(nil, Fixture.authority.get().certificatePEM)])
    var pair = try Pair(server: server(authorities), client: client(nil))
    try pair.settle()
    #expect(pair.server.isEstablished && pair.server.peerCertificate(authorities) == nil)
  }

  @Test func namesOutsideTheAlphabetAreRefused() throws {
    let authority = try Fixture.authority.get()
    for (index, names) in [("a,DNS:x", "d"), ("t", "a/b"), ("", "d"), ("t", "ä")].enumerated() {
      #expect(throws: TLSError.name(index: index % 2 == 0 ? 0 : 1)) {
        try authority.deviceIdentity(tenant: names.0, device: names.1, nowS: realNowS)
      }
    }
  }
}
