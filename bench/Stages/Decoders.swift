import BenchHarness
import BenchProto
import CFixProto
import CRivals
import GateCore
import SwiftProtobuf

/// The three readers of the same packets. Each has a timed form, which builds what it builds and nothing more, and a
/// form that hashes every value of every fix, so that equal hashes prove equal results.
struct Packets {
  /// Payloads of `Uplink`, one array with the packets behind each other, as in a receive buffer.
  let bytes: [UInt8]
  let ranges: [Range<Int>]
  /// The same packets one by one.
  let separate: [[UInt8]]
  let fixes: Int

  init(_ packets: [[UInt8]], fixes: Int) {
    var bytes: [UInt8] = []
    var ranges: [Range<Int>] = []
    for packet in packets {
      ranges.append(bytes.count..<bytes.count + packet.count)
      bytes += packet
    }
    self.bytes = bytes
    separate = packets
    self.ranges = ranges
    self.fixes = fixes
  }
}

/// `GateCore`: values in place, differences undone.
final class GateDecoder {
  private let packets: Packets
  private var fixes = [Fix](repeating: Fix(), count: Limits.fixesPerFrameMax)

  init(_ packets: Packets) { self.packets = packets }

  func timed() -> UInt64 {
    var fixes: [Fix] = []
    swap(&fixes, &self.fixes)
    defer { swap(&fixes, &self.fixes) }
    var sum: UInt64 = 0
    let bytes = packets.bytes
    var room = fixes.mutableSpan
    for range in packets.ranges {
      let count = GateDecoder.read(bytes.span, range, into: &room)
      sum &+= room[count - 1].sequence
    }
    return sum
  }

  func hash() -> ResultHash {
    var hash = ResultHash()
    let bytes = packets.bytes
    for range in packets.ranges {
      var room = fixes.mutableSpan
      for fix in fixes[..<GateDecoder.read(bytes.span, range, into: &room)] {
        hash.add(fix.sequence)
        hash.add(fix.fixTimeMs)
        hash.add(fix.latitudeE7)
        hash.add(fix.longitudeE7)
        for column in Column.allCases { if let value = fix[column] { hash.add(value) } }
      }
    }
    return hash
  }

  private static func read(_ bytes: Span<UInt8>, _ range: Range<Int>, into fixes: inout MutableSpan<Fix>) -> Int {
    do throws(DecodeError) {
      return try decode(bytes, range, into: &fixes)
    } catch {
      preconditionFailure("own packet refused")
    }
  }

  private static func decode(
    _ bytes: Span<UInt8>, _ range: Range<Int>, into fixes: inout MutableSpan<Fix>
  ) throws(DecodeError) -> Int {
    var scanner = UplinkScanner(range)
    var count = 0
    while let part = try scanner.next(in: bytes) {
      switch part {
      case .fix(let body):
        try FixDecoder.fix(bytes, body, into: &fixes[count])
        count += 1
      case .batch(let body): count += try FixDecoder.batch(bytes, body, into: &fixes, at: count)
      default: break
      }
    }
    return count
  }
}

/// The same algorithm in C.
final class RivalDecoder {
  static var hasSIMD: Bool { rival_has_simd() }

  private let packets: Packets
  private let simd: Bool
  private var fixes = [rival_fix](repeating: rival_fix(), count: Limits.fixesPerFrameMax)

  init(_ packets: Packets, simd: Bool) {
    precondition(MemoryLayout<rival_fix>.stride == MemoryLayout<Fix>.stride)
    (self.packets, self.simd) = (packets, simd)
  }

  func timed() -> UInt64 {
    unsafe packets.ranges.withUnsafeBytes { ranges in
      // A `Range<Int>` is its two bounds.
      let pairs = unsafe ranges.assumingMemoryBound(to: (Int, Int).self)
      let sum = unsafe rival_decode(packets.bytes, pairs.baseAddress, pairs.count, &fixes, Int32(fixes.count), simd)
      precondition(sum > 0, "own packet refused")
      return sum
    }
  }

  func hash() -> ResultHash {
    var hash = ResultHash()
    var room: [rival_fix] = []
    swap(&room, &fixes)
    for range in packets.ranges {
      for i in room.indices { room[i].present = 0 }
      let pair = (range.lowerBound, range.upperBound)
      _ = unsafe withUnsafePointer(to: pair) { unsafe rival_decode(packets.bytes, $0, 1, &room, Int32(room.count), simd) }
      for fix in room {
        if fix.present == 0 { break }
        hash.add(fix.sequence)
        hash.add(fix.time_ms)
        hash.add(fix.latitude_e7)
        hash.add(fix.longitude_e7)
        unsafe withUnsafeBytes(of: fix.values) { values in
          let values = unsafe values.assumingMemoryBound(to: Int32.self)
          for i in 0..<Column.count where fix.present >> UInt32(i) & 1 != 0 { unsafe hash.add(values[i]) }
        }
      }
    }
    swap(&room, &fixes)
    return hash
  }
}

/// libprotobuf-c with malloc: unpack and free.
struct ProtobufCDecoder {
  let packets: Packets

  func timed() -> UInt64 {
    var sum: UInt64 = 0
    unsafe each { unsafe sum &+= UInt64($0.pointee.n_fix) }
    return sum
  }

