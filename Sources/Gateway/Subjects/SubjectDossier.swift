import GateCore
import GateStore

/// Writes out all that is held about one owner, as of one moment: what the store has, then what registry and book of subjects say.
struct SubjectDossier {
  var storePath: String
  var registryPath: String
  var bookPath: String
  /// Opens what is held back; `nil` = nothing is sealed.
  var cipher: (any SubjectCipher)?

  func write(_ target: SubjectRange, as format: SubjectExport.Format, into out: ReadOutput) throws {
    let carried = try RegistryStore(path: registryPath).carried(by: target.owner)
    var export = SubjectExport(format) { out.write($0.span) }
    export.begin()
    var problem: (any Error)?
    try SubjectReader(path: storePath, cipher: cipher).read(
      target, carried: carried.map { ($0.device, ($0.sinceMs ?? .min)...max($0.untilMs ?? .max, $0.sinceMs ?? .min)) }
    ) { datum in
      guard problem == nil, out.isOpen else { return }
      do { try export.append(datum) } catch { problem = error }
    }
    if let problem { throw problem }
    for each in carried where !target.owner.isDevice {
      var datum = SubjectDatum("assignment")
      datum.add("device", each.id)
      datum.add("since_ms", each.sinceMs)
      datum.add("until_ms", each.untilMs)
      try export.append(datum)
    }
    let book = try SubjectBook(path: bookPath)
    for hold in try book.holds(tenant: target.tenant, lifted: true) where hold.target.owner == target.owner {
      var datum = SubjectDatum("hold")
      datum.add("number", hold.number)
      datum.add("reason", hold.reason)
      datum.add("made_ms", hold.placedMs)
      datum.add("until_ms", hold.liftedMs)
      SubjectDossier.add(hold.target.times, to: &datum)
      try export.append(datum)
    }
    for erasure in try book.erasures(tenant: target.tenant) where erasure.target.owner == target.owner {
      var datum = SubjectDatum("erasure")
      datum.add("number", erasure.number)
      datum.add("made_ms", erasure.askedMs)
      datum.add("until_ms", erasure.doneMs)
      SubjectDossier.add(erasure.target.times, to: &datum)
      try export.append(datum)
    }
    try export.end()
  }

  private static func add(_ times: ClosedRange<Int64>, to datum: inout SubjectDatum) {
    if times.lowerBound != .min { datum.add("from_ms", times.lowerBound) }
    if times.upperBound != .max { datum.add("to_ms", times.upperBound) }
  }
}
