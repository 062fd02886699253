#pragma once
#include <stdbool.h>
#include <stdint.h>

// CRC32C (Castagnoli, reflected, RFC 3720 section 12.1), without the inversion at either end: callers start from
// 0xffffffff and invert the result. Words go in by value, so that Swift needs no pointer; four of them a call, so that
// the call costs less than the instructions in it.
uint32_t gate_crc32c_4x64(uint32_t crc, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
uint32_t gate_crc32c_8(uint32_t crc, uint8_t byte);

// The same by table, whatever the CPU has: the oracle of the tests.
uint32_t gate_crc32c_4x64_table(uint32_t crc, uint64_t a, uint64_t b, uint64_t c, uint64_t d);

// Whether the CPU has the instruction (SSE4.2, or the CRC extension of ARMv8).
bool gate_crc32c_is_in_hardware(void);
