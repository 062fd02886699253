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
// ppoll of one descriptor, for at most so many ns: poll's milliseconds are long beside the sync of a disk.
int gate_poll(int descriptor, short events, uint64_t ns);
// Has the kernel begin to write dirty pages of the range to the disk, and waits for nothing; 0 bytes = to the end. 0, or -1 with errno.
int gate_begin_writing(int descriptor, int64_t offset, int64_t bytes);
// Names the calling thread; prctl is variadic.
static inline void gate_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

// One of the machine's addresses: IPv4 in the first 4 bytes, in network order. All zeros = the kernel's choice.
struct gate_own_address { uint64_t words[2]; };
// Makes a socket that is bound to no address in particular tell what each datagram was sent to. 0, or -1 with errno.
int gate_tell_own_address(int descriptor, int family);

// A batch of datagrams for recvmmsg or sendmmsg, with memory for all of them.
struct gate_datagrams;
struct gate_datagrams *gate_datagrams_new(unsigned capacity, size_t bytes);
void gate_datagrams_free(struct gate_datagrams *batch);
// Receives without blocking. The count, or -1 with errno. `drops` is set when the kernel told its counter (SO_RXQ_OVFL).
int gate_datagrams_receive(struct gate_datagrams *batch, int descriptor, uint32_t *drops);
// Bytes of datagram `index`; `truncated` says that it was longer, `own` is what it was sent to. Valid until the next call.
const uint8_t *gate_datagrams_get(
    const struct gate_datagrams *batch, unsigned index, size_t *length, int *truncated,
    const struct sockaddr_storage **peer, socklen_t *peer_length, struct gate_own_address *own);
// Where datagram `index` is written before it is set.
uint8_t *gate_datagrams_room(struct gate_datagrams *batch, unsigned index);
void gate_datagrams_set(
    struct gate_datagrams *batch, unsigned index, size_t length, const struct sockaddr *peer, socklen_t peer_length,
    struct gate_own_address own);
// Sends datagrams [from, to) without blocking. How many went out, at least 1, or -1 with errno.
int gate_datagrams_send(struct gate_datagrams *batch, int descriptor, unsigned from, unsigned to);
// Makes the SO_REUSEPORT group of this socket hand datagrams of type 25 to socket number byte 12 modulo `sockets`, others
// by their addresses. 0, or -1 with errno.
int gate_route_by_shard(int descriptor, unsigned sockets);
