import GateTLS
import Testing
import WireVectors

extension DTLSVector {
  /// Its clients spell suites in three ways.
  var agreedSuite: DTLSSuite? {
    let name = suite.replacing("_", with: "-").replacing("TLS-", with: "").replacing("WITH-", with: "")
      .replacing("AES-128", with: "AES128").replacing("CCM-8", with: "CCM8").replacing("-SHA256", with: "")
    return DTLSSuite.allCases.first { $0.name.replacing("-SHA256", with: "") == name }
  }
}

@Suite struct DTLSSuiteTests {
  @Test(arguments: DTLSVector.all) func keyBlock(vector: DTLSVector) throws {
    let suite = try #require(vector.agreedSuite)
    let block = try suite.keyBlock(
      masterSecret: vector.masterSecret.span, clientRandom: vector.clientRandom.span,
      serverRandom: vector.serverRandom.span, with: try RecordCipher())
    #expect(block == vector.keyBlock && block.count == suite.keyBlockBytes)
  }

  @Test func vectorsCoverEverySuite() {
    #expect(Set(DTLSVector.all.compactMap(\.agreedSuite)).count == 7 && DTLSVector.all.count == 25)
  }
}
