#define _GNU_SOURCE
#include "CLinux.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

int gate_accept_nonblocking(int descriptor, struct sockaddr_storage *peer, socklen_t *length) {
  return accept4(descriptor, (struct sockaddr *)peer, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

int gate_peer_uid(int descriptor, uid_t *uid) {
  struct ucred peer;
  socklen_t length = sizeof peer;
  if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return -1;
  *uid = peer.uid;
  return 0;
}

int gate_cpu_count(void) {
  // Room for 16,384 CPUs: the kernel refuses a set that is smaller than its own.
  cpu_set_t sets[16];
  CPU_ZERO_S(sizeof sets, sets);
  if (sched_getaffinity(0, sizeof sets, sets) != 0) return 0;
  return CPU_COUNT_S(sizeof sets, sets);
}

int gate_poll(int descriptor, short events, uint64_t ns) {
  struct pollfd entry = {descriptor, events, 0};
  struct timespec timeout = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
  return ppoll(&entry, 1, &timeout, 0);
}

int gate_begin_writing(int descriptor, int64_t offset, int64_t bytes) {
  return sync_file_range(descriptor, offset, bytes, SYNC_FILE_RANGE_WRITE);
}
