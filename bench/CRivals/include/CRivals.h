#pragma once
// fixgate's hot algorithms once more, in C, for the bench to run beside the Swift ones. Plain C of the kind one would ship:
// every read is bounded and errors are told. Nothing of it is in the gateway.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// As `Fix` in GateCore: the same members in the same order, 152 bytes.
struct rival_fix {
  uint64_t sequence;
  int64_t time_ms;
  uint64_t monotonic_ms;
  int32_t latitude_e7, longitude_e7;
  uint32_t present;
  int32_t values[24];
  uint32_t attributes[2], work[2];
};

// Decodes the fixes and batches of each `Uplink` of `packets` (start and end in `bytes`) into `fixes`, one over the other, as
// `FixDecoder` does: fields in canonical order by a place in the code each, others by their tag. Columns are read by SIMD, or
// by the scalar loop. Attributes, work, masks and split columns, which the bench's packets do not have, are refused.
// The sum of the last sequence of each packet, or 0 if one is refused.
uint64_t rival_decode(
    const uint8_t *bytes, const size_t (*packets)[2], size_t count, struct rival_fix *fixes, int room, bool simd);
// Whether the CPU has AVX2.
bool rival_has_simd(void);

// Walks the frames behind a varint's length each, as `FrameScanner`: their number, or -1 when one is too long.
int64_t rival_frames(const uint8_t *bytes, size_t count, size_t frame_bytes_max);

// Charges one unit against each of the words by GCRA as in GateCore, by compare and swap: how many were granted.
size_t rival_charge(
    _Atomic uint64_t *words, const uint32_t *indexes, size_t count, uint64_t interval_ns, uint64_t burst_ns, uint64_t now);
_Atomic uint64_t *rival_words(size_t count);
void rival_words_free(_Atomic uint64_t *words);

// The same ring as `ByteRing`: messages in one piece behind a u32 length, a skip mark at the end, positions that only grow.
struct rival_ring;
struct rival_ring *rival_ring_make(size_t capacity);
void rival_ring_free(struct rival_ring *ring);
// Copies the message into the ring so many times, waiting for room.
void rival_ring_produce(struct rival_ring *ring, size_t count, const uint8_t *message, size_t bytes);
// Takes so many messages, waiting for them: the sum of their first eight bytes.
uint64_t rival_ring_consume(struct rival_ring *ring, size_t count);

// CRC32C by the CPU's instruction, eight bytes at a time, and by one table.
uint32_t rival_crc32c(const uint8_t *bytes, size_t count);
uint32_t rival_crc32c_table(const uint8_t *bytes, size_t count);
