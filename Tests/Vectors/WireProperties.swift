import GateCore

/// What must hold for any bytes at all. Traps where it does not: for the fuzzer, and for the replay of what it found.
package enum WireProperties {
  package static func check(_ bytes: [UInt8]) {
    frames(bytes)
    uplink(bytes)
    for kind in [WireVector.Kind.row, .batch] { message(kind, bytes) }
  }

  /// How bytes arrive does not change which frames they hold.
  private static func frames(_ bytes: [UInt8]) {
    var start = 0
    while true {
      let whole = frame(bytes, start, bytes.count)
      var first: Result<Range<Int>?, FrameError> = .success(nil)
      for end in start...bytes.count {
        first = frame(bytes, start, end)
        if case .success(nil) = first { continue }
        break
      }
      precondition(first == whole)
      guard case .success(let range?) = whole else { return }
      precondition(range.lowerBound > start && range.upperBound <= bytes.count && range.count <= Limits.frameBytesMax)
      start = range.upperBound
    }
  }

  private static func frame(_ bytes: [UInt8], _ start: Int, _ end: Int) -> Result<Range<Int>?, FrameError> {
    do throws(FrameError) {
      return .success(try FrameScanner.next(in: bytes.span, from: start, to: end))
    } catch {
      return .failure(error)
    }
  }

  /// Parts lie in the frame, behind each other.
  private static func uplink(_ bytes: [UInt8]) {
    var scanner = UplinkScanner(0..<bytes.count)
    var end = 0
    while let part = try? scanner.next(in: bytes.span) {
      switch part {
      case .hello(let body), .fix(let body), .batch(let body), .gap(let body), .ping(let body), .applied(let body),
        .enrol(let body):
        precondition(body.lowerBound > end && body.upperBound <= bytes.count)
        end = body.upperBound
        if case .fix = part { message(.row, Array(bytes[body])) }
        if case .batch = part { message(.batch, Array(bytes[body])) }
      case .lane, .oldestHeld, .sendTimeMs, .sendMonotonicMs: break
      }
    }
  }

  /// What is taken can be read in full, and means the same when it is written anew. Errors lie in the message.
  private static func message(_ kind: WireVector.Kind, _ bytes: [UInt8]) {
    var fixes = [Fix](repeating: Fix(), count: 64)
    var count = 1
    do throws(DecodeError) {
      switch kind {
      case .row: try FixDecoder.fix(bytes.span, 0..<bytes.count, into: &fixes[0])
      case .batch:
        var span = fixes.mutableSpan
        count = try FixDecoder.batch(bytes.span, 0..<bytes.count, into: &span, at: 0)
      }
    } catch {
      precondition((0...bytes.count).contains(offset(error)))
      return
    }
    for fix in fixes[..<count] {
      precondition(fix.attributes.length <= Limits.attributeBytesMax && fix.work.length <= Limits.workBytesMax)
      let meant = text(fix, bytes)
      var row: [UInt8] = []
      FixEncoder.row(fix, from: bytes.span, into: &row)
      var scanner = UplinkScanner(0..<row.count)
      guard case .fix(let body) = try? scanner.next(in: row.span) else { preconditionFailure("no row") }
      var again = Fix()
      do throws(DecodeError) {
        try FixDecoder.fix(row.span, body, into: &again)
      } catch {
        preconditionFailure("own row refused")
      }
      precondition(text(again, row) == meant)
    }
  }

  private static func text(_ fix: Fix, _ bytes: [UInt8]) -> String {
    do throws(DecodeError) {
      return try FixText.describe(fix, in: bytes.span)
    } catch {
      preconditionFailure("a region that was taken cannot be read")
    }
  }

  private static func offset(_ error: DecodeError) -> Int {
    switch error {
    case .truncated(let offset), .badTag(let offset), .badVarint(let offset), .unmatchedGroup(let offset),
      .nestedTooDeep(let offset), .badText(let offset), .columnTooLong(let offset), .badCount(let offset),
      .badMask(let offset), .badIndex(let offset), .badSequence(let offset), .tooManyFixes(let offset),
      .attributesTooLong(let offset), .workTooLong(let offset):
      offset
    }
  }
}
