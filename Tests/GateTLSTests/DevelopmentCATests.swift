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

/// `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=evil -addext
/// subjectAltName=URI:fixgate://other/x`
private let request = Array(
  """
  -----BEGIN CERTIFICATE REQUEST-----
  MIH4MIGgAgEAMA8xDTALBgNVBAMMBGV2aWwwWTATBgcqhkjOPQIBBggqhkjOPQMB
  BwNCAATsvbOf8tz8uCrv+79SNZHyMArKGZVaI+zWHI7XGZ1aeZv2o1821TQGlTLi
  BOSI6JRW/pGJPusoabqC8ZhftbSzoC8wLQYJKoZIhvcNAQkOMSAwHjAcBgNVHREE
  FTAThhFmaXhnYXRlOi8vb3RoZXIveDAKBggqhkjOPQQDAgNHADBEAiBBO+fdN1tu
  VcXNq/YHKhPkDnfR/bhvtfsPFr/V0Voi6QIgJHlLwV8OTos6yFsLSU3jrqq4R67A
  L1E25Pzy+GS30jA=
  -----END CERTIFICATE REQUEST-----

  """.utf8)

/// `openssl req -new -newkey rsa:1024 -nodes -subj /CN=x`
private let weakRequest = Array(
  """
  -----BEGIN CERTIFICATE REQUEST-----
  MIIBSzCBtQIBADAMMQowCAYDVQQDDAF4MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCB
  iQKBgQDTWPWlm007SL/O1cujQaG85ZEKpCfmFBalfDCgzA+nDPHXN7eeL1WOdSEs
  NdUPb1He2Id3TIIY6Gk3jy87s3CHrAIDQM1wSNsMJiC2PBcQ9NI/cmKQK+/fwENA
  CWfiEP2kDenIXsw6No2HIofh6JHCwb0KgDzgpRscQSDKPKyUOwIDAQABoAAwDQYJ
  KoZIhvcNAQELBQADgYEAc/QtD5rpnWGV9fqU5hD9LpJs8/6mUMgs8D/dkKQlWYrb
  CdBR5RTcEjl7UmNW7V72ZfGGGd0g7LWLIRLuzLcdOXX5R1pajYOaaOXJUF/mi1RY
  ybX5usgV3NuwgCbVw2VFYnsDzVhHdvpumREWfN9VPc1JG8hdPYqqIaiYT4oyaQM=
  -----END CERTIFICATE REQUEST-----

  """.utf8)

@Test func aRequestGivesItsKeyAndNothingElse() throws {
  let authority = try DevelopmentCA.make(nowS: realNowS)
  let certificate = try authority.deviceCertificate(request: request, tenant: "demo", device: "bike-1", nowS: realNowS)
  let peer = try PeerCertificate.leaf(of: certificate)
  #expect(peer.tenant == "demo" && peer.device == "bike-1")
  #expect(peer.validUntilS == realNowS + 365 * 86_400)
  #expect(throws: TLSError.name(index: 1)) {
    try authority.deviceCertificate(request: request, tenant: "demo", device: "a,b", nowS: realNowS)
  }
  #expect(throws: TLSError.weakKey) {
    try authority.deviceCertificate(request: weakRequest, tenant: "demo", device: "b", nowS: realNowS)
  }
  // A changed bit: the request is not signed by its key any more, or is none.
  let lines = request.split(separator: 10)
  for place in 1..<lines.count - 1 {
    var changed = lines.map { Array($0) }
    changed[place][8] = changed[place][8] == 65 ? 66 : 65
    #expect(throws: TLSError.self) {
      try authority.deviceCertificate(
        request: Array(changed.joined(separator: [10])) + [10], tenant: "demo", device: "b", nowS: realNowS)
    }
  }
  for broken in [[], Array("-----BEGIN CERTIFICATE REQUEST-----\n".utf8), authority.certificatePEM] {
    #expect(throws: TLSError.self) {
      try authority.deviceCertificate(request: broken, tenant: "demo", device: "b", nowS: realNowS)
    }
  }
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
