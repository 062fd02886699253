#include "crc32c.h"
#include <string.h>

// Bytes of a lane: long enough that joining three of them does not count.
enum { LANE = 512 };

static uint32_t table[256];
// By each byte of a state, what it becomes behind a lane of zeros.
static uint32_t behind_lane[4][256];

static bool in_hardware;

#if defined(__x86_64__)

#define WITH_INSTRUCTION __attribute__((target("sse4.2")))

static bool detect(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("sse4.2");
}

WITH_INSTRUCTION static inline uint32_t step(uint32_t crc, uint64_t word) {
  return (uint32_t)__builtin_ia32_crc32di(crc, word);
}

#elif defined(__aarch64__)

#include <arm_acle.h>
#include <sys/auxv.h>

#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif

#define WITH_INSTRUCTION __attribute__((target("crc")))

static bool detect(void) { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }

WITH_INSTRUCTION static inline uint32_t step(uint32_t crc, uint64_t word) { return __builtin_arm_crc32cd(crc, word); }

#else

#define WITH_INSTRUCTION

static bool detect(void) { return false; }

// Never called.
static inline uint32_t step(uint32_t crc, uint64_t word) { return crc ^ (uint32_t)word; }

#endif

static inline uint64_t word(const uint8_t *bytes) {
  uint64_t word;
  memcpy(&word, bytes, sizeof word);
  return word;
}

static uint32_t past_lane(uint32_t crc) {
  return behind_lane[0][crc & 0xff] ^ behind_lane[1][crc >> 8 & 0xff] ^ behind_lane[2][crc >> 16 & 0xff]
      ^ behind_lane[3][crc >> 24];
}

uint32_t gate_crc32c_table(uint32_t crc, const uint8_t *bytes, size_t count) {
  for (; count > 0; bytes++, count--) crc = crc >> 8 ^ table[(crc ^ *bytes) & 0xff];
  return crc;
}

// The instruction takes three cycles, and a CPU can begin one in each: three lanes that lie side by side, then joined.
WITH_INSTRUCTION static uint32_t by_instruction(uint32_t crc, const uint8_t *bytes, size_t count) {
  for (; count >= 3 * LANE; bytes += 3 * LANE, count -= 3 * LANE) {
    uint32_t second = 0, third = 0;
    for (size_t at = 0; at < LANE; at += 8) {
      crc = step(crc, word(bytes + at));
      second = step(second, word(bytes + LANE + at));
      third = step(third, word(bytes + 2 * LANE + at));
    }
    crc = past_lane(past_lane(crc) ^ second) ^ third;
  }
  for (; count >= 8; bytes += 8, count -= 8) crc = step(crc, word(bytes));
  return gate_crc32c_table(crc, bytes, count);
}

uint32_t gate_crc32c(uint32_t crc, const uint8_t *bytes, size_t count) {
  return in_hardware ? by_instruction(crc, bytes, count) : gate_crc32c_table(crc, bytes, count);
}

bool gate_crc32c_is_in_hardware(void) { return in_hardware; }

// Before main, so that no caller has to look or to synchronise.
__attribute__((constructor)) static void prepare(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    table[i] = crc;
  }
  // A checksum is linear: what a state becomes is the sum of what each of its bits does.
  static const uint8_t zeros[LANE];
  for (int bit = 0; bit < 32; bit++) {
    uint32_t crc = gate_crc32c_table(1u << bit, zeros, LANE);
    for (int byte = 0; byte < 256; byte++) {
      if (byte >> bit % 8 & 1) behind_lane[bit / 8][byte] ^= crc;
    }
  }
  in_hardware = detect();
}
