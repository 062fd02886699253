// What a disk would hold if the power went now.
//
// kill -9 proves no fsync: the page cache outlives the process. This library, preloaded into a program, keeps a second
// copy of the program's data directory that holds only what was synced:
//
//   LD_PRELOAD=.build/debug/libpowercut.so POWERCUT_ROOT=DATA POWERCUT_SHADOW=COPY program ...
//   kill -9 the program, at any moment; then replace DATA by COPY/tree, remove COPY, and start it again.
//
// `PowerCutDisk` beside this file does both for tests, and lets a seeded choice of unsynced pages and names through.
//
// POWERCUT_ROOT         the data directory; must exist when the program starts.
// POWERCUT_SHADOW       made from ROOT at the start if it is not there (all that ROOT holds counts as durable then); on the
//                       same file system or another, not inside ROOT. Left as it is if it is there: an ordinary restart.
// POWERCUT_IGNORE_SYNC  1 = syncs do nothing and say that they did, to show that a test notices a missing sync.
//
// The model is the strictest that POSIX allows:
// - A file's bytes and length become durable at fsync or fdatasync of that file, and not before.
// - A name becomes durable (made, replaced, removed, renamed) at fsync of the directory it stands in, and not before;
//   fsync of the file does not do it. A durable name of a file that was never synced is an empty file.
// - A rename within a directory is atomic. Directories cannot be renamed.
//
// COPY/inodes holds one file an inode of ROOT, named by inode number and time of birth; COPY/tree holds hard links to
// them. So fsync of a file copies its bytes to one place, and fsync of a directory makes the names in COPY/tree equal to
// those in ROOT. Nothing has to be remembered of rename, unlink or link, and nothing is lost over a restart. Of writes
// only ranges are remembered, so that a sync need not copy the whole file; the first sync of a file in a process does.
//
// No sync reaches the real disk: nothing here needs it. Several threads may do all of this; one process at a time.
// Aborts on what it does not model: shared writable mappings (but for SQLite's *-shm, which is rebuilt after a crash),
// O_SYNC and O_DSYNC, writes with RWF_SYNC or RWF_DSYNC. Writes through stdio are not seen (after the first sync).
#define _GNU_SOURCE
#include "include/CPowerCut.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX], shadow[PATH_MAX];
static size_t root_length;
static bool ignore_sync;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

// All work on COPY goes through raw system calls, so that it never meets the functions below.
static int raw_open(const char *path, int flags, mode_t mode) {
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, mode);
}

static void die(const char *what, const char *path) {
  char text[2 * PATH_MAX];
  int length = snprintf(text, sizeof text, "powercut: %s: %s (%s)\n", what, path, strerror(errno));
  syscall(SYS_write, 2, text, (size_t)length);
  abort();
}

// ---------------------------------------------------------------------------------------------------------------------
// Unsynced ranges, by inode. A file that is not listed has not been synced by this process: all of it counts as unsynced.

enum { RANGES = 256, FILES = 4096 };

struct dirty {
  ino_t inode;
  struct statx_timestamp birth;
  bool used, whole;
  int count;
  struct { off_t from, to; } ranges[RANGES];
};
static struct dirty *files[FILES];

static struct dirty *find(const struct statx *status) {
  for (size_t i = 0; i < FILES; i++) {
    struct dirty **slot = &files[(status->stx_ino + i) % FILES];
    if (*slot == NULL) {
      *slot = calloc(1, sizeof **slot);
      if (*slot == NULL) die("out of memory", root);
      (*slot)->inode = status->stx_ino;
      (*slot)->birth = status->stx_btime;
      (*slot)->whole = true;
      return *slot;
    }
    if ((*slot)->inode != status->stx_ino) continue;
    if ((*slot)->birth.tv_sec != status->stx_btime.tv_sec || (*slot)->birth.tv_nsec != status->stx_btime.tv_nsec) {
      // The number was given to another file.
      memset(*slot, 0, sizeof **slot);
      (*slot)->inode = status->stx_ino;
      (*slot)->birth = status->stx_btime;
      (*slot)->whole = true;
    }
    return *slot;
  }
  die("more files than it can follow", root);
  return NULL;
}

// Whether `fd` lies below ROOT; its path there, "" for ROOT itself.
static bool below_root(int fd, char *path) {
  char link[64], target[PATH_MAX];
  if (root_length == 0 || fd < 0) return false;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, target, sizeof target - 1);
  if (length < (ssize_t)root_length) return false;
  target[length] = 0;
  if (strncmp(target, root, root_length) != 0 || (target[root_length] != '/' && target[root_length] != 0)) return false;
  strcpy(path, target + root_length);
  return true;
}

