import ArgumentParser
import Foundation
import GateCore
import GateStore
import Gateway

struct SubjectErase: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "erase",
    abstract: "Erase all that is held about a subject, or what lies in a range of time, and print a receipt.",
    discussion: """
      Keys are shredded, so that journal and older copies of it can be read by nobody; stores delete and overwrite. Fixes of an \
      erased subject that come later are refused. What was erased cannot be brought back. Asked for once, it is done even if \
      gateway or machine fail meanwhile; asked for again, it gives the same receipt. That sequences were received stays known. With \
      a token it is asked for and not waited for: ask again for the receipt.
      """)

  @Argument(help: "The subject's id.")
  var subject: String?

  @OptionGroup var target: SubjectTarget

  @OptionGroup var reading: ReadOptions

  @Option(help: "Seconds to wait for the receipt.")
  var wait = 120

  func run() throws {
    if try reading.hasToken {
      try reading.read(target.query(.erase, subject), tenant: target.tenant)
      return
    }
    let setup = try reading.config.load()
    let range = try target.find(subject, in: setup)
    guard FileManager.default.fileExists(atPath: setup.registryKeyPath) else {
      throw Complaint(
        "positions lie readable in the journal, since there is no \(setup.registryKeyPath), and cannot be erased there: make it "
          + "with 'head -c 32 /dev/urandom', chmod 600, and restart the gateway")
    }
    let book = try SubjectBook(path: setup.subjectBookPath)
    let held = try book.holds(on: range)
    guard held.isEmpty else { throw SubjectBookError.held(held) }
    try setup.note(.erased, tenant: target.tenant, subject: range.subjectIndex, device: range.deviceIndex)
    let number = try book.ask(range, nowMs: Clock.nowMs)
    let answer = try ControlClient.ask(.subjects, directory: setup.dataDirectory)
    if let problem = answer?.problem { throw Complaint(problem) }
    let end = Date(timeIntervalSinceNow: Double(answer == nil ? 0 : wait))
    while true {
      if let receipt = try book.erasures(tenant: range.tenant).first(where: { $0.number == number })?.receipt {
        return print(receipt)
      }
      guard Date() < end else { break }
      Thread.sleep(forTimeInterval: 0.1)
    }
    let when = answer == nil ? "no gateway runs: it is carried out when one starts" : "it is under way"
    FileHandle.standardError.write(
      Data("erasure \(number) is written down; \(when). 'fixgate subject erasures' prints the receipt\n".utf8))
  }
}

struct SubjectErasures: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "erasures", abstract: "Print the receipts of a tenant's erasures, and what is under way.")

  @Option(help: "The tenant.")
  var tenant: String

  @OptionGroup var config: ConfigurationOption

  func run() throws {
    let setup = try config.load()
    let index = try RegistryStore(path: setup.registryPath).index(ofTenant: tenant)
    for erasure in try SubjectBook(path: setup.subjectBookPath).erasures(tenant: index) {
      print(erasure.receipt ?? "erasure \(erasure.number), asked for at \(Clock.text(erasure.askedMs)), is under way")
    }
  }
}

struct SubjectRotateKeys: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rotate-keys",
    abstract: "Give each of a tenant's subjects a new key.",
    discussion: """
      Nothing stops meanwhile. The old keys go as soon as the journal holds nothing that they open; then a copy of the journal from \
      before is worth nothing.
      """)

  @Option(help: "The tenant.")
  var tenant: String

  @OptionGroup var config: ConfigurationOption

  func run() throws {
    let setup = try config.load()
    let index = try RegistryStore(path: setup.registryPath).index(ofTenant: tenant)
    try setup.note(.rotated, tenant: tenant, about: "subject keys")
    guard let answer = try ControlClient.ask(.rotateKeys(tenant: index), directory: setup.dataDirectory) else {
      throw Complaint("no gateway runs on \(setup.dataDirectory); start it with 'fixgate serve'")
    }
    if let problem = answer.problem { throw Complaint(problem) }
    print("\(answer.keys ?? 0) new keys are in force")
  }
}
