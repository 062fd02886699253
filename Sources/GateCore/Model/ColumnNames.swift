extension Column {
  /// The column's name in proto/fixgate.proto and in stores.
  package var wireName: String {
    switch self {
    case .horizontalAccuracyDm: "horizontal_accuracy_dm"
    case .speedCmPerS: "speed_cm_per_s"
    case .courseCdeg: "course_cdeg"
    case .batteryPercent: "battery_percent"
    case .altitudeEllipsoidDm: "altitude_ellipsoid_dm"
    case .altitudeMslDm: "altitude_msl_dm"
    case .verticalAccuracyDm: "vertical_accuracy_dm"
    case .speedAccuracyCmPerS: "speed_accuracy_cm_per_s"
    case .courseAccuracyCdeg: "course_accuracy_cdeg"
    case .satellitesUsed: "satellites_used"
    case .hdopTenths: "hdop_tenths"
    case .fixMode: "fix_mode"
    case .source: "source"
    case .trigger: "trigger"
    case .event: "event"
    case .priority: "priority"
    case .flagsKnown: "flags_known"
    case .flags: "flags"
    case .activity: "activity"
    case .charging: "charging"
    case .externalPowerMv: "external_power_mv"
    case .odometerM: "odometer_m"
    case .connectivity: "connectivity"
    case .signalDbm: "signal_dbm"
    }
  }
}