static bool regular(int fd, struct statx *status) {
  int result = statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, status);
  return result == 0 && S_ISREG(status->stx_mode);
}

// Notes that bytes of `fd` have changed. `to` < 0: all of them may have.
static void changed(int fd, off_t from, off_t to) {
  int saved = errno;
  char path[PATH_MAX];
  struct statx status;
  if (below_root(fd, path) && regular(fd, &status)) {
    pthread_mutex_lock(&lock);
    struct dirty *file = find(&status);
    if (to < 0 || (file->count == RANGES && !file->whole)) {
      file->whole = true;
    } else if (!file->whole) {
      if (file->count > 0 && file->ranges[file->count - 1].to == from) {
        file->ranges[file->count - 1].to = to;
      } else {
        file->ranges[file->count].from = from;
        file->ranges[file->count++].to = to;
      }
    }
    pthread_mutex_unlock(&lock);
  }
  errno = saved;
}

// ---------------------------------------------------------------------------------------------------------------------
// COPY

static void inode_path(char *path, const struct statx *status) {
  snprintf(path, PATH_MAX, "%s/inodes/%llu-%lld-%u", shadow, (unsigned long long)status->stx_ino,
           (long long)status->stx_btime.tv_sec, status->stx_btime.tv_nsec);
}

static void copy_range(int from, int to, off_t at, off_t end, const char *path) {
  static char buffer[1 << 18];
  while (at < end) {
    size_t want = end - at < (off_t)sizeof buffer ? (size_t)(end - at) : sizeof buffer;
    ssize_t got = (ssize_t)syscall(SYS_pread64, from, buffer, want, at);
    if (got < 0) die("cannot read", path);
    if (got == 0) return;
    if (syscall(SYS_pwrite64, to, buffer, (size_t)got, at) != got) die("cannot write the copy of", path);
    at += got;
  }
}

// fsync of a file: its bytes and its length.
static void sync_file(int fd, const char *path) {
  struct statx status;
  if (!regular(fd, &status)) return;
  char link[64], copy[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  inode_path(copy, &status);
  pthread_mutex_lock(&lock);
  struct dirty *file = find(&status);
  int from = raw_open(link, O_RDONLY, 0);
  int to = raw_open(copy, O_WRONLY | O_CREAT, 0600);
  if (from < 0 || to < 0) die("cannot open for the copy", path);
  // The length may have changed since it was looked at.
  if (!regular(fd, &status)) die("cannot stat", path);
  if (ftruncate(to, (off_t)status.stx_size) != 0) die("cannot cut the copy of", path);
  if (file->whole) {
    copy_range(from, to, 0, (off_t)status.stx_size, path);
  } else {
    for (int i = 0; i < file->count; i++) copy_range(from, to, file->ranges[i].from, file->ranges[i].to, path);
  }
  file->whole = false;
  file->count = 0;
  syscall(SYS_close, from);
  syscall(SYS_close, to);
  pthread_mutex_unlock(&lock);
}

static bool same_inode(const char *a, const char *b) {
  struct stat x, y;
  return lstat(a, &x) == 0 && lstat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

// The copy of the file at `path` of ROOT; made empty if there is none. False if it is no regular file.
static bool copy_of(const char *path, char *copy) {
  struct statx status;
  if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &status) != 0) return false;
  if (!S_ISREG(status.stx_mode)) return false;
  inode_path(copy, &status);
  int made = raw_open(copy, O_WRONLY | O_CREAT, 0600);
  if (made < 0) die("cannot make the copy of", path);
  syscall(SYS_close, made);
  return true;
}

