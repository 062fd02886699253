#include "CRivals.h"
#include <nmmintrin.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

// Offset of the next frame's payload, with its end in `end`; 0 when more bytes are needed, -1 when it is too long.
static int64_t frame(const uint8_t *bytes, size_t at, size_t to, size_t frame_bytes_max, size_t *end) {
  uint64_t payload = 0;
  for (unsigned shift = 0; shift < 21; shift += 7) {
    if (at == to) return 0;
    uint8_t byte = bytes[at++];
    payload |= (uint64_t)(byte & 0x7f) << shift;
    if (byte >= 0x80) continue;
    if (payload > frame_bytes_max) return -1;
    if (payload > to - at) return 0;
    *end = at + payload;
    return (int64_t)at;
  }
  return -1;
}

int64_t rival_frames(const uint8_t *bytes, size_t count, size_t frame_bytes_max) {
  int64_t frames = 0;
  size_t at = 0;
  while (true) {
    int64_t payload = frame(bytes, at, count, frame_bytes_max, &at);
    if (payload < 0) return -1;
    if (payload == 0) return frames;
    frames++;
  }
}

static bool charge(_Atomic uint64_t *word, uint64_t interval_ns, uint64_t burst_ns, uint64_t units, uint64_t now) {
  uint64_t cost;
  if (__builtin_mul_overflow(interval_ns, units, &cost) || cost > burst_ns) return false;
  uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
  while (true) {
    uint64_t next = (old > now ? old : now) + cost;
    if (next - now > burst_ns) return false;
    if (atomic_compare_exchange_weak_explicit(word, &old, next, memory_order_relaxed, memory_order_relaxed)) return true;
  }
}

size_t rival_charge(
    _Atomic uint64_t *words, const uint32_t *indexes, size_t count, uint64_t interval_ns, uint64_t burst_ns, uint64_t now) {
  size_t granted = 0;
  for (size_t i = 0; i < count; i++) granted += charge(&words[indexes[i]], interval_ns, burst_ns, 1, now);
  return granted;
}

_Atomic uint64_t *rival_words(size_t count) { return calloc(count, sizeof(uint64_t)); }
void rival_words_free(_Atomic uint64_t *words) { free(words); }

struct rival_ring {
  uint8_t *memory;
  uint64_t mask;
  _Alignas(128) _Atomic uint64_t head;
  _Alignas(128) _Atomic uint64_t tail;
  // The producer's own, then the consumer's.
  _Alignas(128) uint64_t producer_head, known_tail;
  _Alignas(128) uint64_t consumer_tail, known_head;
};

static const uint32_t skip = UINT32_MAX;

struct rival_ring *rival_ring_make(size_t capacity) {
  struct rival_ring *ring = aligned_alloc(128, sizeof *ring);
  memset(ring, 0, sizeof *ring);
  ring->memory = aligned_alloc(64, capacity);
  ring->mask = capacity - 1;
  return ring;
}

void rival_ring_free(struct rival_ring *ring) {
  free(ring->memory);
  free(ring);
}

static bool push(struct rival_ring *ring, const uint8_t *message, size_t bytes) {
  uint64_t worst = 2 * (bytes + 16);
  if (ring->producer_head + worst - ring->known_tail > ring->mask + 1) {
    ring->known_tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    if (ring->producer_head + worst - ring->known_tail > ring->mask + 1) return false;
  }
  size_t at = ring->producer_head & ring->mask;
  if (ring->mask + 1 - at < 8 + ((bytes + 7) & ~(size_t)7)) {
    memcpy(ring->memory + at, &skip, 4);
    ring->producer_head += ring->mask + 1 - at;
    at = 0;
  }
  uint32_t length = (uint32_t)bytes;
  memcpy(ring->memory + at + 8, message, bytes);
  memcpy(ring->memory + at, &length, 4);
  ring->producer_head += 8 + ((bytes + 7) & ~(size_t)7);
  atomic_store_explicit(&ring->head, ring->producer_head, memory_order_release);
  return true;
}

static bool pop(struct rival_ring *ring, uint64_t *sum) {
  if (ring->consumer_tail == ring->known_head) {
    ring->known_head = atomic_load_explicit(&ring->head, memory_order_acquire);
    if (ring->consumer_tail == ring->known_head) return false;
  }
  size_t at = ring->consumer_tail & ring->mask;
  uint32_t length;
  memcpy(&length, ring->memory + at, 4);
  if (length == skip) {
    ring->consumer_tail += ring->mask + 1 - at;
    at = 0;
    memcpy(&length, ring->memory, 4);
  }
  uint64_t first;
  memcpy(&first, ring->memory + at + 8, 8);
  *sum += first;
  ring->consumer_tail += 8 + ((length + 7) & ~7u);
  atomic_store_explicit(&ring->tail, ring->consumer_tail, memory_order_release);
  return true;
}

void rival_ring_produce(struct rival_ring *ring, size_t count, const uint8_t *message, size_t bytes) {
  while (count > 0) count -= push(ring, message, bytes);
}

uint64_t rival_ring_consume(struct rival_ring *ring, size_t count) {
  uint64_t sum = 0;
  while (count > 0) count -= pop(ring, &sum);
  return sum;
}

__attribute__((target("sse4.2"))) uint32_t rival_crc32c(const uint8_t *bytes, size_t count) {
  uint64_t crc = 0xffffffff;
  for (; count >= 8; bytes += 8, count -= 8) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    crc = _mm_crc32_u64(crc, word);
  }
  for (; count > 0; bytes++, count--) crc = _mm_crc32_u8((uint32_t)crc, *bytes);
  return ~(uint32_t)crc;
}

static uint32_t table[256];

__attribute__((constructor)) static void make_table(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    table[i] = crc;
  }
}

uint32_t rival_crc32c_table(const uint8_t *bytes, size_t count) {
  uint32_t crc = 0xffffffff;
  for (; count > 0; bytes++, count--) crc = crc >> 8 ^ table[(crc ^ *bytes) & 0xff];
  return ~crc;
}
