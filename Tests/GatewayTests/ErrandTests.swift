import Glibc
import Synchronization
import Testing

@testable import Gateway

/// What a start reads on threads of its own.
@Suite struct ErrandTests {
  @Test func givesWhatTheThreadHasWorkedOut() throws {
    let errand = try Errand("errand") { [1, 2, 3] }
    #expect(try errand.value() == [1, 2, 3])
  }

  @Test func throwsWhatTheThreadThrew() throws {
    let errand = try Errand("errand") { () throws -> Int in throw GatewayError.noDTLSProof }
    #expect(throws: GatewayError.noDTLSProof) { _ = try errand.value() }
  }

  /// A start that fails elsewhere leaves no thread behind at the files of the next one.
  @Test func anOwnerThatDoesNotAskWaitsAllTheSame() throws {
    final class Steps: Sendable {
      let mayEnd = Atomic(false)
      let hasEnded = Atomic(false)
    }
    let steps = Steps()
    do {
      let errand = try Errand("errand") {
        while !steps.mayEnd.load(ordering: .acquiring) { sched_yield() }
        for _ in 0..<1_000 { sched_yield() }
        steps.hasEnded.store(true, ordering: .releasing)
      }
      withExtendedLifetime(errand) { steps.mayEnd.store(true, ordering: .releasing) }
    }
    let hasEnded = steps.hasEnded.load(ordering: .acquiring)
    #expect(hasEnded)
  }
}
