import GateNet
import Testing

@Test func thereIsACPU() {
  #expect((1...16_384).contains(CPUs.available))
}

@Test func openFilesAreRaisedToTheHardLimit() throws {
  let first = try OpenFiles.raiseLimit()
  #expect(first >= 256)
  #expect(try OpenFiles.raiseLimit() == first)
}
