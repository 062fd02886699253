#pragma once
#include <stdint.h>

// Calls of malloc, calloc, realloc, aligned_alloc and posix_memalign by the calling thread since it began.
uint64_t allocations_of_this_thread(void);
// Calls of pthread_mutex_lock, pthread_rwlock_rdlock and _wrlock by the calling thread since it began.
uint64_t locks_of_this_thread(void);

// A counter of the calling thread's instructions in user space. A descriptor, or -1 where the machine does not count them.
int instructions_open(void);
// 0, or -1.
int instructions_read(int descriptor, uint64_t *count);
