#pragma once
// What a load generator needs from Linux and Swift's Glibc module does not import.
#include <stdint.h>

// CPUs that the calling thread may run on, at most `room` of them, ascending. Their number, or -1 with errno.
int bench_cpus(int32_t *cpus, int room);
// Keeps the calling thread, and what it starts from now on, on these CPUs. 0, or -1 with errno.
int bench_pin(const int32_t *cpus, int count);

// CPU time of the calling thread, ns.
uint64_t bench_thread_cpu_ns(void);

// A timer that can be polled, on CLOCK_MONOTONIC; with it the calling thread's timer slack becomes 1 ns. Or -1 with errno.
int bench_timer(void);
// Makes the timer readable at `at_ns`, or never again with 0. 0, or -1 with errno.
int bench_timer_arm(int timer, uint64_t at_ns);

// A non-blocking IPv4 socket that is connecting, without Nagle's delay, its segments at most `mss` bytes (TCP options
// included) as on Ethernet: loopback's own would be 65 KB. Address and port in host order. Or -1 with errno.
int bench_connect(uint32_t address, uint16_t port, int mss);
// Why a connecting socket failed, as errno; 0 when it has connected.
int bench_connect_result(int socket);

// What TCP counted on one socket since it was made: TCP_INFO. Segments are all packets of that direction, pure acks
// included; bytes are payload, retransmitted ones not included.
struct bench_tcp {
  uint64_t bytes_out, bytes_in;
  uint64_t segments_out, segments_in;
  uint64_t retransmitted;
};
int bench_tcp_info(int socket, struct bench_tcp *info);
