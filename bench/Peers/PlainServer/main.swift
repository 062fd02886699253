import BenchProto
import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import SwiftProtobuf

// What an afternoon of Swift gives, made fairly: the rival that fixgate is measured beside. One event loop; TLS 1.3 by
// NIOSSL; frames with a varint's length, the first one a token; protobuf by SwiftProtobuf; rows committed in groups by one
// thread (RowWriter). An answer is the number of messages committed since the last one. plain-server PORT FOLDER

let port = Int(CommandLine.arguments[1])!
let folder = CommandLine.arguments[2]
let writer = try RowWriter(path: folder + "/plain.db")

var configuration = TLSConfiguration.makeServerConfiguration(
  certificateChain: try NIOSSLCertificate.fromPEMFile(folder + "/server.crt").map { .certificate($0) },
  privateKey: .privateKey(try NIOSSLPrivateKey(file: folder + "/server.key", format: .pem)))
configuration.minimumTLSVersion = .tlsv13
let context = try NIOSSLContext(configuration: configuration)

let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
let channel = try ServerBootstrap(group: group)
  .serverChannelOption(.backlog, value: 4_096)
  .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
  .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
  .childChannelInitializer { channel in
    channel.eventLoop.makeCompletedFuture {
      try channel.pipeline.syncOperations.addHandlers([NIOSSLServerHandler(context: context), FixHandler(writer)])
    }
  }
  .bind(host: "127.0.0.1", port: port).wait()

signal(SIGTERM, SIG_IGN)
let signals = DispatchSource.makeSignalSource(signal: SIGTERM, queue: .global())
signals.setEventHandler {
  writer.stop()
  print("rows \(writer.rows)")
  fflush(nil)
  exit(0)
}
signals.resume()
try channel.closeFuture.wait()