  func hash() -> ResultHash {
    var hash = ResultHash()
    unsafe each { uplink in
      for i in unsafe 0..<uplink.pointee.n_fix {
        let fix = unsafe uplink.pointee.fix[i]!.pointee
        unsafe hash.add(fix.sequence)
        unsafe hash.add(fix.time_ms)
        unsafe hash.add(fix.latitude_e7)
        unsafe hash.add(fix.longitude_e7)
        unsafe hash.add(fix.horizontal_accuracy_dm)
        unsafe hash.add(fix.speed_cm_per_s)
        unsafe hash.add(fix.course_cdeg)
        unsafe hash.add(fix.battery_percent)
        unsafe hash.add(fix.altitude_ellipsoid_dm)
        unsafe hash.add(fix.satellites_used)
        unsafe hash.add(fix.hdop_tenths)
      }
      for i in unsafe 0..<uplink.pointee.n_batch {
        let batch = unsafe uplink.pointee.batch[i]!.pointee
        let times = unsafe Array(UnsafeBufferPointer(start: batch.time, count: batch.n_time))
        let columns = unsafe [
          array(batch.latitude_e7, batch.n_latitude_e7), array(batch.longitude_e7, batch.n_longitude_e7),
          array(batch.horizontal_accuracy_dm, batch.n_horizontal_accuracy_dm),
          array(batch.speed_cm_per_s, batch.n_speed_cm_per_s), array(batch.course_cdeg, batch.n_course_cdeg),
          array(batch.battery_percent, batch.n_battery_percent),
          array(batch.altitude_ellipsoid_dm, batch.n_altitude_ellipsoid_dm),
          array(batch.satellites_used, batch.n_satellites_used), array(batch.hdop_tenths, batch.n_hdop_tenths),
        ]
        unsafe Columns.hash(
          first: batch.first_sequence, count: Int(batch.count), unit: Int64(batch.time_unit_ms), times, columns, &hash)
      }
    }
    return hash
  }

  private func array(_ start: UnsafeMutablePointer<Int32>?, _ count: Int) -> [Int32] {
    unsafe Array(UnsafeBufferPointer(start: start, count: count))
  }

  private func each(_ body: (UnsafeMutablePointer<Fixgate__V1__Uplink>) -> Void) {
    unsafe packets.bytes.withUnsafeBufferPointer { bytes in
      for range in packets.ranges {
        let start = unsafe bytes.baseAddress! + range.lowerBound
        guard let uplink = unsafe fixgate__v1__uplink__unpack(nil, range.count, start) else {
          preconditionFailure("own packet refused")
        }
        unsafe body(uplink)
        unsafe fixgate__v1__uplink__free_unpacked(uplink, nil)
      }
    }
  }
}

/// SwiftProtobuf, from one array a packet, the form that it reads without a copy.
struct SwiftProtobufDecoder {
  let packets: Packets

  func timed() -> UInt64 {
    var sum: UInt64 = 0
    each { sum &+= UInt64($0.fix.count) }
    return sum
  }

  func hash() -> ResultHash {
    var hash = ResultHash()
    each { uplink in
      for fix in uplink.fix {
        hash.add(fix.sequence)
        hash.add(fix.timeMs)
        hash.add(fix.latitudeE7)
        hash.add(fix.longitudeE7)
        hash.add(fix.horizontalAccuracyDm)
        hash.add(fix.speedCmPerS)
        hash.add(fix.courseCdeg)
        hash.add(fix.batteryPercent)
        hash.add(fix.altitudeEllipsoidDm)
        hash.add(fix.satellitesUsed)
        hash.add(fix.hdopTenths)
      }
      for batch in uplink.batch {
        Columns.hash(
          first: batch.firstSequence, count: Int(batch.count), unit: Int64(batch.timeUnitMs), batch.time,
          [
            batch.latitudeE7, batch.longitudeE7, batch.horizontalAccuracyDm, batch.speedCmPerS, batch.courseCdeg,
            batch.batteryPercent, batch.altitudeEllipsoidDm, batch.satellitesUsed, batch.hdopTenths,
          ], &hash)
      }
    }
    return hash
  }

  private func each(_ body: (Fixgate_V1_Uplink) -> Void) {
    for packet in packets.separate {
      guard let uplink = try? Fixgate_V1_Uplink(serializedBytes: packet) else {
        preconditionFailure("own packet refused")
      }
      body(uplink)
    }
  }
}

/// The differences of columns undone as plainly as possible.
enum Columns {
  static func hash(
    first: UInt64, count: Int, unit: Int64, _ times: [Int64], _ columns: [[Int32]], _ hash: inout ResultHash
  ) {
    let time = spread(times, count)
    let values = columns.map { spread($0, count) }
    for i in 0..<count {
      hash.add(first + UInt64(i))
      hash.add(time[i] * max(1, unit))
      for column in values { hash.add(column[i]) }
    }
  }

  private static func spread<T: FixedWidthInteger>(_ values: [T], _ count: Int) -> [T] {
    var value: T = 0
    return (0..<count).map { i in
      value &+= i < values.count ? values[i] : values.count == 1 ? 0 : values[values.count - 1]
      return value
    }
  }
}
