#pragma once
// Linux system calls and constants that Swift's Glibc module does not import.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <stdint.h>

// accept4 with SOCK_NONBLOCK and SOCK_CLOEXEC.
int gate_accept_nonblocking(int descriptor, struct sockaddr_storage *peer, socklen_t *length);
// User id of the process at the other end of a Unix socket. 0, or -1 with errno.
int gate_peer_uid(int descriptor, uid_t *uid);
// CPUs that this thread may run on; 0 if the kernel does not say.
int gate_cpu_count(void);
// Names the calling thread; prctl is variadic.
static inline void gate_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }
