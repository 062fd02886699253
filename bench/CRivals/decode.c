#include "CRivals.h"
#include <immintrin.h>
#include <string.h>

enum { time_bit = 1u << 26, position_bit = 1u << 25, latitude_bit = 1u << 30, longitude_bit = 1u << 31 };
// Columns that are zigzag in a row, by field less 5: both altitudes (9, 10) and the signal (28).
enum { zigzag_columns = 1u << 4 | 1u << 5 | 1u << 23 };

struct reader {
  const uint8_t *at, *end;
};

static bool long_varint(struct reader *in, uint64_t *value) {
  uint64_t sum = 0;
  for (unsigned shift = 0; shift < 70 && in->at < in->end; shift += 7) {
    uint8_t byte = *in->at++;
    sum |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *value = sum;
      return true;
    }
  }
  return false;
}

static inline __attribute__((always_inline)) bool varint(struct reader *in, uint64_t *value) {
  const uint8_t *at = in->at;
  if (at < in->end && at[0] < 0x80) {
    *value = at[0];
    in->at = at + 1;
    return true;
  }
  if (in->end - at >= 3) {
    if (at[1] < 0x80) {
      *value = (at[0] & 0x7f) | (uint64_t)at[1] << 7;
      in->at = at + 2;
      return true;
    }
    if (at[2] < 0x80) {
      *value = (at[0] & 0x7f) | (uint64_t)(at[1] & 0x7f) << 7 | (uint64_t)at[2] << 14;
      in->at = at + 3;
      return true;
    }
  }
  return long_varint(in, value);
}

static inline bool length(struct reader *in, struct reader *body) {
  uint64_t bytes;
  if (!varint(in, &bytes) || bytes > (uint64_t)(in->end - in->at)) return false;
  body->at = in->at;
  body->end = in->at += bytes;
  return true;
}

static bool skip(struct reader *in, uint64_t tag) {
  uint64_t value;
  struct reader body;
  switch (tag & 7) {
    case 0: return varint(in, &value);
    case 1: return in->end - in->at >= 8 && (in->at += 8, true);
    case 2: return length(in, &body);
    case 5: return in->end - in->at >= 4 && (in->at += 4, true);
    default: return false;
  }
}

static inline int32_t zigzag32(uint64_t raw) {
  uint32_t low = (uint32_t)raw;
  return (int32_t)(low >> 1 ^ (0u - (low & 1)));
}

static inline void store(struct rival_fix *fix, int index, uint64_t raw, uint32_t *present) {
  fix->values[index] = zigzag_columns >> index & 1 ? zigzag32(raw) : (int32_t)(uint32_t)raw;
  *present |= 1u << index;
}

#define EXPECT(field)                                    \
  if (in.at < in.end && *in.at == (field) << 3) {        \
    in.at++;                                             \
    if (!varint(&in, &value)) return false;              \
    store(fix, (field) - 5, value, &present);            \
  }

static bool row(struct reader in, struct rival_fix *fix) {
  uint64_t value;
  uint32_t present = 0;
  memset(fix, 0, sizeof *fix);
  if (in.at < in.end && *in.at == 1 << 3) {
    in.at++;
    if (!varint(&in, &fix->sequence)) return false;
  }
  if (in.at < in.end && *in.at == 2 << 3) {
    in.at++;
    if (!varint(&in, &value)) return false;
    fix->time_ms = (int64_t)value;
    present |= time_bit;
  }
  if (in.end - in.at >= 10 && in.at[0] == (3 << 3 | 5) && in.at[5] == (4 << 3 | 5)) {
    memcpy(&fix->latitude_e7, in.at + 1, 4);
    memcpy(&fix->longitude_e7, in.at + 6, 4);
    in.at += 10;
    present |= latitude_bit | longitude_bit;
  }
  EXPECT(5) EXPECT(6) EXPECT(7) EXPECT(8) EXPECT(9) EXPECT(14) EXPECT(15)
  while (in.at < in.end) {
    uint64_t tag;
    if (!varint(&in, &tag) || tag < 8 || tag > UINT32_MAX) return false;
    uint64_t field = tag >> 3;
    if ((tag & 7) == 0 && field == 1) {
      if (!varint(&in, &fix->sequence)) return false;
    } else if ((tag & 7) == 0 && field == 2) {
      if (!varint(&in, &value)) return false;
      fix->time_ms = (int64_t)value;
      present |= time_bit;
    } else if ((tag & 7) == 5 && (field == 3 || field == 4)) {
      if (in.end - in.at < 4) return false;
      memcpy(field == 3 ? &fix->latitude_e7 : &fix->longitude_e7, in.at, 4);
      in.at += 4;
      present |= field == 3 ? latitude_bit : longitude_bit;
    } else if ((tag & 7) == 0 && field >= 5 && field < 29) {
      if (!varint(&in, &value)) return false;
      store(fix, (int)field - 5, value, &present);
    } else if (field >= 29 && field <= 31) {
      return false;
    } else if (!skip(&in, tag)) {
      return false;
    }
  }
  uint32_t halves = latitude_bit | longitude_bit;
  if ((present & halves) == halves) present |= position_bit;
  fix->present = present & ~halves;
  return true;
}

// Where a column's values go: `stride` bytes from one fix to the next.
struct target {
  uint8_t *at;
  size_t stride;
  int left;
};

static inline __attribute__((always_inline)) void put32(struct target *to, uint32_t value) {
  memcpy(to->at, &value, 4);
  to->at += to->stride;
  to->left--;
}

// The last difference goes on; one value alone is a constant.
static inline void fill(struct target *to, uint32_t value, uint32_t difference, bool one) {
  if (one) difference = 0;
  while (to->left > 0) put32(to, value += difference);
}

static bool column_scalar(struct reader in, struct target to) {
  uint32_t value = 0, difference = 0;
  int seen = 0;
  while (in.at < in.end) {
    uint64_t raw;
    if (to.left == 0 || !varint(&in, &raw)) return false;
    value += difference = (uint32_t)zigzag32(raw);
    put32(&to, value);
    seen++;
  }
  fill(&to, value, difference, seen == 1);
  return true;
}

// For each pattern of high bits of eight bytes: how to spread the values that end in them over eight 16-bit lanes, how many
// those are and how many bytes they take; 0 values when one of them has three bytes or more.
static struct {
  uint8_t shuffle[16];
  uint8_t values, bytes;
} spread[256];

__attribute__((constructor)) static void make_spread(void) {
  for (int mask = 0; mask < 256; mask++) {
    int at = 0, values = 0;
    memset(spread[mask].shuffle, 0x80, 16);
    while (at < 8) {
      int bytes = 1;
      while (at + bytes - 1 < 8 && mask >> (at + bytes - 1) & 1) bytes++;
      if (bytes > 2 || at + bytes > 8) break;
      for (int i = 0; i < bytes; i++) spread[mask].shuffle[2 * values + i] = (uint8_t)(at + i);
      values++;
      at += bytes;
    }
    spread[mask].values = (uint8_t)values;
    spread[mask].bytes = (uint8_t)at;
  }
}

// Eight bytes a step: values of one and two bytes spread by one shuffle, differences undone by three shifted adds.
__attribute__((target("avx2"))) static bool column_simd(struct reader in, struct target to) {
  uint32_t value = 0, difference = 0;
  int seen = 0;
  while (in.end - in.at >= 8) {
    __m128i raw = _mm_loadl_epi64((const __m128i *)in.at);
    unsigned mask = (unsigned)_mm_movemask_epi8(raw) & 0xff;
    int values = spread[mask].values;
    if (values == 0) {
      uint64_t one;
      if (to.left == 0 || !varint(&in, &one)) return false;
      value += difference = (uint32_t)zigzag32(one);
      put32(&to, value);
      seen++;
      continue;
    }
    if (values > to.left) return false;
    __m128i lanes = _mm_shuffle_epi8(raw, _mm_loadu_si128((const __m128i *)spread[mask].shuffle));
    __m128i low = _mm_and_si128(lanes, _mm_set1_epi16(0x7f));
    __m128i high = _mm_and_si128(_mm_srli_epi16(lanes, 1), _mm_set1_epi16(0x3f80));
    __m128i joined = _mm_or_si128(low, high);
    __m128i sign = _mm_sub_epi16(_mm_setzero_si128(), _mm_and_si128(joined, _mm_set1_epi16(1)));
    __m128i differences = _mm_xor_si128(_mm_srli_epi16(joined, 1), sign);
    __m256i sums = _mm256_cvtepi16_epi32(differences);
    sums = _mm256_add_epi32(sums, _mm256_slli_si256(sums, 4));
    sums = _mm256_add_epi32(sums, _mm256_slli_si256(sums, 8));
    __m128i lower = _mm256_castsi256_si128(sums);
    __m128i upper = _mm_add_epi32(_mm256_extracti128_si256(sums, 1), _mm_shuffle_epi32(lower, 0xff));
    __m128i base = _mm_set1_epi32((int)value);
    uint32_t out[8];
    _mm_storeu_si128((__m128i *)out, _mm_add_epi32(lower, base));
    _mm_storeu_si128((__m128i *)(out + 4), _mm_add_epi32(upper, base));
    uint32_t before = values > 1 ? out[values - 2] : value;
    for (int i = 0; i < values; i++) put32(&to, out[i]);
    value = out[values - 1];
    difference = value - before;
    seen += values;
    in.at += spread[mask].bytes;
  }
  while (in.at < in.end) {
    uint64_t raw;
    if (to.left == 0 || !varint(&in, &raw)) return false;
    value += difference = (uint32_t)zigzag32(raw);
    put32(&to, value);
    seen++;
  }
  fill(&to, value, difference, seen == 1);
  return true;
}

