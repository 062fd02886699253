import GateCore
import GateDevice
import GateProto
import Testing

@Suite struct DeviceEarlyDataTests {
  private let start = Instant(ns: 1_000_000_000)
  private let fixes: [Fix] = (0..<400).map { index in
    var fix = Fix()
    fix.fixTimeMs = 1_700_000_000_000 + Int64(index) * 5_000
    fix.latitudeE7 = 525_200_000 + Int32(index) * 131
    fix.longitudeE7 = 134_000_000 - Int32(index) * 77
    fix.present = [.time, .position]
    return fix
  }

  private func session(_ recorded: UInt64, _ change: (inout DeviceOptions) -> Void = { _ in }) -> DeviceSession {
    var options = DeviceOptions()
    options.lanes = .liveFirst
    change(&options)
    return DeviceSession(
      log: UploadLog(stream: 5, recorded: recorded), token: [UInt8](repeating: 1, count: Hello.tokenBytes),
      options: options)
  }

  private func early(_ session: inout DeviceSession, bytesMax: Int = 16_384) -> [UInt8] {
    var out: [UInt8] = []
    let fixes = fixes
    session.earlyData(into: &out, at: start, clockMs: 7, bytesMax: bytesMax) { places, into in
      into.append(contentsOf: fixes[Int(places.lowerBound) - 1...Int(places.upperBound) - 1])
    }
    return out
  }

  /// The sequences of each frame; all parts must be about fixes.
  private func sequences(_ bytes: [UInt8]) throws -> [[UInt64]] {
    var frames: [[UInt64]] = []
    var at = 0
    while let frame = try FrameScanner.next(in: bytes.span, from: at, to: bytes.count) {
      at = frame.upperBound
      var scanner = UplinkScanner(frame)
      var found = [Fix](repeating: Fix(), count: Limits.fixesPerFrameMax)
      var count = 0
      while let part = try scanner.next(in: bytes.span) {
        #expect(part.isAboutFixes)
        switch part {
        case .fix(let range):
          try FixDecoder.fix(bytes.span, range, into: &found[count])
          count += 1
        case .batch(let range):
          var room = found.mutableSpan
          count += try FixDecoder.batch(bytes.span, range, into: &room, at: count)
        default: break
        }
      }
      frames.append(found[..<count].map(\.sequence))
    }
    #expect(at == bytes.count)
    return frames
  }

  @Test func theNewestFixGoesFirst() throws {
    var session = session(400)
    #expect(try sequences(early(&session)) == [[400], Array(1...60), Array(61...120)])
    #expect(session.inFlightCount == 121)
    var hello: [UInt8] = []
    session.connected(at: start, earlyDataTaken: true)
    #expect(session.nextFrame(into: &hello, at: start, from: fixes))
    // What was taken is under way; hello goes alone until the window opens.
    #expect(try Hello.decode(hello).nextSequence == 401)
    #expect(session.inFlightCount == 121)
  }

  @Test func whatWasNotTakenIsSentAgain() throws {
    var session = session(3) { $0.lanes = .single(.live) }
    let first = early(&session)
    #expect(try sequences(first) == [[1, 2, 3]])
    session.connected(at: start)
    #expect(session.inFlightCount == 0)
    var frame: [UInt8] = []
    #expect(session.nextFrame(into: &frame, at: start, from: fixes))
    #expect(session.inFlightCount == 3 && frame.count > first.count)
  }

  @Test func nothingIsSentWithoutRoomOrReason() throws {
    var small = session(400)
    let bytes = early(&small, bytesMax: 1_100)
    #expect(bytes.count <= 1_100)
    #expect(try sequences(bytes).first == [400] && sequences(bytes).count < 4)
    #expect(early(&small, bytesMax: 0).isEmpty && small.inFlightCount == 0)
    var empty = session(0)
    #expect(early(&empty).isEmpty)
    // A batch as large as a frame may hold is all that there may be.
    var large = session(400) {
      $0.batchFixes = Limits.fixesPerFrameMax
      $0.lanes = .single(.backlog)
    }
    #expect(try sequences(early(&large)).map(\.count) == [120])
  }

  @Test func theWorkOfHelloGoesAlong() throws {
    var plain = session(3)
    var working = session(3) { $0.work = Work(task: "7") }
    #expect(early(&working).count > early(&plain).count)
  }
}

extension Hello {
  /// Of the frame's own hello.
  fileprivate static func decode(_ frame: [UInt8]) throws -> Hello {
    let payload = try #require(try FrameScanner.next(in: frame.span, from: 0, to: frame.count))
    var scanner = UplinkScanner(payload)
    guard case .hello(let range) = try scanner.next(in: frame.span) else { throw DecodeError.truncated(offset: 0) }
    return try Hello.decode(frame.span, range)
  }
}
