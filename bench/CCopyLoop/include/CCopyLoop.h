#pragma once
#include <stdint.h>

// A fix with the fields that the bench sends.
struct copy_fix {
  int32_t tenant, device;
  int64_t stream, sequence, receive_time_ms, fix_time_ms;
  int32_t latitude_e7, longitude_e7;
  int64_t horizontal_accuracy_dm, speed_cm_per_s, course_cdeg, battery_percent;
};

// What PostgresSink does for a batch, as one would write it in C: binary COPY into a temporary table, insert what is new,
// move the latest positions and the cursor, commit. `fixes` are in the order of the key. 0 = done, -1 = the server refused.
int copy_batches(const char *conninfo, const struct copy_fix *fixes, long count, long batch);
