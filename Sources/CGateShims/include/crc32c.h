#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// CRC32C (Castagnoli, reflected, RFC 3720 section 12.1), without the inversion at either end: callers start from
// 0xffffffff and invert the result.
uint32_t gate_crc32c(uint32_t crc, const uint8_t *bytes, size_t count);

// The same by table, whatever the CPU has: the oracle of the tests.
uint32_t gate_crc32c_table(uint32_t crc, const uint8_t *bytes, size_t count);

// Whether the CPU has the instruction (SSE4.2, or the CRC extension of ARMv8).
bool gate_crc32c_is_in_hardware(void);
