internal import CFixProto
import GateCore

extension Downlink {
  /// Reads a whole `Downlink`: `range` of `bytes`, length prefix not included.
  /// - Throws: `.malformed`; `.badRange` for sequences that are none, `.tooMany` for more lanes than there can be.
  package static func decode(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(ProtoError) -> Downlink {
    try unsafe unpack(bytes, range, with: fixgate__v1__downlink__unpack) { message throws(ProtoError) -> Downlink in
      let message = unsafe message.pointee
      var downlink = Downlink()
      if let welcome = unsafe message.welcome?.pointee { downlink.welcome = unsafe Welcome(welcome) }
      if let ack = unsafe message.ack?.pointee { downlink.ack = try unsafe Ack(ack) }
      for i in 0..<(unsafe message.n_refusal) {
        guard let refusal = unsafe message.refusal[i]?.pointee else { continue }
        downlink.refusals.append(try unsafe Refusal(refusal))
      }
      if let settings = unsafe message.settings?.pointee { downlink.settings = try unsafe Settings(settings) }
      if let pong = unsafe message.pong?.pointee { downlink.pong = unsafe pong.id }
      if unsafe message.has_server_time_ms != 0 { downlink.serverTimeMs = unsafe message.server_time_ms }
      for i in 0..<(unsafe message.n_request) {
        guard let request = unsafe message.request[i]?.pointee else { continue }
        let range = unsafe SequenceRange(first: request.first, count: request.count)
        guard range.isValid else { throw .badRange(field: 7) }
        downlink.requests.append(range)
      }
      if let enrolled = unsafe message.enrolled?.pointee { downlink.enrolled = try unsafe Enrolled(enrolled) }
      return downlink
    }
  }

  /// Appends the payload; the caller adds the length prefix (`Frame`).
  package func encode(into out: inout [UInt8]) {
    var arena = Arena()
    var message = unsafe Fixgate__V1__Downlink()
    unsafe fixgate__v1__downlink__init(&message)
    if let welcome { unsafe message.welcome = arena.place(welcome.message) }
    if let ack { unsafe message.ack = arena.place(ack.message(in: &arena)) }
    var refusals = unsafe [UnsafeMutablePointer<Fixgate__V1__Refusal>?]()
    for refusal in self.refusals { unsafe refusals.append(arena.place(refusal.message(in: &arena))) }
    unsafe message.n_refusal = refusals.count
    unsafe message.refusal = arena.array(refusals)
    if let settings { unsafe message.settings = arena.place(settings.message(in: &arena)) }
    if let pong {
      var body = unsafe Fixgate__V1__Pong()
      unsafe fixgate__v1__pong__init(&body)
      unsafe body.has_id = 1
      unsafe body.id = pong
      unsafe message.pong = arena.place(body)
    }
    if let serverTimeMs {
      unsafe message.has_server_time_ms = 1
      unsafe message.server_time_ms = serverTimeMs
    }
    var requests = unsafe [UnsafeMutablePointer<Fixgate__V1__GapRequest>?]()
    for request in self.requests {
      var body = unsafe Fixgate__V1__GapRequest()
      unsafe fixgate__v1__gap_request__init(&body)
      unsafe body.has_first = 1
      unsafe body.first = request.first
      unsafe body.has_count = 1
      unsafe body.count = request.count
      unsafe requests.append(arena.place(body))
    }
    unsafe message.n_request = requests.count
    unsafe message.request = arena.array(requests)
    if let enrolled { unsafe message.enrolled = arena.place(enrolled.message(in: &arena)) }
    unsafe appendPacked(message, into: &out)
  }
}

extension Welcome {
  fileprivate init(_ message: Fixgate__V1__Welcome) {
    unsafe self.init(
      through: message.through, backlogWindow: message.backlog_window,
      frameBytesMax: message.has_frame_bytes_max != 0 ? message.frame_bytes_max : UInt32(Limits.frameBytesMax))
    if unsafe message.has_protocol != 0 { protocolVersion = unsafe message.protocol }
  }

  fileprivate var message: Fixgate__V1__Welcome {
    var message = unsafe Fixgate__V1__Welcome()
    unsafe fixgate__v1__welcome__init(&message)
    unsafe message.has_protocol = 1
    unsafe message.protocol = protocolVersion
    unsafe message.has_through = 1
    unsafe message.through = through
    unsafe message.has_backlog_window = 1
    unsafe message.backlog_window = backlogWindow
    unsafe message.has_frame_bytes_max = 1
    unsafe message.frame_bytes_max = frameBytesMax
    return unsafe message
  }
}

extension Ack {
  fileprivate init(_ message: Fixgate__V1__Ack) throws(ProtoError) {
    unsafe self.init(through: message.through)
    let numbers = unsafe message.n_above
    guard through <= Limits.sequenceMax, numbers % 2 == 0 else { throw .badRange(field: 2) }
    var end = through
    for i in stride(from: 0, to: numbers, by: 2) {
      let skipped = unsafe message.above[i]
      guard skipped >= 1, skipped < Limits.sequenceMax - end else { throw .badRange(field: 2) }
      let range = unsafe SequenceRange(first: end + skipped + 1, count: message.above[i + 1])
      guard range.isValid else { throw .badRange(field: 2) }
      above.append(range)
      end = range.first + range.count - 1
    }
    if unsafe message.has_stream != 0 { stream = unsafe message.stream }
    if unsafe message.has_backlog_window != 0 { backlogWindow = unsafe message.backlog_window }
    for i in 0..<(unsafe message.n_judgement) {
      guard let judgement = unsafe message.judgement[i]?.pointee else { continue }
      let range = unsafe SequenceRange(first: judgement.first, count: judgement.count)
      guard range.isValid else { throw .badRange(field: 5) }
      judgements.append(unsafe Judgement(code: judgement.code.rawValue, range: range))
    }
  }

