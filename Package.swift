// swift-tools-version: 6.2
import PackageDescription

// Built only when asked for: they need more packages, or an instrumented build.
let withPeers = Context.environment["FIXGATE_BENCH"] == "peers"
let withBench = withPeers || Context.environment["FIXGATE_BENCH"] == "1"
let withFuzz = Context.environment["FIXGATE_FUZZ"] == "1"
// Another TLS library as a client, in the tests: minutes of C to build.
let withForeign = Context.environment["FIXGATE_FOREIGN"] == "1"

// One list of settings for every target of ours.
let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .treatWarning("DeprecatedDeclaration", as: .warning),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("ExistentialAny"),
]

let fuzzed = settings + [.unsafeFlags(["-sanitize=fuzzer,address"])]

let package = Package(
  name: "fixgate",
  products: [
    .executable(name: "fixgate", targets: ["fixgate"]),
    // Preloaded by tests, never linked: see Tests/PowerCut/CPowerCut/powercut.c.
    .library(name: "powercut", type: .dynamic, targets: ["CPowerCut"]),
  ],
  traits: [
    .trait(name: "PostgreSQL", description: "Sinks of type postgresql; needs libpq-dev."),
    .trait(name: "JetStream", description: "Sinks of type jetstream; needs libnats-dev."),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.0.0"),
  ],
  targets: [
    // C: system libraries and the shims over them.
    .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
    .systemLibrary(name: "CProtobufC", pkgConfig: "libprotobuf-c", providers: [.apt(["libprotobuf-c-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CPostgreSQL", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    .systemLibrary(name: "CNATS", pkgConfig: "libnats", providers: [.apt(["libnats-dev"])]),
    .target(name: "CLinux"),
    .target(name: "CGateShims"),
    .target(name: "CFixProto", dependencies: ["CProtobufC"]),

    // The data plane: no package dependencies.
    .target(name: "GateBytes", dependencies: ["CGateShims"], swiftSettings: withFuzz ? fuzzed : settings),
    .target(name: "GateCore", dependencies: ["GateBytes"], swiftSettings: withFuzz ? fuzzed : settings),
    .target(name: "GateMemory", dependencies: ["CGateShims", "GateCore"], swiftSettings: settings),
    .target(name: "GateProto", dependencies: ["GateCore", "CFixProto"], swiftSettings: settings),
    .target(name: "GateTLS", dependencies: ["CGateShims", "GateCore", "COpenSSL"], swiftSettings: withFuzz ? fuzzed : settings),
    .target(name: "GateNet", dependencies: ["GateCore", "CLinux"], swiftSettings: settings),
    .target(name: "GateStore", dependencies: ["GateCore", "CSQLite", "CLinux"], swiftSettings: settings),
    // Empty without their traits.
    .target(
      name: "GatePostgres",
      dependencies: ["GateCore", "GateStore", .target(name: "CPostgreSQL", condition: .when(traits: ["PostgreSQL"]))],
      swiftSettings: settings),
    .target(
      name: "GateJetStream",
      dependencies: ["GateCore", "GateStore", .target(name: "CNATS", condition: .when(traits: ["JetStream"]))],
      swiftSettings: settings),
    .target(name: "GateDevice", dependencies: ["GateCore", "GateProto"], swiftSettings: settings),
    .target(name: "GateTrack", dependencies: ["GateCore", "CZlib"], swiftSettings: withFuzz ? fuzzed : settings),
    .target(
      name: "Gateway",
      dependencies: [
        "GateCore", "GateMemory", "GateProto", "GateTLS", "GateNet", "GateStore", "GatePostgres", "GateJetStream",
      ],
      swiftSettings: withFuzz ? fuzzed : settings),

    // The whole pipeline in one thread, under faults, by seed.
    .target(
      name: "GateSim",
      dependencies: ["GateCore", "GateMemory", "GateProto", "GateTLS", "GateStore", "GateDevice", "Gateway"],
      swiftSettings: settings),
    .executableTarget(name: "fixgate-sim", dependencies: ["GateSim"], swiftSettings: settings),

    // The configuration file, apart from the executable so that it can be fuzzed.
    .target(
      name: "GateConfiguration", dependencies: ["Gateway", "GateCore", .product(name: "Yams", package: "Yams")],
      swiftSettings: settings),

    // The control plane: well-kept packages are at home here.
    .executableTarget(
      name: "fixgate",
      dependencies: [
        "Gateway", "GateConfiguration", "GateCore", "GateDevice", "GateNet", "GateProto", "GateStore", "GateTLS",
        "GateTrack", .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),

    .testTarget(
      name: "GateCoreTests", dependencies: ["GateCore", "CGateShims", "WireVectors", "JournalProperties"],
      swiftSettings: settings),
    .testTarget(name: "GateMemoryTests", dependencies: ["GateCore", "GateMemory"], swiftSettings: settings),
    .testTarget(
      name: "GateProtoTests", dependencies: ["GateCore", "GateProto", "CFixProto", "WireVectors"],
      swiftSettings: settings),
    .target(
      name: "WireVectors", dependencies: ["GateCore"], path: "Tests/Vectors", exclude: ["wire.txt", "dtls-cid.txt"],
      swiftSettings: settings),
    .testTarget(name: "GateDeviceTests", dependencies: ["GateCore", "GateProto", "GateDevice"], swiftSettings: settings),
    .testTarget(name: "GateTrackTests", dependencies: ["GateCore", "GateTrack"], swiftSettings: settings),
    .testTarget(
      name: "GateTLSTests", dependencies: ["GateCore", "GateTLS", "COpenSSL", "WireVectors", "DTLSProperties"], swiftSettings: settings),
    .testTarget(name: "GateNetTests", dependencies: ["GateCore", "GateNet", "GateTLS"], swiftSettings: settings),
    .testTarget(name: "TidyTests", swiftSettings: settings),
    .testTarget(
      name: "CredentialTests",
      dependencies: ["Gateway", "GateCore", "GateNet", "GateProto", "GateStore", "GateTLS"], swiftSettings: settings),
    .testTarget(name: "SimulationTests", dependencies: ["GateSim", "GateStore", "GateCore", "Gateway"], swiftSettings: settings),
    .testTarget(name: "GateStoreTests", dependencies: ["GateStore", "GateCore"], swiftSettings: settings),
    // The real executable as a child process.
    .testTarget(
      name: "GatewayTests",
      dependencies: [
        "fixgate", "Gateway", "GateConfiguration", "GateCore", "GateDevice", "GateJetStream", "GateNet", "GatePostgres",
        "GateProto", "GateStore", "GateTLS", "GateTrack", "PowerCutDisk", "GatewayProperties", "DTLSProperties",
      ],
      swiftSettings: settings),

    .target(
      name: "GatewayProperties",
      dependencies: ["Gateway", "GateConfiguration", "GateCore", "GateMemory", "GateProto", "GateTLS", "GateTrack"],
      path: "Tests/Fuzz/GatewayProperties", swiftSettings: settings),
    .target(
      name: "DTLSProperties", dependencies: ["GateCore", "GateTLS"], path: "Tests/Fuzz/DTLSProperties",
      swiftSettings: settings),
    .target(
      name: "JournalProperties", dependencies: ["GateCore"], path: "Tests/Fuzz/JournalProperties",
      swiftSettings: settings),

    // Power cuts: a preloaded library, the disk it models, and the journal under it.
    .target(name: "CPowerCut", path: "Tests/PowerCut/CPowerCut"),
    .target(name: "PowerCutDisk", path: "Tests/PowerCut/PowerCutDisk", swiftSettings: settings),
    .executableTarget(
      name: "powercut-journal", dependencies: ["GateCore", "GateStore"], path: "Tests/PowerCut/JournalWriter",
      swiftSettings: settings),
    .executableTarget(
      name: "powercut-sqlite", dependencies: ["GateStore"], path: "Tests/PowerCut/SQLiteWriter", swiftSettings: settings),
    .testTarget(
      name: "PowerCutTests",
      dependencies: ["GateCore", "GateStore", "PowerCutDisk", "powercut-journal", "powercut-sqlite"],
      path: "Tests/PowerCut/PowerCutTests", swiftSettings: settings),
  ]
)

if withBench {
  // Its own tests alone: they need no other build of everything.
  package.targets.removeAll { $0.type == .test }
  package.dependencies += [
    .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ]
  package.products.append(.library(name: "pathhook", type: .dynamic, targets: ["CPathHook"]))
  package.targets += [
    .target(name: "CAllocations", path: "bench/CAllocations"),
    .target(name: "CBench", path: "bench/CBench"),
    .target(
      name: "BenchProto", dependencies: [.product(name: "SwiftProtobuf", package: "swift-protobuf")],
      path: "bench/Proto", exclude: ["README.md"]),
    .target(name: "BenchHarness", dependencies: ["CAllocations", "GateCore"], path: "bench/Harness", swiftSettings: settings),
    // One stage at a time, and rivals in C.
    .target(name: "CRivals", path: "bench/CRivals"),
    .target(
      name: "BenchStages",
      dependencies: [
        "BenchHarness", "BenchProto", "BenchReport", "CFixProto", "COpenSSL", "CRivals", "CSQLite", "GateCore", "GateMemory",
        "GateNet", "GateStore", "GateTLS", "Gateway", .product(name: "SwiftProtobuf", package: "swift-protobuf"),
      ],
      path: "bench/Stages", swiftSettings: settings),
    // Preloaded into a gateway, never linked.
    .target(name: "CPathHook", path: "bench/CPathHook"),
    .executableTarget(
      name: "path-bite", dependencies: ["GateNet", "GateStore", "GateTLS"], path: "bench/Bite", swiftSettings: settings),
    // The load generator.
    .target(
      name: "BenchFleet",
      dependencies: [
        "BenchHarness", "CBench", "GateCore", "GateDevice", "GateNet", "GateProto", "GateStore", "GateTLS", "Gateway",
        .product(name: "Histogram", package: "hdrhistogram-swift"),
      ],
      path: "bench/Fleet", swiftSettings: settings),
    .target(
      name: "BenchPath",
      dependencies: [
        "BenchFleet", "BenchHarness", "CAllocations", "GateCore", "GateDevice", "GateMemory", "GateNet", "GateProto",
        "GateTLS", "Gateway", .product(name: "Histogram", package: "hdrhistogram-swift"),
      ],
      path: "bench/Path", swiftSettings: settings),
    .target(
      name: "BenchDTLS",
      dependencies: [
        "BenchFleet", "BenchHarness", "CAllocations", "COpenSSL", "GateCore", "GateMemory", "GateNet", "GateProto",
        "GateStore", "GateTLS", "Gateway",
      ],
      path: "bench/DTLS", swiftSettings: settings),
    // From a device's first byte to its first ack.
    .target(
      name: "BenchStarts", dependencies: ["BenchFleet", "GateCore", "GateDevice", "GateNet", "GateProto", "GateTLS"],
      path: "bench/Starts", swiftSettings: settings),
    // Results as values: files, tables, comparison, plots.
    .target(
      name: "BenchReport", dependencies: [.product(name: "ArgumentParser", package: "swift-argument-parser")],
      path: "bench/Report", swiftSettings: settings),
    .target(
      name: "BenchLoad",
      dependencies: [
        "BenchFleet", "BenchHarness", "BenchPath", "BenchReport", "CBench", "GateCore", "GateNet", "GateTLS", "Gateway",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Histogram", package: "hdrhistogram-swift"),
      ],
      path: "bench/Load", swiftSettings: settings),
    .target(
      name: "BenchPeers",
      dependencies: [
        "BenchFleet", "BenchLoad", "BenchReport", "GateCore", "GateNet", "GateTLS",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "bench/Peers/Side", swiftSettings: settings),
    // Sinks that are servers. Both are empty without the trait.
    .target(
      name: "CCopyLoop",
      dependencies: [.target(name: "CPostgreSQL", condition: .when(traits: ["PostgreSQL"]))], path: "bench/CCopyLoop",
      cSettings: [.define("FIXGATE_POSTGRESQL", .when(traits: ["PostgreSQL"]))]),
    .target(
      name: "BenchSinks",
      dependencies: [
        "BenchFleet", "BenchHarness", "BenchLoad", "BenchReport", "BenchStages", "CCopyLoop", "GateCore", "GateNet",
        "GatePostgres", "GateStore",
      ],
      path: "bench/Sinks", swiftSettings: settings),
    .executableTarget(
      name: "fixgate-bench",
      dependencies: [
        "GateCore", "GateNet", "GateTLS", "BenchDTLS", "BenchFleet", "BenchHarness", "BenchLoad", "BenchPath", "BenchPeers",
        "BenchReport", "BenchSinks", "BenchStages", "BenchStarts", .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "bench/Micro", swiftSettings: settings),
    .testTarget(
      name: "BenchTests",
      dependencies: [
        "BenchFleet", "BenchReport", "GateCore", .product(name: "Histogram", package: "hdrhistogram-swift"),
      ],
      path: "bench/Tests", swiftSettings: settings),
  ]
}

// The rival that is written in Swift too.
if withPeers {
  package.dependencies += [
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
  ]
  package.targets.append(
    .executableTarget(
      name: "plain-server",
      dependencies: [
        "BenchProto", "CSQLite", .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"), .product(name: "NIOSSL", package: "swift-nio-ssl"),
        .product(name: "SwiftProtobuf", package: "swift-protobuf"),
      ],
      path: "bench/Peers/PlainServer", swiftSettings: [.swiftLanguageMode(.v6)]))
}

if withForeign, let tests = package.targets.first(where: { $0.name == "GatewayTests" }) {
  package.dependencies += [
    .package(url: "https://github.com/apple/swift-nio", from: "2.98.0"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
  ]
  tests.dependencies += [
    .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
    .product(name: "NIOSSL", package: "swift-nio-ssl"),
  ]
  tests.swiftSettings?.append(.define("FOREIGN_CLIENTS"))
}

if withFuzz {
  package.targets.append(.target(name: "FuzzDriver", path: "Tests/Fuzz/Driver", swiftSettings: fuzzed))
  for (folder, properties) in [
    ("Wire", "WireVectors"), ("Journal", "JournalProperties"), ("Session", "GatewayProperties"),
    ("Track", "GatewayProperties"), ("Configuration", "GatewayProperties"), ("Datagrams", "DTLSProperties"),
    ("Slots", "DTLSProperties"), ("Records", "GatewayProperties"),
  ] {
    package.targets.append(
      .executableTarget(
        name: "fuzz-\(folder.lowercased())", dependencies: ["FuzzDriver", .byName(name: properties)],
        path: "Tests/Fuzz/\(folder)", swiftSettings: fuzzed,
        linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])]))
  }
}
