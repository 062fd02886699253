#if FOREIGN_CLIENTS
  import Foundation
  import GateCore
  import GateProto
  import Gateway
  import NIOCore
  import NIOPosix
  import NIOSSL
  import Testing

  /// A device on SwiftNIO: sends one flight, and waits for an ack.
  private final class NIODevice: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let flight: [UInt8]
    private let wanted: UInt64
    private let acked: EventLoopPromise<UInt64>
    private var plain: [UInt8] = []

    init(_ flight: [UInt8], until wanted: UInt64, _ acked: EventLoopPromise<UInt64>) {
      self.flight = flight
      self.wanted = wanted
      self.acked = acked
    }

    func channelActive(context: ChannelHandlerContext) {
      context.writeAndFlush(wrapOutboundOut(context.channel.allocator.buffer(bytes: flight)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      plain += Array(buffer: unwrapInboundIn(data))
      while let range = try? FrameScanner.next(in: plain.span, from: 0, to: plain.count) {
        if let through = (try? Downlink.decode(plain.span, range))?.ack?.through, through >= wanted {
          acked.succeed(through)
        }
        plain.removeFirst(range.upperBound)
      }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
      acked.fail(error)
      context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) { acked.fail(ChannelError.eof) }
  }

  extension EndToEnd.HostileWorld {
    /// BoringSSL, which refuses what libssl lets pass: handshake, hello, fixes, ack; then again, as a device that comes back.
    /// (It has no interface for tickets: `sClientResumesWithEarlyData` stands for those.)
    @Test func swiftNIOSendsAndIsAcked() throws {
      let gateway = try Self.gateway()
      let enrolled = try gateway.enrol(1)[0]
      let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
      defer { try? group.syncShutdownGracefully() }
      var configuration = TLSConfiguration.makeClientConfiguration()
      configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(gateway.folder + "/gateway/ca.crt"))
      configuration.minimumTLSVersion = .tlsv13
      let tls = try NIOSSLContext(configuration: configuration)
      for first in [1, 61] as [UInt64] {
        let hello = Uplink.hello(enrolled.token, stream: 9, next: first + 60)
        let flight = Self.framed(hello + Uplink.batch(first: first, count: 60))
        let acked = group.next().makePromise(of: UInt64.self)
        let channel = try ClientBootstrap(group: group).channelInitializer { channel in
          channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandlers([
              NIOSSLClientHandler(context: tls, serverHostname: "localhost"),
              NIODevice(flight, until: first + 59, acked),
            ])
          }
        }.connect(host: "127.0.0.1", port: Int(gateway.port)).wait()
        #expect(try acked.futureResult.wait() == first + 59)
        try channel.close().wait()
      }
      let status = try gateway.drained()
      #expect(status.fixes.stored == 120 && status.fixes.duplicate == 0 && status.network.handshakes == 2)
      #expect(status.network.closed == [:])
    }
  }
#endif