// fsync of a directory: the names in it. `path` is relative to ROOT.
static void sync_names(const char *path) {
  char here[PATH_MAX], there[PATH_MAX], a[PATH_MAX], b[PATH_MAX], copy[PATH_MAX], other[PATH_MAX], live[PATH_MAX];
  snprintf(here, sizeof here, "%s%s", root, path);
  snprintf(there, sizeof there, "%s/tree%s", shadow, path);
  pthread_mutex_lock(&lock);
  // A directory whose own name is not durable yet: its names become so with it, at the sync of its parent.
  DIR *list = opendir(here);
  DIR *durable = opendir(there);
  if (list == NULL || durable == NULL) {
    if (list != NULL) closedir(list);
    if (durable != NULL) closedir(durable);
    pthread_mutex_unlock(&lock);
    die("sync of a directory whose parent was never synced", path);
  }
  struct dirent *entry;
  while ((entry = readdir(list)) != NULL) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    snprintf(a, sizeof a, "%s/%s", here, entry->d_name);
    snprintf(b, sizeof b, "%s/%s", there, entry->d_name);
    struct stat status;
    if (lstat(a, &status) != 0) continue;
    if (S_ISDIR(status.st_mode)) {
      if (mkdir(b, 0700) != 0 && errno != EEXIST) die("cannot make", b);
      continue;
    }
    if (!copy_of(a, copy) || same_inode(copy, b)) continue;
    // Renamed here: the old name goes in the same step.
    bool moved = false;
    rewinddir(durable);
    struct dirent *old;
    while (!moved && (old = readdir(durable)) != NULL) {
      snprintf(other, sizeof other, "%s/%s", there, old->d_name);
      if (old->d_type == DT_DIR || !same_inode(copy, other)) continue;
      snprintf(live, sizeof live, "%s/%s", here, old->d_name);
      char now[PATH_MAX];
      if (access(live, F_OK) == 0 && copy_of(live, now) && strcmp(now, copy) == 0) continue;
      if (rename(other, b) != 0) die("cannot rename", other);
      moved = true;
    }
    if (!moved) {
      snprintf(other, sizeof other, "%s/link", shadow);
      unlink(other);
      if (link(copy, other) != 0 || rename(other, b) != 0) die("cannot link", b);
    }
  }
  rewinddir(durable);
  while ((entry = readdir(durable)) != NULL) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    snprintf(a, sizeof a, "%s/%s", here, entry->d_name);
    snprintf(b, sizeof b, "%s/%s", there, entry->d_name);
    if (access(a, F_OK) == 0) continue;
    if (unlink(b) != 0 && rmdir(b) != 0) die("cannot remove", b);
  }
  closedir(list);
  closedir(durable);
  pthread_mutex_unlock(&lock);
}

static void take_over(const char *path) {
  char here[PATH_MAX], inner[PATH_MAX], full[PATH_MAX];
  sync_names(path);
  snprintf(here, sizeof here, "%s%s", root, path);
  DIR *list = opendir(here);
  if (list == NULL) die("cannot read", here);
  struct dirent *entry;
  while ((entry = readdir(list)) != NULL) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
    snprintf(full, sizeof full, "%s%s", root, inner);
    struct stat status;
    if (lstat(full, &status) != 0) continue;
    if (S_ISDIR(status.st_mode)) take_over(inner);
    if (!S_ISREG(status.st_mode)) continue;
    int fd = raw_open(full, O_RDONLY, 0);
    if (fd < 0) die("cannot open", full);
    sync_file(fd, full);
    syscall(SYS_close, fd);
  }
  closedir(list);
}

__attribute__((constructor)) static void begin(void) {
  const char *data = getenv("POWERCUT_ROOT"), *copy = getenv("POWERCUT_SHADOW"), *ignore = getenv("POWERCUT_IGNORE_SYNC");
  if (data == NULL || copy == NULL) return;
  if (realpath(data, root) == NULL) die("POWERCUT_ROOT", data);
  char path[PATH_MAX];
  bool fresh = mkdir(copy, 0700) == 0;
  if (realpath(copy, shadow) == NULL) die("POWERCUT_SHADOW", copy);
  root_length = strlen(root);
  if (strncmp(shadow, root, root_length) == 0 && shadow[root_length] == '/') die("POWERCUT_SHADOW lies in POWERCUT_ROOT", copy);
  if (fresh) {
    snprintf(path, sizeof path, "%s/inodes", shadow);
    if (mkdir(path, 0700) != 0) die("cannot make", path);
    snprintf(path, sizeof path, "%s/tree", shadow);
    if (mkdir(path, 0700) != 0) die("cannot make", path);
    take_over("");
  }
  ignore_sync = ignore != NULL && strcmp(ignore, "1") == 0;
}

// ---------------------------------------------------------------------------------------------------------------------
// The functions in whose place these stand. Each does the real thing first.

static int synced(int fd) {
  char path[PATH_MAX];
  struct stat status;
  if (!below_root(fd, path)) return -1;
  if (ignore_sync || fstat(fd, &status) != 0) return 0;
  if (S_ISDIR(status.st_mode)) sync_names(path);
  else sync_file(fd, path);
  return 0;
}

int fsync(int fd) { return synced(fd) == 0 ? 0 : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return synced(fd) == 0 ? 0 : (int)syscall(SYS_fdatasync, fd); }

static int opened(int directory, const char *path, int flags, mode_t mode) {
  int fd = (int)syscall(SYS_openat, directory, path, flags, mode);
  if (fd < 0 || root_length == 0) return fd;
  char inner[PATH_MAX];
  if ((flags & O_DSYNC) != 0 && below_root(fd, inner)) die("O_SYNC is not modelled", path);
  if ((flags & O_TRUNC) != 0) changed(fd, 0, -1);
  return fd;
}

