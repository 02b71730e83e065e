/* What the writer frames, a reader that knows nothing of it reads back: the input says how long a record is, which is
 * looked at as a range of zeros, so that it can be larger than memory.  SPDX-License-Identifier: Apache-2.0 */
#include "feed/recordio.h"

#include <endian.h>

#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads pieces as contract 2.7 says, and checks that they are the record. */
static void check_record(uint64_t size)
{
	uint64_t at = 0;
	unsigned pieces = 0;

	for (bool more = true; more; pieces++) {
		unsigned char head[RECORD_HEAD];
		unsigned pad;
		uint32_t n = record_piece(size, at, head, &pad), magic, word;

		memcpy(&magic, head, 4);
		memcpy(&word, head + 4, 4);
		must(le32toh(magic) == 0xced7230a);
		word = le32toh(word);
		must((word & 0x1fffffff) == n && (n + pad) % 4 == 0 && pad < 4);
		must(n > 0 || size == 0);
		must(n <= size - at);
		switch (word >> 29) {
		case 0: must(pieces == 0 && n == size && size < 1u << 29); break;
		case 1: must(pieces == 0 && n < size && size >= 1u << 29 && pad == 0); break;
		case 2: must(pieces > 0 && at + n < size && pad == 0); break;
		case 3: must(pieces > 0 && at + n == size); break;
		default: must(0);
		}
		more = word >> 29 == 1 || word >> 29 == 2;
		at += n;
	}
	must(at == size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t n = 0;

	for (; size >= 5; data += 5, size -= 5) {
		memcpy(&n, data, 5); /* up to a terabyte */
		check_record(le64toh(n));
	}
	return 0;
}
