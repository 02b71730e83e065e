/* hash.h - digests, MACs and random bytes, a thin skin over libcrypto and zlib's crc32.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

enum { SHA256_BYTES = 32, MD5_BYTES = 16, SHA1_BYTES = 20 };

void sha256(struct str in, unsigned char out[SHA256_BYTES]);
void md5(struct str in, unsigned char out[MD5_BYTES]);
void hmac_sha256(struct str key, struct str in, unsigned char out[SHA256_BYTES]);

/* Streaming digests: hash_new(HASH_MD5), hash_add..., hash_end (frees). */
enum hash_kind { HASH_MD5, HASH_SHA1, HASH_SHA256 };
struct hash;
struct hash *hash_new(enum hash_kind kind);
void hash_add(struct hash *h, const void *p, size_t n);
/* Writes the digest (16, 20 or 32 bytes) to out, frees h and returns the digest's length. out may be NULL. */
size_t hash_end(struct hash *h, unsigned char *out);
void hash_free(struct hash *h); /* NULL is fine */
DEFINE_CLEANUP(struct hash, hash_free)

uint32_t crc32_add(uint32_t crc, const void *p, size_t n);  /* IEEE, start with 0 */
uint32_t crc32c_add(uint32_t crc, const void *p, size_t n); /* Castagnoli, start with 0 */

bool equal_secret(const void *a, const void *b, size_t n); /* constant time */
void random_bytes(void *p, size_t n);                      /* getrandom; cannot fail */
char *random_uuid(char dst[37]);                           /* version 4, lower case */

void buf_base64(struct buf *b, const void *p, size_t n);
bool buf_unbase64(struct buf *b, struct str s);                 /* strict, padded; false leaves b unchanged */
bool unhex(struct str s, unsigned char *out, size_t out_bytes); /* exactly 2*out_bytes digits */
