#include "crc32c.h"

static uint32_t table[256];

static bool in_hardware;

#if defined(__x86_64__)

static bool detect(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2")))
static uint32_t by_instruction(uint32_t crc, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  uint64_t x = crc;
  x = __builtin_ia32_crc32di(x, a);
  x = __builtin_ia32_crc32di(x, b);
  x = __builtin_ia32_crc32di(x, c);
  x = __builtin_ia32_crc32di(x, d);
  return (uint32_t)x;
}

#elif defined(__aarch64__)

#include <arm_acle.h>
#include <sys/auxv.h>

#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif

static bool detect(void) { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }

__attribute__((target("crc")))
static uint32_t by_instruction(uint32_t crc, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  crc = __builtin_arm_crc32cd(crc, a);
  crc = __builtin_arm_crc32cd(crc, b);
  crc = __builtin_arm_crc32cd(crc, c);
  return __builtin_arm_crc32cd(crc, d);
}

#else

static bool detect(void) { return false; }

static uint32_t by_instruction(uint32_t crc, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  return gate_crc32c_4x64_table(crc, a, b, c, d);
}

#endif

// Before main, so that no caller has to look or to synchronise.
__attribute__((constructor)) static void prepare(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    table[i] = crc;
  }
  in_hardware = detect();
}

static uint32_t word_by_table(uint32_t crc, uint64_t word) {
  for (int i = 0; i < 8; i++, word >>= 8) crc = crc >> 8 ^ table[(crc ^ word) & 0xff];
  return crc;
}

uint32_t gate_crc32c_4x64_table(uint32_t crc, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  return word_by_table(word_by_table(word_by_table(word_by_table(crc, a), b), c), d);
}

uint32_t gate_crc32c_4x64(uint32_t crc, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  return in_hardware ? by_instruction(crc, a, b, c, d) : gate_crc32c_4x64_table(crc, a, b, c, d);
}

uint32_t gate_crc32c_8(uint32_t crc, uint8_t byte) { return crc >> 8 ^ table[(crc ^ byte) & 0xff]; }

bool gate_crc32c_is_in_hardware(void) { return in_hardware; }
