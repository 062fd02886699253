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

  @Test func whatOutlivesTheProcess() {
    let known = Conversation.Known(device: 3, stream: 8, policyVersion: 6, credential: credential, validUntilMs: .max)
    let conversation = Conversation(session: 9, generation: 1, resuming: known)
    #expect(conversation.known == known && conversation.state == .welcome && !conversation.isIntroduced)
    let session = conversation.makeSession(index: 0, registry: registry, extra: nil)
    #expect(session.state == .open(identity, stream: 8) && session.policyVersion == 6)
  }

  /// An ack that tells of a new window may be lost, so three do.
  @Test func aWindowIsToldThreeTimes() {
    var conversation = Conversation(session: 9, generation: 1)
    let told = (0..<5).map { _ in conversation.knownWindow(now: 60) != 60 }
    #expect(told == [true, true, true, false, false])
    #expect(conversation.knownWindow(now: 30) != 30)
  }
}
