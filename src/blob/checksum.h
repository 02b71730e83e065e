/* checksum.h - the checksums S3 knows, computed while bytes pass, and joined where parts become one object. Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/hash.h"

/* One row: the name in headers and XML, the header, the digest's bytes, and whether checksums of parts can be joined to
 * that of the whole (CRCs can). */
#define CHECKSUM_KINDS(X)                                 \
	X(CRC32, "x-amz-checksum-crc32", 4, true)         \
	X(CRC32C, "x-amz-checksum-crc32c", 4, true)       \
	X(CRC64NVME, "x-amz-checksum-crc64nvme", 8, true) \
	X(SHA1, "x-amz-checksum-sha1", 20, false)         \
	X(SHA256, "x-amz-checksum-sha256", 32, false)

enum checksum_kind {
#define X(name, header, bytes, joins) CHECKSUM_##name,
	CHECKSUM_KINDS(X)
#undef X
	        CHECKSUM_COUNT,
	CHECKSUM_NONE = CHECKSUM_COUNT
};
struct checksum_info {
	const char *name, *header;
	size_t bytes;
	bool joins;
};
extern const struct checksum_info checksum_info[CHECKSUM_COUNT];

enum checksum_kind checksum_by_name(struct str name);     /* "CRC32", any case; CHECKSUM_NONE */
enum checksum_kind checksum_by_header(struct str header); /* "x-amz-checksum-crc32", any case; CHECKSUM_NONE */

/* A running checksum of one kind. Zeroed means CHECKSUM_CRC32 not begun: call checksum_begin. */
struct checksum {
	enum checksum_kind kind;
	uint64_t crc;
	struct hash *hash;
};
void checksum_begin(struct checksum *c, enum checksum_kind kind);
void checksum_add(struct checksum *c, const void *p, size_t n);
/* Appends the digest in base64, as S3 writes it, and ends c. */
void checksum_end(struct checksum *c, struct buf *out);
void checksum_fini(struct checksum *c); /* without a result; twice if asked */

/* Whether text is base64 of a digest of that kind. */
bool checksum_text_ok(enum checksum_kind kind, struct str text);
/* The CRC of a concatenation, from the big-endian base64 CRCs of its halves. False when one of them is none. */
bool checksum_join(enum checksum_kind kind, struct str first, struct str second, uint64_t second_bytes,
                   struct buf *out);
