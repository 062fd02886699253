import BenchProto
import NIOCore
import SwiftProtobuf

/// One device's connection: frames in, numbers of committed messages out.
final class FixHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let writer: RowWriter
  private var stash = ByteBuffer()
  /// From its token.
  private var device: Int64?

  private static let tokenBytes = 32
  private static let frameBytesMax = 16_384

  init(_ writer: RowWriter) { self.writer = writer }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var bytes = unwrapInboundIn(data)
    if stash.readableBytes == 0 { swap(&stash, &bytes) } else { stash.writeBuffer(&bytes) }
    while let frame = nextFrame(context) { take(frame, context) }
    stash.discardReadBytes()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

  private func nextFrame(_ context: ChannelHandlerContext) -> ByteBuffer? {
    var length = 0
    var at = stash.readerIndex
    for shift in stride(from: 0, through: 14, by: 7) {
      guard let byte = stash.getInteger(at: at, as: UInt8.self) else { return nil }
      at += 1
      length |= Int(byte & 0x7F) << shift
      guard byte & 0x80 == 0 else { continue }
      guard length <= FixHandler.frameBytesMax else { break }
      guard stash.writerIndex - at >= length else { return nil }
      stash.moveReaderIndex(to: at)
      return stash.readSlice(length: length)
    }
    context.close(promise: nil)
    return nil
  }

  private func take(_ frame: ByteBuffer, _ context: ChannelHandlerContext) {
    guard let device else {
      guard frame.readableBytes == FixHandler.tokenBytes else { return context.close(promise: nil) }
      device = frame.getInteger(at: frame.readerIndex)
      return FixHandler.answer(0, context.channel)
    }
    guard let uplink = try? Fixgate_V1_Uplink(serializedBytes: Array(buffer: frame)) else {
      return context.close(promise: nil)
    }
    writer.add(Job(device: device, rows: uplink.fix.map(Row.init) + uplink.batch.flatMap(Row.all), channel: context.channel))
  }

  /// On the channel's event loop.
  static func answer(_ messages: Int, _ channel: any Channel) {
    var out = channel.allocator.buffer(capacity: 4)
    var rest = messages
    while rest > 0x7F {
      out.writeInteger(UInt8(rest & 0x7F) | 0x80)
      rest >>= 7
    }
    out.writeInteger(UInt8(rest))
    channel.writeAndFlush(out, promise: nil)
  }
}

/// A fix as it is stored.
struct Row: Sendable {
  var sequence: UInt64
  var timeMs: Int64
  var latitudeE7: Int32
  var longitudeE7: Int32
  var accuracyDm: Int32
  var speedCmPerS: Int32
  var courseCdeg: Int32
  var batteryPercent: Int32

  init(_ fix: Fixgate_V1_Fix) {
    sequence = fix.sequence
    timeMs = fix.timeMs
    (latitudeE7, longitudeE7) = (fix.latitudeE7, fix.longitudeE7)
    (accuracyDm, speedCmPerS) = (Int32(fix.horizontalAccuracyDm), Int32(fix.speedCmPerS))
    (courseCdeg, batteryPercent) = (Int32(fix.courseCdeg), Int32(fix.batteryPercent))
  }

  /// Undoes the differences of columns. Masks, which the bench's content does not have, are not looked at.
  static func all(_ batch: Fixgate_V1_FixBatch) -> [Row] {
    let count = Int(batch.count)
    let unit = batch.hasTimeUnitMs ? Int64(batch.timeUnitMs) : 1
    let time = column(batch.time, count)
    let latitude = column(batch.latitudeE7, count)
    let longitude = column(batch.longitudeE7, count)
    let accuracy = column(batch.horizontalAccuracyDm, count)
    let speed = column(batch.speedCmPerS, count)
    let course = column(batch.courseCdeg, count)
    let battery = column(batch.batteryPercent, count)
    return (0..<count).map { i in
      Row(
        sequence: batch.firstSequence + UInt64(i), timeMs: time[i] &* unit, latitudeE7: latitude[i],
        longitudeE7: longitude[i], accuracyDm: accuracy[i], speedCmPerS: speed[i], courseCdeg: course[i],
        batteryPercent: battery[i])
    }
  }

  private init(
    sequence: UInt64, timeMs: Int64, latitudeE7: Int32, longitudeE7: Int32, accuracyDm: Int32, speedCmPerS: Int32,
    courseCdeg: Int32, batteryPercent: Int32
  ) {
    (self.sequence, self.timeMs, self.latitudeE7, self.longitudeE7) = (sequence, timeMs, latitudeE7, longitudeE7)
    (self.accuracyDm, self.speedCmPerS) = (accuracyDm, speedCmPerS)
    (self.courseCdeg, self.batteryPercent) = (courseCdeg, batteryPercent)
  }

  /// A column that ends early goes on with its last difference; one number alone is a constant.
  private static func column<T: FixedWidthInteger>(_ differences: [T], _ count: Int) -> [T] {
    var value: T = 0
    return (0..<count).map { i in
      if i < differences.count { value &+= differences[i] } else if differences.count > 1 { value &+= differences.last! }
      return value
    }
  }
}
