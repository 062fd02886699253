@testable import GateTLS
import Testing

@Test func lifetimes() throws {
  let authority = try DevelopmentCA.make(nowS: fixedNowS)
  let root = try CertificateSummary.leaf(of: authority.certificatePEM)
  #expect(root.validFromS == fixedNowS - 86_400)
  #expect(root.daysLeft(nowS: fixedNowS) == Int64(DevelopmentCA.authorityDays))
  let server = try authority.serverIdentity(nowS: fixedNowS)
  let leaf = try CertificateSummary.leaf(of: server.certificatePEM)
  #expect(leaf.validUntilS == fixedNowS + 825 * 86_400)
  #expect(leaf.daysLeft(nowS: leaf.validUntilS - 1) == 0)
  #expect(leaf.daysLeft(nowS: leaf.validUntilS) == 0)
  #expect(leaf.daysLeft(nowS: leaf.validUntilS + 1) == -1)
  #expect(leaf.daysLeft(nowS: leaf.validUntilS + 86_400) == -1)
  #expect(leaf.daysLeft(nowS: leaf.validUntilS + 86_401) == -2)
  #expect(leaf.fingerprint.count == 32 && leaf.fingerprint != root.fingerprint)
}

@Test func authorityFromItsOwnPEM() throws {
  let made = try DevelopmentCA.make(nowS: realNowS)
  let kept = DevelopmentCA(certificatePEM: made.certificatePEM, keyPEM: made.keyPEM)
  let identity = try kept.serverIdentity(nowS: realNowS)
  var pair = try Pair(
    server: TLSServerContext(identity: identity, ticketKeys: Fixture.ticketKeys),
    client: TLSClientContext(authorityPEM: made.certificatePEM))
  try pair.settle()
  #expect(pair.client.isEstablished && pair.server.isEstablished)
}

@Test func authorityWithTheWrongKey() throws {
  let (one, two) = try (DevelopmentCA.make(nowS: realNowS), DevelopmentCA.make(nowS: realNowS))
  let mixed = DevelopmentCA(certificatePEM: one.certificatePEM, keyPEM: two.keyPEM)
  #expect(throws: TLSError.keyMismatch) { try mixed.serverIdentity(nowS: realNowS) }
  let broken = DevelopmentCA(certificatePEM: [], keyPEM: two.keyPEM)
  #expect(throws: TLSError.self) { try broken.serverIdentity(nowS: realNowS) }
}

@Test func badNamesAreCounted() throws {
  let authority = try Fixture.authority.get()
  for (index, names) in [
    ["", "good"], ["good", "a,DNS:evil"], ["good", "10.0.0.1", "sp ace"], ["a", "b", "c", "-:"],
  ].enumerated() {
    #expect(throws: TLSError.name(index: index)) { try authority.serverIdentity(names: names, nowS: realNowS) }
  }
}

@Test(arguments: [
  ("localhost", CertificateName.dns("localhost")), ("a.b-c.example", .dns("a.b-c.example")),
  ("*.example", .dns("*.example")),
  ("10.1.2.3", .address("10.1.2.3")), ("::1", .address("::1")), ("2001:db8::7", .address("2001:db8::7")),
  ("a.*.example", nil), ("a:b", nil), ("", nil), ("a\0b", nil), ("é.example", nil),
  (String(repeating: "a.", count: 127) + "a", nil),
] as [(String, CertificateName?)])
func certificateNames(text: String, name: CertificateName?) {
  #expect(CertificateName(text) == name)
}
