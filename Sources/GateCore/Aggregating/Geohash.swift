/// A cell of the geohash grid by its name: 1 to 9 characters, each cutting the cell before it into 32. Six are about
/// 1.2 km by 0.6 km at the equator.
package enum Geohash {
  package static let lengths = 1...9
  private static let digits = Array("0123456789bcdefghjkmnpqrstuvwxyz".unicodeScalars)

  /// The cell as a number: five bits a character, the first on top.
  ///
  /// - Parameters: WGS 84 in 1e-7 degree; what lies beyond a pole or the date line counts as on it.
  package static func cell(latitudeE7: Int64, longitudeE7: Int64, length: Int) -> UInt64 {
    precondition(lengths.contains(length))
    var latitude: (low: Int64, high: Int64) = (-900_000_000 << 24, 900_000_000 << 24)
    var longitude: (low: Int64, high: Int64) = (-1_800_000_000 << 24, 1_800_000_000 << 24)
    let y = min(max(latitudeE7, -900_000_000), 899_999_999) << 24
    let x = min(max(longitudeE7, -1_800_000_000), 1_799_999_999) << 24
    var cell: UInt64 = 0
    for bit in 0..<5 * length {
      if bit % 2 == 0 {
        cell = cell << 1 | halve(&longitude, x)
      } else {
        cell = cell << 1 | halve(&latitude, y)
      }
    }
    return cell
  }

  /// Bounds carry 24 more bits, so that every half is exact.
  private static func halve(_ bounds: inout (low: Int64, high: Int64), _ value: Int64) -> UInt64 {
    let middle = bounds.low + (bounds.high - bounds.low) / 2
    if value >= middle {
      bounds.low = middle
      return 1
    }
    bounds.high = middle
    return 0
  }

  package static func name(_ cell: UInt64, length: Int) -> String {
    var name = ""
    for place in 0..<length {
      name.unicodeScalars.append(digits[Int(cell >> UInt64(5 * (length - 1 - place)) & 31)])
    }
    return name
  }
}