  fileprivate func message(in arena: inout Arena) -> Fixgate__V1__Ack {
    var message = unsafe Fixgate__V1__Ack()
    unsafe fixgate__v1__ack__init(&message)
    unsafe message.has_through = 1
    unsafe message.through = through
    var numbers: [UInt64] = []
    var end = through
    for range in above {
      precondition(range.isValid && range.first > end && range.first - end >= 2)
      numbers += [range.first - end - 1, range.count]
      end = range.first + range.count - 1
    }
    unsafe message.n_above = numbers.count
    unsafe message.above = arena.array(numbers)
    if let stream {
      unsafe message.has_stream = 1
      unsafe message.stream = stream
    }
    if let backlogWindow {
      unsafe message.has_backlog_window = 1
      unsafe message.backlog_window = backlogWindow
    }
    var bodies = unsafe [UnsafeMutablePointer<Fixgate__V1__Judgement>?]()
    for judgement in judgements {
      var body = unsafe Fixgate__V1__Judgement()
      unsafe fixgate__v1__judgement__init(&body)
      unsafe body.has_code = 1
      unsafe body.code = Fixgate__V1__VerdictCode(judgement.code)
      unsafe body.has_first = 1
      unsafe body.first = judgement.range.first
      unsafe body.has_count = 1
      unsafe body.count = judgement.range.count
      unsafe bodies.append(arena.place(body))
    }
    unsafe message.n_judgement = bodies.count
    unsafe message.judgement = arena.array(bodies)
    return unsafe message
  }
}

extension Refusal {
  fileprivate init(_ message: Fixgate__V1__Refusal) throws(ProtoError) {
    unsafe self.init(code: RefusalCode(wire: message.code.rawValue), retry: message.retry != 0)
    if unsafe message.has_retry_after_ms != 0 { retryAfterMs = unsafe message.retry_after_ms }
    for i in 0..<(unsafe message.n_range) {
      guard let body = unsafe message.range[i]?.pointee else { continue }
      let range = unsafe SequenceRange(first: body.first, count: body.count)
      guard range.isValid else { throw .badRange(field: 4) }
      ranges.append(range)
    }
    closing = unsafe message.closing != 0
    if unsafe message.has_stream != 0 { stream = unsafe message.stream }
  }

  fileprivate func message(in arena: inout Arena) -> Fixgate__V1__Refusal {
    var message = unsafe Fixgate__V1__Refusal()
    unsafe fixgate__v1__refusal__init(&message)
    unsafe message.has_code = 1
    unsafe message.code = Fixgate__V1__RefusalCode(UInt32(code.rawValue))
    unsafe message.has_retry = 1
    unsafe message.retry = retry ? 1 : 0
    if let retryAfterMs {
      unsafe message.has_retry_after_ms = 1
      unsafe message.retry_after_ms = retryAfterMs
    }
    var bodies = unsafe [UnsafeMutablePointer<Fixgate__V1__SequenceRange>?]()
    for range in ranges {
      var body = unsafe Fixgate__V1__SequenceRange()
      unsafe fixgate__v1__sequence_range__init(&body)
      unsafe body.has_first = 1
      unsafe body.first = range.first
      unsafe body.has_count = 1
      unsafe body.count = range.count
      unsafe bodies.append(arena.place(body))
    }
    unsafe message.n_range = bodies.count
    unsafe message.range = arena.array(bodies)
    if closing {
      unsafe message.has_closing = 1
      unsafe message.closing = 1
    }
    if let stream {
      unsafe message.has_stream = 1
      unsafe message.stream = stream
    }
    return unsafe message
  }
}

extension Settings {
  fileprivate init(_ message: Fixgate__V1__Settings) throws(ProtoError) {
    unsafe self.init(version: message.version)
    if unsafe message.has_report_interval_s != 0 { reportIntervalS = unsafe message.report_interval_s }
    if unsafe message.has_batch_fixes != 0 { batchFixes = unsafe message.batch_fixes }
    if unsafe message.has_batch_wait_s != 0 { batchWaitS = unsafe message.batch_wait_s }
    if unsafe message.has_stop != 0 { stop = unsafe message.stop != 0 }
    let count = unsafe message.n_lanes
    guard count <= Hello.lanesMax else { throw .tooMany(field: 6, count: count) }
    for i in 0..<count { unsafe readLane(message.lanes[i].rawValue).map { lanes.append($0) } }
  }

  fileprivate func message(in arena: inout Arena) -> Fixgate__V1__Settings {
    var message = unsafe Fixgate__V1__Settings()
    unsafe fixgate__v1__settings__init(&message)
    unsafe message.has_version = 1
    unsafe message.version = version
    if let reportIntervalS {
      unsafe message.has_report_interval_s = 1
      unsafe message.report_interval_s = reportIntervalS
    }
    if let batchFixes {
      unsafe message.has_batch_fixes = 1
      unsafe message.batch_fixes = batchFixes
    }
    if let batchWaitS {
      unsafe message.has_batch_wait_s = 1
      unsafe message.batch_wait_s = batchWaitS
    }
    if let stop {
      unsafe message.has_stop = 1
      unsafe message.stop = stop ? 1 : 0
    }
    unsafe message.n_lanes = lanes.count
    unsafe message.lanes = arena.array(lanes.map { Fixgate__V1__Lane(UInt32($0.rawValue)) })
    return unsafe message
  }
}
