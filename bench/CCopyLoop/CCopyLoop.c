// Empty without the trait PostgreSQL.
#ifdef FIXGATE_POSTGRESQL
#include "CCopyLoop.h"

#include <endian.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS                                                                                                       \
  "device, stream, sequence, tenant, receive_time_ms, verdict, lane, transport, fix_time_ms, latitude_e7, longitude_e7, " \
  "horizontal_accuracy_dm, speed_cm_per_s, course_cdeg, battery_percent"

static char *put16(char *at, uint16_t value) {
  value = htobe16(value);
  memcpy(at, &value, 2);
  return at + 2;
}

static char *put32(char *at, uint32_t value) {
  value = htobe32(value);
  memcpy(at, &value, 4);
  return at + 4;
}

static char *put_int(char *at, int32_t value) { return put32(put32(at, 4), (uint32_t)value); }

static char *put_big(char *at, int64_t value) {
  uint64_t big = htobe64((uint64_t)value);
  at = put32(at, 8);
  memcpy(at, &big, 8);
  return at + 8;
}

static char *put_row(char *at, const struct copy_fix *fix, int is_latest) {
  at = put16(at, 16);
  at = put32(at, 1);
  *at++ = (char)is_latest;
  at = put_int(at, fix->device);
  at = put_big(at, fix->stream);
  at = put_big(at, fix->sequence);
  at = put_int(at, fix->tenant);
  at = put_big(at, fix->receive_time_ms);
  at = put_int(at, 0);
  at = put_int(at, 0);
  at = put_int(at, 1);
  at = put_big(at, fix->fix_time_ms);
  at = put_int(at, fix->latitude_e7);
  at = put_int(at, fix->longitude_e7);
  at = put_big(at, fix->horizontal_accuracy_dm);
  at = put_big(at, fix->speed_cm_per_s);
  at = put_big(at, fix->course_cdeg);
  return put_big(at, fix->battery_percent);
}

static int run(PGconn *connection, const char *sql) {
  PGresult *result = PQexec(connection, sql);
  ExecStatusType status = PQresultStatus(result);
  PQclear(result);
  return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_COPY_IN ? 0 : -1;
}

static int copy_batch(PGconn *connection, char *buffer, const struct copy_fix *fixes, long count) {
  char *at = buffer;
  memcpy(at, "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
  at += 19;
  for (long i = 0; i < count; i++) {
    at = put_row(at, &fixes[i], i + 1 == count || fixes[i + 1].device != fixes[i].device);
  }
  at = put16(at, 0xFFFF);
  if (run(connection, "BEGIN") || run(connection, "SELECT next_lsn FROM fixgate.cursor WHERE gateway = 'c' FOR UPDATE") ||
      run(connection, "COPY staged_fix(is_latest, " COLUMNS ") FROM STDIN (FORMAT binary)"))
    return -1;
  for (char *from = buffer; from < at; from += 256 << 10) {
    long bytes = at - from < 256 << 10 ? at - from : 256 << 10;
    if (PQputCopyData(connection, from, (int)bytes) != 1) return -1;
  }
  if (PQputCopyEnd(connection, NULL) != 1) return -1;
  PGresult *result;
  while ((result = PQgetResult(connection)) != NULL) PQclear(result);
  return run(connection, "INSERT INTO fixgate.fix(" COLUMNS ") SELECT " COLUMNS " FROM staged_fix ON CONFLICT DO NOTHING") ||
         run(connection,
             "INSERT INTO fixgate.latest AS l(device, tenant, stream, sequence, fix_time_ms, receive_time_ms, latitude_e7, "
             "longitude_e7, horizontal_accuracy_dm, speed_cm_per_s, course_cdeg, battery_percent) SELECT device, tenant, "
             "stream, sequence, fix_time_ms, receive_time_ms, latitude_e7, longitude_e7, horizontal_accuracy_dm, "
             "speed_cm_per_s, course_cdeg, battery_percent FROM staged_fix WHERE is_latest ORDER BY device ON CONFLICT "
             "(device) DO UPDATE SET stream = excluded.stream, sequence = excluded.sequence, fix_time_ms = "
             "excluded.fix_time_ms, receive_time_ms = excluded.receive_time_ms, latitude_e7 = excluded.latitude_e7, "
             "longitude_e7 = excluded.longitude_e7, horizontal_accuracy_dm = excluded.horizontal_accuracy_dm, "
             "speed_cm_per_s = excluded.speed_cm_per_s, course_cdeg = excluded.course_cdeg, battery_percent = "
             "excluded.battery_percent WHERE (least(excluded.fix_time_ms, excluded.receive_time_ms), excluded.sequence) > "
             "(least(l.fix_time_ms, l.receive_time_ms), l.sequence)") ||
         run(connection, "UPDATE fixgate.cursor SET next_lsn = next_lsn + 1, changed = now() WHERE gateway = 'c'") ||
         run(connection, "COMMIT");
}

int copy_batches(const char *conninfo, const struct copy_fix *fixes, long count, long batch) {
  PGconn *connection = PQconnectdb(conninfo);
  char *buffer = malloc((size_t)batch * 180 + 64);
  int failed = PQstatus(connection) != CONNECTION_OK ||
               run(connection, "CREATE TEMP TABLE staged_fix(is_latest boolean, LIKE fixgate.fix) ON COMMIT DELETE ROWS") ||
               run(connection, "INSERT INTO fixgate.cursor(gateway, next_lsn) VALUES ('c', 0) ON CONFLICT DO NOTHING");
  for (long at = 0; at < count && !failed; at += batch) {
    failed = copy_batch(connection, buffer, fixes + at, count - at < batch ? count - at : batch);
  }
  free(buffer);
  PQfinish(connection);
  return failed ? -1 : 0;
}
#endif
