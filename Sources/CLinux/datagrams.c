#define _GNU_SOURCE
#include "CLinux.h"

#include <linux/filter.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { control_bytes = CMSG_SPACE(sizeof(uint32_t)) + CMSG_SPACE(sizeof(struct in6_pktinfo)) };

struct gate_datagrams {
  unsigned capacity;
  size_t bytes;
  struct mmsghdr *headers;
  struct iovec *vectors;
  struct sockaddr_storage *peers;
  struct gate_own_address *own;
  uint8_t *memory;
  _Alignas(struct cmsghdr) uint8_t control[][control_bytes];
};

struct gate_datagrams *gate_datagrams_new(unsigned capacity, size_t bytes) {
  struct gate_datagrams *batch = calloc(1, sizeof *batch + (size_t)capacity * control_bytes);
  if (!batch) return 0;
  batch->capacity = capacity;
  batch->bytes = bytes;
  batch->headers = calloc(capacity, sizeof *batch->headers);
  batch->vectors = calloc(capacity, sizeof *batch->vectors);
  batch->peers = calloc(capacity, sizeof *batch->peers);
  batch->own = calloc(capacity, sizeof *batch->own);
  batch->memory = malloc(capacity * bytes);
  if (!batch->headers || !batch->vectors || !batch->peers || !batch->own || !batch->memory) {
    gate_datagrams_free(batch);
    return 0;
  }
  for (unsigned i = 0; i < capacity; i++) {
    batch->vectors[i].iov_base = batch->memory + i * bytes;
    batch->headers[i].msg_hdr.msg_iov = &batch->vectors[i];
    batch->headers[i].msg_hdr.msg_iovlen = 1;
    batch->headers[i].msg_hdr.msg_name = &batch->peers[i];
  }
  return batch;
}

void gate_datagrams_free(struct gate_datagrams *batch) {
  if (!batch) return;
  free(batch->headers);
  free(batch->vectors);
  free(batch->peers);
  free(batch->own);
  free(batch->memory);
  free(batch);
}

int gate_tell_own_address(int descriptor, int family) {
  int on = 1;
  return family == AF_INET6 ? setsockopt(descriptor, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on)
                            : setsockopt(descriptor, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
}

static struct gate_own_address own_address(struct cmsghdr *c) {
  struct gate_own_address own = {{0, 0}};
  if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
    struct in_pktinfo info;
    memcpy(&info, CMSG_DATA(c), sizeof info);
    // Of a broadcast this is the interface's address.
    memcpy(&own, &info.ipi_spec_dst, sizeof info.ipi_spec_dst);
  } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
    struct in6_pktinfo info;
    memcpy(&info, CMSG_DATA(c), sizeof info);
    if (!IN6_IS_ADDR_MULTICAST(&info.ipi6_addr)) memcpy(&own, &info.ipi6_addr, sizeof info.ipi6_addr);
  }
  return own;
}

int gate_datagrams_receive(struct gate_datagrams *batch, int descriptor, uint32_t *drops) {
  for (unsigned i = 0; i < batch->capacity; i++) {
    struct msghdr *header = &batch->headers[i].msg_hdr;
    batch->vectors[i].iov_len = batch->bytes;
    header->msg_namelen = sizeof batch->peers[i];
    header->msg_control = batch->control[i];
    header->msg_controllen = control_bytes;
    header->msg_flags = 0;
  }
  int count = recvmmsg(descriptor, batch->headers, batch->capacity, MSG_DONTWAIT, 0);
  for (int i = 0; i < count; i++) {
    struct msghdr *header = &batch->headers[i].msg_hdr;
    batch->own[i] = (struct gate_own_address){{0, 0}};
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
      if (c->cmsg_level != SOL_SOCKET) batch->own[i] = own_address(c);
      else if (c->cmsg_type == SO_RXQ_OVFL) memcpy(drops, CMSG_DATA(c), sizeof *drops);
    }
  }
  return count;
}

const uint8_t *gate_datagrams_get(
    const struct gate_datagrams *batch, unsigned index, size_t *length, int *truncated,
    const struct sockaddr_storage **peer, socklen_t *peer_length, struct gate_own_address *own) {
  const struct mmsghdr *header = &batch->headers[index];
  *length = header->msg_len;
  *truncated = (header->msg_hdr.msg_flags & MSG_TRUNC) != 0;
  *peer = &batch->peers[index];
  *peer_length = header->msg_hdr.msg_namelen;
  *own = batch->own[index];
  return batch->memory + index * batch->bytes;
}

uint8_t *gate_datagrams_room(struct gate_datagrams *batch, unsigned index) {
  return batch->memory + index * batch->bytes;
}

// Makes the datagram leave from `own`.
static void send_from(struct msghdr *header, uint8_t *control, sa_family_t family, struct gate_own_address own) {
  struct in_pktinfo four = {0};
  struct in6_pktinfo six = {0};
  memcpy(&four.ipi_spec_dst, &own, sizeof four.ipi_spec_dst);
  memcpy(&six.ipi6_addr, &own, sizeof six.ipi6_addr);
  int is_six = family == AF_INET6;
  size_t bytes = is_six ? sizeof six : sizeof four;
  header->msg_control = control;
  header->msg_controllen = CMSG_SPACE(bytes);
  struct cmsghdr *c = CMSG_FIRSTHDR(header);
  c->cmsg_level = is_six ? IPPROTO_IPV6 : IPPROTO_IP;
  c->cmsg_type = is_six ? IPV6_PKTINFO : IP_PKTINFO;
  c->cmsg_len = CMSG_LEN(bytes);
  memcpy(CMSG_DATA(c), is_six ? (void *)&six : (void *)&four, bytes);
}

void gate_datagrams_set(
    struct gate_datagrams *batch, unsigned index, size_t length, const struct sockaddr *peer, socklen_t peer_length,
    struct gate_own_address own) {
  memcpy(&batch->peers[index], peer, peer_length);
  batch->vectors[index].iov_len = length;
  struct msghdr *header = &batch->headers[index].msg_hdr;
  header->msg_namelen = peer_length;
  header->msg_control = 0;
  header->msg_controllen = 0;
  if (own.words[0] | own.words[1]) send_from(header, batch->control[index], peer->sa_family, own);
}

int gate_datagrams_send(struct gate_datagrams *batch, int descriptor, unsigned from, unsigned to) {
  return sendmmsg(descriptor, batch->headers + from, to - from, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int gate_route_by_shard(int descriptor, unsigned sockets) {
  // The program sees the UDP payload. A load beyond its end ends the program with 0: socket 0.
  struct sock_filter code[] = {
    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 25, 0, 3),
    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 12),
    BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, sockets),
    BPF_STMT(BPF_RET | BPF_A, 0),
    // No such socket: the kernel falls back to its hash of addresses and ports.
    BPF_STMT(BPF_RET | BPF_K, 0xffff),
  };
  struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
  return setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program);
}
