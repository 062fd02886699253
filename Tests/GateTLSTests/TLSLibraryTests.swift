@testable import GateTLS
import Testing

@Test func theLibraryHereIsKnown() throws {
  _ = try TLSLibrary.check()
  #expect(TLSLibrary.name.hasPrefix("OpenSSL "))
}

@Test(arguments: [
  (3, 0, TLSLibrary.Status.supported), (3, 1, .newer(major: 3, minor: 1)), (3, 5, .newer(major: 3, minor: 5)),
  (4, 0, .newer(major: 4, minor: 0)),
] as [(UInt32, UInt32, TLSLibrary.Status)])
func libraryVersions(major: UInt32, minor: UInt32, status: TLSLibrary.Status) throws {
  #expect(try TLSLibrary.status(major: major, minor: minor) == status)
}

@Test func oldLibraryStopsTheProcess() {
  #expect(throws: TLSError.unsupportedLibrary(major: 1, minor: 1)) { try TLSLibrary.status(major: 1, minor: 1) }
}
