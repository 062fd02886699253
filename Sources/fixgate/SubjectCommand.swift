import ArgumentParser
import Foundation
import GateCore
import GateStore
import Gateway

struct SubjectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "subject", abstract: "Look after the people whose positions are stored.",
    subcommands: [SubjectErase.self, SubjectErasures.self, SubjectRotateKeys.self])
}
