#pragma once
#include <sqlite3.h>

// SQLITE_TRANSIENT is a cast that Swift does not import: these let SQLite take its own copy.
static inline int gate_sqlite_bind_text(sqlite3_stmt *s, int at, const void *bytes, sqlite3_uint64 count) {
  return sqlite3_bind_text64(s, at, (const char *)bytes, count, SQLITE_TRANSIENT, SQLITE_UTF8);
}
static inline int gate_sqlite_bind_blob(sqlite3_stmt *s, int at, const void *bytes, sqlite3_uint64 count) {
  return sqlite3_bind_blob64(s, at, bytes, count, SQLITE_TRANSIENT);
}

// The same without a copy: the bytes must stay where they are until the statement is reset or bound anew.
static inline int gate_sqlite_bind_text_in_place(sqlite3_stmt *s, int at, const void *bytes, sqlite3_uint64 count) {
  return sqlite3_bind_text64(s, at, (const char *)bytes, count, SQLITE_STATIC, SQLITE_UTF8);
}
static inline int gate_sqlite_bind_blob_in_place(sqlite3_stmt *s, int at, const void *bytes, sqlite3_uint64 count) {
  return sqlite3_bind_blob64(s, at, bytes, count, SQLITE_STATIC);
}
