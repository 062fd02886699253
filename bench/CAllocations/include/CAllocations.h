#pragma once
#include <stdint.h>

// Calls of malloc, calloc, realloc, aligned_alloc and posix_memalign by the calling thread since it began.
uint64_t allocations_of_this_thread(void);
// Calls of pthread_mutex_lock, pthread_rwlock_rdlock and _wrlock by the calling thread since it began.
uint64_t locks_of_this_thread(void);
