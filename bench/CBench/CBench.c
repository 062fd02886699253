#define _GNU_SOURCE
#include "CBench.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

int bench_cpus(int32_t *cpus, int room) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return -1;
  int count = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE && count < room; cpu++)
    if (CPU_ISSET(cpu, &set)) cpus[count++] = cpu;
  return count;
}

int bench_pin(const int32_t *cpus, int count) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int i = 0; i < count; i++) CPU_SET(cpus[i], &set);
  return sched_setaffinity(0, sizeof set, &set);
}

static uint64_t ns(struct timespec time) { return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec; }

uint64_t bench_thread_cpu_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return ns(time);
}

int bench_timer(void) {
  prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  return timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
}

int bench_timer_arm(int timer, uint64_t at_ns) {
  struct itimerspec at = {{0, 0}, {(time_t)(at_ns / 1000000000u), (long)(at_ns % 1000000000u)}};
  return timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}

int bench_connect(uint32_t address, uint16_t port, int mss) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  int one = 1;
  struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(address)}};
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0 &&
      setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof mss) == 0 &&
      (connect(fd, (struct sockaddr *)&peer, sizeof peer) == 0 || errno == EINPROGRESS))
    return fd;
  int code = errno;
  close(fd);
  errno = code;
  return -1;
}

int bench_connect_result(int socket) {
  int code = 0;
  socklen_t length = sizeof code;
  return getsockopt(socket, SOL_SOCKET, SO_ERROR, &code, &length) == 0 ? code : errno;
}

int bench_tcp_info(int socket, struct bench_tcp *out) {
  struct tcp_info info;
  memset(&info, 0, sizeof info);
  socklen_t length = sizeof info;
  if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return -1;
  *out = (struct bench_tcp){
      info.tcpi_bytes_sent - info.tcpi_bytes_retrans, info.tcpi_bytes_received, info.tcpi_segs_out, info.tcpi_segs_in,
      info.tcpi_total_retrans};
  return 0;
}