static bool column_wide(struct reader in, uint64_t unit, struct rival_fix *fixes, int count) {
  uint64_t value = 0, difference = 0;
  int i = 0;
  while (in.at < in.end) {
    uint64_t raw;
    if (i == count || !varint(&in, &raw)) return false;
    value += difference = raw >> 1 ^ (0 - (raw & 1));
    fixes[i++].time_ms = (int64_t)(value * unit);
  }
  if (i == 1) difference = 0;
  for (; i < count; i++) fixes[i].time_ms = (int64_t)((value += difference) * unit);
  return true;
}

static int batch(struct reader in, struct rival_fix *fixes, int room, bool simd) {
  struct reader columns[32] = {{0}};
  uint32_t filled = 0;
  uint64_t first = 0, unit = 1, count = 0;
  while (in.at < in.end) {
    uint64_t tag;
    if (!varint(&in, &tag) || tag < 8 || tag > UINT32_MAX) return -1;
    uint64_t field = tag >> 3;
    if ((tag & 7) == 2 && field >= 2 && field < 29) {
      if (filled >> field & 1 || !length(&in, &columns[field])) return -1;
      if (columns[field].at < columns[field].end) filled |= 1u << field;
    } else if (tag == 1 << 3) {
      if (!varint(&in, &first)) return -1;
    } else if (tag == 32 << 3) {
      if (!varint(&in, &count)) return -1;
    } else if (tag == 33 << 3) {
      if (!varint(&in, &unit)) return -1;
      if (unit == 0) unit = 1;
    } else if (field >= 2 && field <= 34) {
      return -1;
    } else if (!skip(&in, tag)) {
      return -1;
    }
  }
  if (count == 0 || count > (uint64_t)room || first > UINT64_MAX - count) return -1;
  uint32_t present = filled >> 5;
  if (filled >> 2 & 1) present |= time_bit;
  if ((filled >> 3 & 3) == 3) present |= position_bit;
  for (uint64_t i = 0; i < count; i++) {
    memset(&fixes[i], 0, sizeof fixes[i]);
    fixes[i].sequence = first + i;
    fixes[i].present = present;
  }
  if (filled >> 2 & 1 && !column_wide(columns[2], unit, fixes, (int)count)) return -1;
  for (uint32_t rest = filled & ~7u; rest != 0; rest &= rest - 1) {
    int field = __builtin_ctz(rest);
    int32_t *place = field == 3 ? &fixes->latitude_e7 : field == 4 ? &fixes->longitude_e7 : &fixes->values[field - 5];
    struct target to = {(uint8_t *)place, sizeof *fixes, (int)count};
    if (!(simd ? column_simd(columns[field], to) : column_scalar(columns[field], to))) return -1;
  }
  return (int)count;
}

static int uplink(struct reader in, struct rival_fix *fixes, int room, bool simd) {
  struct reader body;
  int count = 0;
  while (in.at < in.end) {
    uint64_t tag;
    if (!varint(&in, &tag) || tag < 8 || tag > UINT32_MAX) return -1;
    if (tag == (2 << 3 | 2)) {
      if (count == room || !length(&in, &body) || !row(body, &fixes[count])) return -1;
      count++;
    } else if (tag == (3 << 3 | 2)) {
      if (!length(&in, &body)) return -1;
      int more = batch(body, fixes + count, room - count, simd);
      if (more < 0) return -1;
      count += more;
    } else if (!skip(&in, tag)) {
      return -1;
    }
  }
  return count;
}

uint64_t rival_decode(
    const uint8_t *bytes, const size_t (*packets)[2], size_t count, struct rival_fix *fixes, int room, bool simd) {
  uint64_t sum = 0;
  for (size_t i = 0; i < count; i++) {
    struct reader in = {bytes + packets[i][0], bytes + packets[i][1]};
    int fixes_read = uplink(in, fixes, room, simd);
    if (fixes_read < 1) return 0;
    sum += fixes[fixes_read - 1].sequence;
  }
  return sum;
}

bool rival_has_simd(void) { return __builtin_cpu_supports("avx2"); }
