import GateCore
import Testing

@testable import Gateway

@Suite struct ConversationTests {
  private let identity = DeviceIdentity(device: 3, tenant: 2, subject: 0)
  private let credential = CredentialReference(kind: .key, selector: 77)

  private let registry: RegistrySnapshot = {
    var builder = RegistrySnapshot.Builder()
    builder.addTenant(2, name: "demo")
    builder.addDevice(3, tenant: 2, subject: 0, externalID: "three", revoked: false)
    return RegistrySnapshot(builder, generation: 1)
  }()

  /// A million of them are 72 MB. Whoever makes it larger says why.
  @Test func itIsSmall() { #expect(MemoryLayout<Conversation>.stride == 72) }

  /// What a message has changed is there for the next one.
  @Test func aSessionGoesThereAndBack() throws {
    var conversation = Conversation(session: 9, generation: 4)
    var session = conversation.makeSession(
      index: 5, registry: registry, extra: ConversationExtra(channel: .key(selector: 77)))
    #expect(session.state == .awaitingHello && session.channel == .key(selector: 77) && conversation.known == nil)
    let greeting = Session.Greeting(protocolVersion: 1, stream: 8, nextSequence: 1, oldestHeld: 0)
    _ = try session.hello(greeting, proof: .device(identity, by: credential, untilMs: 1_000))
    session.policyVersion = 6
    session.clockErrorMs = -5
    session.work = [1, 2]
    conversation.keep(session)
    #expect(conversation.state == .greeted && conversation.isIntroduced)
    let again = conversation.makeSession(index: 5, registry: registry, extra: ConversationExtra(work: [1, 2]))
    #expect(again.id == SessionID(datagramIndex: 5, generation: 4) && again.transport == .datagram)
    #expect(again.state == .open(identity, stream: 8) && again.credential == credential && again.validUntilMs == 1_000)
    #expect(again.policyVersion == 6 && again.clockErrorMs == -5 && again.work == [1, 2])
    #expect(again.channel == .session(device: 3, by: credential, untilMs: 1_000))
  }

  @Test func whatOutlivesTheProcess() throws {
    var conversation = Conversation(session: 9, generation: 4)
    #expect(conversation.facts(nil, tenant: 0, authorities: 7) == SessionFacts())
    let key = ConversationExtra(channel: .key(selector: 77))
    #expect(conversation.facts(key, tenant: 0, authorities: 7).credential == credential)
    var session = conversation.makeSession(index: 5, registry: registry, extra: nil)
    let greeting = Session.Greeting(protocolVersion: 1, stream: 8, nextSequence: 1, oldestHeld: 0)
    _ = try session.hello(greeting, proof: .device(identity, by: credential, untilMs: 1_000))
    session.policyVersion = 6
    session.clockErrorMs = -5
    conversation.keep(session)
    // The stream is kept once it is welcome, and only if the hello brought nothing else.
    #expect(conversation.facts(nil, tenant: 2, authorities: 7).stream == nil)
    conversation.welcome()
    #expect(conversation.facts(ConversationExtra(work: [1]), tenant: 2, authorities: 7).stream == nil)
    let facts = conversation.facts(nil, tenant: 2, authorities: 7)
    #expect(facts.device == 3 && facts.tenant == 2 && facts.stream == 8 && facts.protocolVersion == 1)
    #expect(facts.authorities == 0)
    let resumed = try #require(Conversation(session: 9, generation: 1, resuming: facts))
    #expect(resumed.known == conversation.known && resumed.state == .resumed && !resumed.isIntroduced)
    let again = resumed.makeSession(index: 0, registry: registry, extra: nil)
    #expect(again.state == .open(identity, stream: 8) && again.policyVersion == 6 && again.clockErrorMs == -5)
    #expect(again.protocolVersion == 1 && resumed.facts(nil, tenant: 2, authorities: 7) == facts)
    var without = facts
    without.stream = nil
    #expect(Conversation(session: 9, generation: 1, resuming: without) == nil)
    #expect(!conversation.makeSession(index: 5, registry: registry, extra: nil).isOfEarlierRun)
    var greetedBefore = Conversation(session: 9, generation: 1, isOfEarlierRun: true)
    var later = greetedBefore.makeSession(index: 5, registry: registry, extra: key)
    #expect(later.isOfEarlierRun && later.state == .awaitingHello && greetedBefore.known == nil)
    _ = try later.hello(greeting, proof: .device(identity, by: credential, untilMs: 1_000))
    greetedBefore.keep(later)
    #expect(greetedBefore.state == .greeted)
    #expect(!greetedBefore.makeSession(index: 5, registry: registry, extra: nil).isOfEarlierRun)
  }

  /// A certificate that was entered for another device while the session slept proves this one no more.
  @Test func aCertificateEnteredForAnother() {
    func standing(enteredFor device: UInt32?) -> RegistrySnapshot.Standing {
      var builder = RegistrySnapshot.Builder()
      builder.addTenant(2, name: "demo")
      for index in 3...4 as ClosedRange<UInt32> {
        builder.addDevice(index, tenant: 2, subject: 0, externalID: "\(index)", revoked: false)
      }
      if let device {
        let hash = SecretHash(InlineArray<32, UInt8>(repeating: 5))
        builder.addCredential(selector: 5, .init(device: device, kind: .certificate, secretHash: hash, revoked: false))
      }
      return Credentials.standing(
        of: CredentialReference(kind: .certificate, selector: 5), of: 3, validUntilMs: 100,
        registry: RegistrySnapshot(builder, generation: 1), wallMs: 1)
    }
    #expect(standing(enteredFor: nil) == .good(untilMs: 100))
    #expect(standing(enteredFor: 3) == .good(untilMs: 100))
    #expect(standing(enteredFor: 4) == .unknown)
  }

  /// An ack that tells of a new window may be lost, so three do.
  @Test func aWindowIsToldThreeTimes() {
    var conversation = Conversation(session: 9, generation: 1)
    let told = (0..<5).map { _ in conversation.knownWindow(now: 60) != 60 }
    #expect(told == [true, true, true, false, false])
    #expect(conversation.knownWindow(now: 30) != 30)
  }
}
