/* recordio.h - the frame around one record (contract 2.7): what goes before and behind each of its pieces.
 *
 * A record of 2^29 bytes and more does not fit into the length's 29 bits and is written in pieces: the first, some in
 * the middle, the last; readers put them together again. Pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdint.h>

enum { RECORD_HEAD = 8 };
#define RECORD_MAGIC UINT32_C(0xced7230a)
/* What a piece of a larger record holds: the most that fits and needs no padding. */
#define RECORD_PIECE ((UINT32_C(1) << 29) - 4)

/* The piece of a record of `size` bytes that begins at `at`: fills head, returns the piece's bytes, and tells in
 * *ret_pad how many zeros follow them. at < size, or both 0. */
uint32_t record_piece(uint64_t size, uint64_t at, unsigned char head[RECORD_HEAD], unsigned *ret_pad);
