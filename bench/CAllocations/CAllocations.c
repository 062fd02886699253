// Takes the place of glibc's allocating and locking functions in the executable that links it, counts, and passes on to
// glibc's own.
#define _GNU_SOURCE
#include "CAllocations.h"
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static _Thread_local uint64_t count __attribute__((tls_model("initial-exec")));

uint64_t allocations_of_this_thread(void) { return count; }

void *malloc(size_t size) {
  count++;
  return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
  count++;
  return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
  count++;
  return __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  count++;
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
  count++;
  *out = __libc_memalign(alignment, size);
  return *out ? 0 : ENOMEM;
}

static _Thread_local uint64_t locks __attribute__((tls_model("initial-exec")));

uint64_t locks_of_this_thread(void) { return locks; }

int pthread_mutex_lock(pthread_mutex_t *lock) {
  static int (*next)(pthread_mutex_t *);
  if (!next) next = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_lock");
  locks++;
  return next(lock);
}

int pthread_rwlock_rdlock(pthread_rwlock_t *lock) {
  static int (*next)(pthread_rwlock_t *);
  if (!next) next = (int (*)(pthread_rwlock_t *))dlsym(RTLD_NEXT, "pthread_rwlock_rdlock");
  locks++;
  return next(lock);
}

int pthread_rwlock_wrlock(pthread_rwlock_t *lock) {
  static int (*next)(pthread_rwlock_t *);
  if (!next) next = (int (*)(pthread_rwlock_t *))dlsym(RTLD_NEXT, "pthread_rwlock_wrlock");
  locks++;
  return next(lock);
}
