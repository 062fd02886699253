// Preloaded into a gateway by the path bench, never linked. Counts, by thread, calls of the allocator, of locks and of the
// system, into a file that the bench reads while the gateway runs (FIXGATE_PATH_COUNTERS names it).
//
// Allocations and locks are told apart by the address they return to: libssl and libcrypto, libsqlite3, and the rest, which
// is ours: the executable, Swift's libraries, Foundation, libc on our behalf. Not seen: what libc does inside itself, and a
// Swift Mutex that nobody holds, which is one compare-and-swap in line; one that has to wait shows as futex.
//
// The file: 4096 bytes of text, a counter's name a line in the order of the counters; then SLOTS slots, one a thread.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define COUNTERS(X) \
  X(malloc_ours) X(malloc_tls) X(malloc_sqlite) X(free_ours) X(free_tls) X(free_sqlite) \
  X(lock_ours) X(lock_tls) X(lock_sqlite) \
  X(read) X(recv) X(send) X(write) X(epoll_wait) X(epoll_ctl) X(poll) X(accept) X(eventfd_read) X(eventfd_write) \
  X(pread) X(pwrite) X(fdatasync) X(fsync) X(sync_file_range) X(fcntl) X(futex) X(other) \
  X(bytes_read) X(bytes_sent) X(bytes_written)

enum {
#define NAME(x) C_##x,
  COUNTERS(NAME)
#undef NAME
  COUNT
};

enum { SLOTS = 64, HEADER = 4096, ROOM = 48 };
_Static_assert((int)COUNT <= (int)ROOM, "a slot has room for all counters");

struct slot {
  char name[16];
  uint64_t thread;
  uint64_t counters[ROOM];
  uint64_t pad;
};
_Static_assert(sizeof(struct slot) == 416, "as bench/Path/Counters.swift reads it");

static struct slot *slots;
static uint32_t used;
static struct slot nowhere;  // until the file is there, and for threads beyond the last slot
static _Thread_local struct slot *mine __attribute__((tls_model("initial-exec")));

static struct range { uintptr_t from, to; int kind; } ranges[16];
static int range_count;

static int note_object(struct dl_phdr_info *info, size_t size, void *data) {
  (void)size, (void)data;
  const char *name = info->dlpi_name ? info->dlpi_name : "";
  int kind = strstr(name, "libssl") || strstr(name, "libcrypto") ? 1 : strstr(name, "libsqlite3") ? 2 : 0;
  if (!kind) return 0;
  for (int i = 0; i < info->dlpi_phnum && range_count < 16; i++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[i];
    if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
    uintptr_t from = info->dlpi_addr + part->p_vaddr;
    ranges[range_count++] = (struct range){from, from + part->p_memsz, kind};
  }
  return 0;
}

static int kind_of(void *caller) {
  uintptr_t at = (uintptr_t)caller;
  for (int i = 0; i < range_count; i++)
    if (at >= ranges[i].from && at < ranges[i].to) return ranges[i].kind;
  return 0;
}

__attribute__((constructor)) static void prepare(void) {
  dl_iterate_phdr(note_object, NULL);
  const char *path = getenv("FIXGATE_PATH_COUNTERS");
  int file = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
  if (file < 0) return;
  size_t bytes = HEADER + SLOTS * sizeof(struct slot);
  if (ftruncate(file, (off_t)bytes) == 0) {
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory != MAP_FAILED) {
#define NAME(x) #x "\n"
      strcpy(memory, COUNTERS(NAME));
#undef NAME
      __atomic_store_n(&slots, (struct slot *)(memory + HEADER), __ATOMIC_RELEASE);
    }
  }
  close(file);
}

static struct slot *claim(void) {
  struct slot *all = __atomic_load_n(&slots, __ATOMIC_ACQUIRE);
  if (!all) return &nowhere;
  uint32_t index = __atomic_fetch_add(&used, 1, __ATOMIC_RELAXED);
  if (index >= SLOTS) return mine = &nowhere;
  mine = &all[index];
  mine->thread = (uint64_t)gettid();
  pthread_getname_np(pthread_self(), mine->name, sizeof mine->name);
  return mine;
}

static inline struct slot *here(void) { return mine ? mine : claim(); }
static inline void count(int counter) { here()->counters[counter]++; }
static inline void count_by(int first, void *caller) { here()->counters[first + kind_of(caller)]++; }
static inline ssize_t moved(int counter, ssize_t bytes) {
  if (bytes > 0) here()->counters[counter] += (uint64_t)bytes;
  return bytes;
}