#define MODE_OF(flags) \
  mode_t mode = 0; \
  if (((flags) & O_CREAT) != 0 || ((flags) & O_TMPFILE) == O_TMPFILE) { \
    va_list list; \
    va_start(list, flags); \
    mode = va_arg(list, mode_t); \
    va_end(list); \
  }

int open(const char *path, int flags, ...) { MODE_OF(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_OF(flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int directory, const char *path, int flags, ...) { MODE_OF(flags) return opened(directory, path, flags, mode); }
int openat64(int directory, const char *path, int flags, ...) { MODE_OF(flags) return opened(directory, path, flags, mode); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __openat_2(int directory, const char *path, int flags) { return opened(directory, path, flags, 0); }
int __openat64_2(int directory, const char *path, int flags) { return opened(directory, path, flags, 0); }

// A write at the file's own position: where that was is known only afterwards.
static ssize_t written(int fd, ssize_t result) {
  if (result > 0 && root_length > 0) {
    int saved = errno;
    off_t end = lseek(fd, 0, SEEK_CUR);
    if (end >= 0) changed(fd, end - result, end);
    errno = saved;
  }
  return result;
}

static ssize_t written_at(int fd, ssize_t result, off_t at) {
  if (result > 0 && root_length > 0) changed(fd, at, at + result);
  return result;
}

ssize_t write(int fd, const void *bytes, size_t count) { return written(fd, syscall(SYS_write, fd, bytes, count)); }
ssize_t writev(int fd, const struct iovec *parts, int count) { return written(fd, syscall(SYS_writev, fd, parts, count)); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
  return written_at(fd, syscall(SYS_pwrite64, fd, bytes, count, at), at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) { return pwrite(fd, bytes, count, at); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
  return written_at(fd, syscall(SYS_pwritev, fd, parts, (long)count, (long)at, 0L), at);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) { return pwritev(fd, parts, count, at); }
ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
  char path[PATH_MAX];
  if ((flags & (RWF_SYNC | RWF_DSYNC)) != 0 && below_root(fd, path)) die("RWF_SYNC is not modelled", path);
  ssize_t result = syscall(SYS_pwritev2, fd, parts, (long)count, (long)at, 0L, flags);
  return at < 0 ? written(fd, result) : written_at(fd, result, at);
}
ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
  return pwritev2(fd, parts, count, at, flags);
}

static int reshaped(int fd, int result) {
  if (result == 0) changed(fd, 0, -1);
  return result;
}

int ftruncate(int fd, off_t length) {
  int result = (int)syscall(SYS_ftruncate, fd, length);
  // COPY's own files come by here too; they do not lie below ROOT.
  return reshaped(fd, result);
}
int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }
int truncate(const char *path, off_t length) {
  int fd = raw_open(path, O_WRONLY, 0);
  if (fd < 0) return -1;
  int result = ftruncate(fd, length), saved = errno;
  syscall(SYS_close, fd);
  errno = saved;
  return result;
}
int truncate64(const char *path, off_t length) { return truncate(path, length); }
int fallocate(int fd, int mode, off_t at, off_t count) {
  return reshaped(fd, (int)syscall(SYS_fallocate, fd, mode, at, count));
}
int fallocate64(int fd, int mode, off_t at, off_t count) { return fallocate(fd, mode, at, count); }
int posix_fallocate(int fd, off_t at, off_t count) { return fallocate(fd, 0, at, count) == 0 ? 0 : errno; }
int posix_fallocate64(int fd, off_t at, off_t count) { return posix_fallocate(fd, at, count); }

ssize_t copy_file_range(int from, off_t *at, int to, off_t *target, size_t count, unsigned flags) {
  ssize_t result = syscall(SYS_copy_file_range, from, at, to, target, count, flags);
  if (result > 0) changed(to, 0, -1);
  return result;
}
ssize_t sendfile(int to, int from, off_t *at, size_t count) {
  ssize_t result = syscall(SYS_sendfile, to, from, at, count);
  if (result > 0) changed(to, 0, -1);
  return result;
}
ssize_t sendfile64(int to, int from, off_t *at, size_t count) { return sendfile(to, from, at, count); }

static bool ends_in_shm(const char *path) {
  size_t length = strlen(path);
  return length >= 4 && strcmp(path + length - 4, "-shm") == 0;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t at) {
  char path[PATH_MAX];
  if ((protection & PROT_WRITE) != 0 && (flags & MAP_TYPE) != MAP_PRIVATE && (flags & MAP_ANONYMOUS) == 0 &&
      below_root(fd, path) && !ends_in_shm(path))
    die("shared writable mappings are not modelled", path);
  return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, at);
}
void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t at) {
  return mmap(address, length, protection, flags, fd, at);
}
