#pragma once
#include <stdint.h>

// Calls of malloc, calloc, realloc, aligned_alloc and posix_memalign by the calling thread since it began.
uint64_t allocations_of_this_thread(void);
