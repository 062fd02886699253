import GateTLS
import Testing

/// A handshake with the context, by a ticket if there is one; what the device can resume with next.
private func shake(
  _ server: TLSServerContext, _ ticket: [UInt8]? = nil, client: TLSClientContext? = nil
) throws -> (resumed: Bool, ticket: [UInt8]?) {
  var pair = try Pair(server: server, client: client ?? Fixture.client(), ticket: ticket)
  try pair.settle()
  return (pair.server.isResumed, pair.client.sessionTicket)
}

@Suite struct TicketKeysTests {
  @Test func ticketsOutliveTheRotationOfTheirKey() throws {
    let (old, new) = (Fixture.ticketKeys, [UInt8](repeating: 7, count: 80))
    let first = try shake(Fixture.server(ticketKeys: old))
    #expect(!first.resumed)
    // The new key seals, the old one still opens.
    let second = try shake(Fixture.server(ticketKeys: new + old), first.ticket)
    #expect(second.resumed)
    // The ticket given then is the new key's: it does without the old one.
    let third = try shake(Fixture.server(ticketKeys: new), second.ticket)
    #expect(third.resumed)
    #expect(try !shake(Fixture.server(ticketKeys: new), first.ticket).resumed)
  }
}
