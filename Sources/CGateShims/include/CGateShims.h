#pragma once
// CPU instructions that Swift has no spelling for. Nothing else belongs here.
#include <stdint.h>
#include "crc32c.h"

// Has the CPU fetch the line of the cache at `address`, and waits for nothing. Any address will do.
static inline void gate_prefetch(const void *address) { __builtin_prefetch(address); }
