/* SPDX-License-Identifier: Apache-2.0 */
#include "feed/recordio.h"

#include <endian.h>

#include "base/str.h"

enum { WHOLE, FIRST, MIDDLE, LAST };

uint32_t record_piece(uint64_t size, uint64_t at, unsigned char head[RECORD_HEAD], unsigned *ret_pad)
{
	uint64_t left = size - at;
	/* One piece takes up to 2^29 - 1 bytes if it is all there is. */
	bool whole = size <= RECORD_PIECE + 3, last = whole || left <= RECORD_PIECE;
	uint32_t n = last ? (uint32_t)left : RECORD_PIECE;
	uint32_t kind = whole ? WHOLE : at == 0 ? FIRST : last ? LAST : MIDDLE;
	uint32_t words[2] = { htole32(RECORD_MAGIC), htole32(kind << 29 | n) };

	must(at < size || size == 0);
	memcpy(head, words, RECORD_HEAD);
	*ret_pad = (4 - n % 4) % 4;
	return n;
}