#define NEXT(function) \
  static __typeof__(function) *next; \
  if (!next) next = (__typeof__(function) *)dlsym(RTLD_NEXT, #function)

// Allocation.

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

void *malloc(size_t size) {
  count_by(C_malloc_ours, __builtin_return_address(0));
  return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
  count_by(C_malloc_ours, __builtin_return_address(0));
  return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
  count_by(C_malloc_ours, __builtin_return_address(0));
  return __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  count_by(C_malloc_ours, __builtin_return_address(0));
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
  count_by(C_malloc_ours, __builtin_return_address(0));
  *out = __libc_memalign(alignment, size);
  return *out ? 0 : ENOMEM;
}

void free(void *memory) {
  if (memory) count_by(C_free_ours, __builtin_return_address(0));
  __libc_free(memory);
}

// Locks.

int pthread_mutex_lock(pthread_mutex_t *lock) {
  NEXT(pthread_mutex_lock);
  count_by(C_lock_ours, __builtin_return_address(0));
  return next(lock);
}

int pthread_mutex_trylock(pthread_mutex_t *lock) {
  NEXT(pthread_mutex_trylock);
  count_by(C_lock_ours, __builtin_return_address(0));
  return next(lock);
}

int pthread_rwlock_rdlock(pthread_rwlock_t *lock) {
  NEXT(pthread_rwlock_rdlock);
  count_by(C_lock_ours, __builtin_return_address(0));
  return next(lock);
}

int pthread_rwlock_wrlock(pthread_rwlock_t *lock) {
  NEXT(pthread_rwlock_wrlock);
  count_by(C_lock_ours, __builtin_return_address(0));
  return next(lock);
}

// The system.

ssize_t read(int fd, void *into, size_t bytes) {
  NEXT(read);
  count(C_read);
  return moved(C_bytes_read, next(fd, into, bytes));
}

ssize_t recv(int fd, void *into, size_t bytes, int flags) {
  NEXT(recv);
  count(C_recv);
  return moved(C_bytes_read, next(fd, into, bytes, flags));
}

ssize_t send(int fd, const void *from, size_t bytes, int flags) {
  NEXT(send);
  count(C_send);
  return moved(C_bytes_sent, next(fd, from, bytes, flags));
}

ssize_t write(int fd, const void *from, size_t bytes) {
  NEXT(write);
  count(C_write);
  return moved(C_bytes_written, next(fd, from, bytes));
}

int epoll_wait(int fd, struct epoll_event *events, int most, int timeout) {
  NEXT(epoll_wait);
  count(C_epoll_wait);
  return next(fd, events, most, timeout);
}

int epoll_ctl(int fd, int operation, int watched, struct epoll_event *event) {
  NEXT(epoll_ctl);
  count(C_epoll_ctl);
  return next(fd, operation, watched, event);
}

int poll(struct pollfd *entries, nfds_t number, int timeout) {
  NEXT(poll);
  count(C_poll);
  return next(entries, number, timeout);
}

int accept4(int fd, struct sockaddr *peer, socklen_t *length, int flags) {
  NEXT(accept4);
  count(C_accept);
  return next(fd, peer, length, flags);
}

int eventfd_read(int fd, eventfd_t *value) {
  NEXT(eventfd_read);
  count(C_eventfd_read);
  return next(fd, value);
}

int eventfd_write(int fd, eventfd_t value) {
  NEXT(eventfd_write);
  count(C_eventfd_write);
  return next(fd, value);
}

ssize_t pread(int fd, void *into, size_t bytes, off_t at) {
  NEXT(pread);
  count(C_pread);
  return moved(C_bytes_read, next(fd, into, bytes, at));
}

ssize_t pread64(int fd, void *into, size_t bytes, off64_t at) {
  NEXT(pread64);
  count(C_pread);
  return moved(C_bytes_read, next(fd, into, bytes, at));
}

ssize_t pwrite(int fd, const void *from, size_t bytes, off_t at) {
  NEXT(pwrite);
  count(C_pwrite);
  return moved(C_bytes_written, next(fd, from, bytes, at));
}

ssize_t pwrite64(int fd, const void *from, size_t bytes, off64_t at) {
  NEXT(pwrite64);
  count(C_pwrite);
  return moved(C_bytes_written, next(fd, from, bytes, at));
}

ssize_t pwritev(int fd, const struct iovec *parts, int number, off_t at) {
  NEXT(pwritev);
  count(C_pwrite);
  return moved(C_bytes_written, next(fd, parts, number, at));
}

ssize_t pwritev64(int fd, const struct iovec *parts, int number, off64_t at) {
  NEXT(pwritev64);
  count(C_pwrite);
  return moved(C_bytes_written, next(fd, parts, number, at));
}

int fdatasync(int fd) {
  NEXT(fdatasync);
  count(C_fdatasync);
  return next(fd);
}

int fsync(int fd) {
  NEXT(fsync);
  count(C_fsync);
  return next(fd);
}

int sync_file_range(int fd, off64_t from, off64_t bytes, unsigned flags) {
  NEXT(sync_file_range);
  count(C_sync_file_range);
  return next(fd, from, bytes, flags);
}

int fcntl(int fd, int command, ...) {
  NEXT(fcntl);
  va_list rest;
  va_start(rest, command);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  count(C_fcntl);
  return next(fd, command, argument);
}

int fcntl64(int fd, int command, ...) {
  NEXT(fcntl64);
  va_list rest;
  va_start(rest, command);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  count(C_fcntl);
  return next(fd, command, argument);
}

long syscall(long number, ...) {
  NEXT(syscall);
  va_list rest;
  va_start(rest, number);
  long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long);
  long d = va_arg(rest, long), e = va_arg(rest, long), f = va_arg(rest, long);
  va_end(rest);
  count(number == SYS_futex ? C_futex : C_other);
  return next(number, a, b, c, d, e, f);
}

// A thread's slot bears the name that it gives itself.
int prctl(int option, ...) {
  NEXT(prctl);
  va_list rest;
  va_start(rest, option);
  unsigned long a = va_arg(rest, unsigned long), b = va_arg(rest, unsigned long);
  unsigned long c = va_arg(rest, unsigned long), d = va_arg(rest, unsigned long);
  va_end(rest);
  int result = next(option, a, b, c, d);
  if (option == PR_SET_NAME && result == 0) strncpy(here()->name, (const char *)a, sizeof here()->name - 1);
  return result;
}
