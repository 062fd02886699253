import GateCore
package import GateProto

/// What became of each recorded fix, across connections and restarts: the part of a device that must not be lost.
///
/// A fix is known here by its place in the recording, 1 to `recorded`; on the wire by (stream, sequence). Both are the
/// same number until the gateway says that the stream is used up. From then on `mapping` tells which sequences of
/// the new stream are which places: what is unacked is numbered anew from 1 without holes, because holes would be
/// reported as fixes that never came.
///
/// A place is in `acked` only because an ack covered it. One that was refused for good is in `givenUp` instead.
package struct UploadLog: Equatable, Sendable {
  /// `sequences` consecutive sequences from `firstSequence` on are the places from `firstPlace` on.
  package struct Segment: Equatable, Sendable {
    package var firstSequence: UInt64
    package var firstPlace: UInt64
    package var count: UInt64

    package init(firstSequence: UInt64, firstPlace: UInt64, count: UInt64) {
      self.firstSequence = firstSequence
      self.firstPlace = firstPlace
      self.count = count
    }
  }

  package struct GivenUp: Equatable, Sendable {
    package var places: ClosedRange<UInt64>
    package var code: RefusalCode

    package init(places: ClosedRange<UInt64>, code: RefusalCode) {
      self.places = places
      self.code = code
    }
  }

  package private(set) var stream: UInt32
  /// How many fixes have been recorded.
  package private(set) var recorded: UInt64
  package private(set) var acked = RangeSet64()
  package private(set) var givenUp: [GivenUp] = []
  /// Ascending in sequence and place. The last one is open-ended: its count is `Limits.sequenceMax`.
  package private(set) var mapping: [Segment]

  /// Acked or given up: what needs no sending.
  private var settled = RangeSet64()

  package init(stream: UInt32, recorded: UInt64 = 0) {
    precondition(recorded <= Limits.sequenceMax)
    self.stream = stream
    self.recorded = recorded
    mapping = [Segment(firstSequence: 1, firstPlace: 1, count: Limits.sequenceMax)]
  }

  /// From a state file, which has been checked.
  init(stream: UInt32, recorded: UInt64, acked: RangeSet64, givenUp: [GivenUp], mapping: [Segment]) {
    self.stream = stream
    self.recorded = recorded
    self.acked = acked
    self.givenUp = givenUp
    self.mapping = mapping
    settled = acked
    for each in givenUp { settled.insert(each.places) }
  }

  package var ackedCount: UInt64 { acked.count }
  package var givenUpCount: UInt64 { settled.count - acked.count }
  package var unsettledCount: UInt64 { recorded - settled.count }
  /// Every recorded fix is acked or given up.
  package var isSettled: Bool { unsettledCount == 0 }
  /// Sequence that the next recorded fix will get.
  package var nextSequence: UInt64 { sequence(of: recorded + 1) ?? Limits.sequenceMax + 1 }
  /// Lowest sequence that is neither acked nor given up; `nil` when there is none.
  package var oldestHeld: UInt64? { firstUnsettled(from: 1).flatMap(sequence(of:)) }

  /// Fixes have been recorded behind those there are.
  package mutating func record(_ count: UInt64) {
    precondition(count <= Limits.sequenceMax - recorded)
    recorded += count
  }

  /// - Returns: the lowest place at or above `place` that is neither acked nor given up.
  package func firstUnsettled(from place: UInt64) -> UInt64? {
    var place = place
    if let range = settled.range(atOrAfter: place), range.contains(place) { place = range.upperBound + 1 }
    return place <= recorded ? place : nil
  }

  /// The last place of the run of unsettled places, with consecutive sequences, that begins at `place`.
  func runEnd(from place: UInt64) -> UInt64 {
    var end = recorded
    if let next = settled.range(atOrAfter: place) { end = min(end, next.lowerBound - 1) }
    if let segment = segment(ofPlace: place) { end = min(end, segment.firstPlace + (segment.count - 1)) }
    return end
  }

  /// The sequence of a place in the present stream; `nil` if it was settled before the stream began.
  package func sequence(of place: UInt64) -> UInt64? {
    segment(ofPlace: place).map { $0.firstSequence + (place - $0.firstPlace) }
  }

  /// The recorded places that have these sequences in the present stream.
  package func places(of range: SequenceRange) -> [ClosedRange<UInt64>] {
    guard range.first >= 1, range.count >= 1 else { return [] }
    let last = range.count - 1 > UInt64.max - range.first ? UInt64.max : range.first + (range.count - 1)
    var places: [ClosedRange<UInt64>] = []
    for segment in mapping {
      let low = max(range.first, segment.firstSequence)
      let high = min(last, segment.firstSequence + (segment.count - 1))
      guard low <= high else { continue }
      let from = segment.firstPlace + (low - segment.firstSequence)
      let to = min(recorded, segment.firstPlace + (high - segment.firstSequence))
      if from <= to { places.append(from...to) }
    }
    return places
  }

  mutating func acknowledge(_ places: ClosedRange<UInt64>) {
    acked.insert(places)
    settled.insert(places)
    // A late ack outranks a refusal: the fix is stored.
    if givenUp.contains(where: { $0.places.overlaps(places) }) {
      givenUp = givenUp.flatMap { each -> [GivenUp] in
        var left = RangeSet64()
        left.insert(each.places)
        left.remove(places)
        return left.ranges.map { GivenUp(places: $0, code: each.code) }
      }
    }
  }

  mutating func giveUp(_ places: ClosedRange<UInt64>, code: RefusalCode) {
    var left = RangeSet64()
    left.insert(places)
    for range in settled.ranges where range.overlaps(places) { left.remove(range) }
    for range in left.ranges {
      givenUp.append(GivenUp(places: range, code: code))
      settled.insert(range)
    }
  }

  /// Goes on in another stream: what is unsettled gets sequences from 1 on, in its order.
  mutating func renumber(stream: UInt32) {
    self.stream = stream
    mapping = []
    var sequence: UInt64 = 1
    var place: UInt64 = 1
    while let first = firstUnsettled(from: place) {
      var last = recorded
      if let next = settled.range(atOrAfter: first) { last = min(last, next.lowerBound - 1) }
      mapping.append(Segment(firstSequence: sequence, firstPlace: first, count: last - first + 1))
      sequence += last - first + 1
      place = last + 1
    }
    if let last = mapping.last, last.firstPlace + last.count == recorded + 1 {
      mapping[mapping.count - 1].count = Limits.sequenceMax - max(last.firstSequence, last.firstPlace) + 1
    } else {
      mapping.append(
        Segment(
          firstSequence: sequence, firstPlace: recorded + 1, count: Limits.sequenceMax - max(sequence, recorded + 1) + 1))
    }
  }

  private func segment(ofPlace place: UInt64) -> Segment? {
    var low = 0
    var high = mapping.count
    while low < high {
      let middle = (low + high) / 2
      if mapping[middle].firstPlace + (mapping[middle].count - 1) < place { low = middle + 1 } else { high = middle }
    }
    return low < mapping.count && mapping[low].firstPlace <= place ? mapping[low] : nil
  }
}
