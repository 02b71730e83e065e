/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_Init and its kin, see sha256() */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <zlib.h>

struct hash {
	EVP_MD_CTX *ctx;
};

static const EVP_MD *kind_md(enum hash_kind kind)
{
	return kind == HASH_MD5 ? EVP_md5() : kind == HASH_SHA1 ? EVP_sha1() : EVP_sha256();
}

/* The plain functions, not EVP's: those look the algorithm up under a lock that all threads share, at a cost that is
 * more than that of hashing a request. */
void sha256(struct str in, unsigned char out[SHA256_BYTES])
{
	SHA256_CTX c;

	SHA256_Init(&c);
	SHA256_Update(&c, in.p, in.n);
	SHA256_Final(out, &c);
}

void md5(struct str in, unsigned char out[MD5_BYTES])
{
	must(EVP_Digest(in.p, in.n, out, NULL, EVP_md5(), NULL) == 1);
}

/* RFC 2104 */
void hmac_sha256(struct str key, struct str in, unsigned char out[SHA256_BYTES])
{
	unsigned char pad[SHA256_CBLOCK] = { 0 };
	SHA256_CTX c;

	if (key.n > sizeof(pad))
		sha256(key, pad);
	else if (key.n)
		memcpy(pad, key.p, key.n);
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36;
	SHA256_Init(&c);
	SHA256_Update(&c, pad, sizeof(pad));
	SHA256_Update(&c, in.p, in.n);
	SHA256_Final(out, &c);
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	SHA256_Init(&c);
	SHA256_Update(&c, pad, sizeof(pad));
	SHA256_Update(&c, out, SHA256_BYTES);
	SHA256_Final(out, &c);
	OPENSSL_cleanse(pad, sizeof(pad));
	OPENSSL_cleanse(&c, sizeof(c));
}

struct hash *hash_new(enum hash_kind kind)
{
	struct hash *h = xcalloc(1, sizeof(*h));

	h->ctx = EVP_MD_CTX_new();
	must(h->ctx && EVP_DigestInit_ex(h->ctx, kind_md(kind), NULL) == 1);
	return h;
}

void hash_add(struct hash *h, const void *p, size_t n)
{
	must(EVP_DigestUpdate(h->ctx, p, n) == 1);
}

size_t hash_end(struct hash *h, unsigned char *out)
{
	unsigned char scratch[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	must(EVP_DigestFinal_ex(h->ctx, out ? out : scratch, &n) == 1);
	hash_free(h);
	return n;
}

void hash_free(struct hash *h)
{
	if (!h)
		return;
	EVP_MD_CTX_free(h->ctx);
	free(h);
}

uint32_t crc32_add(uint32_t crc, const void *p, size_t n)
{
	return (uint32_t)crc32_z(crc, p, n);
}

uint32_t crc32c_add(uint32_t crc, const void *p, size_t n)
{
	const unsigned char *u = p;

	crc = ~crc;
	while (n--) {
		crc ^= *u++;
		for (int k = 0; k < 8; k++)
			crc = crc & 1 ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
	}
	return ~crc;
}

bool equal_secret(const void *a, const void *b, size_t n)
{
	return CRYPTO_memcmp(a, b, n) == 0;
}

void random_bytes(void *p, size_t n)
{
	while (n) {
		ssize_t got = getrandom(p, n, 0);

		if (got < 0) {
			must(errno == EINTR);
			continue;
		}
		p = (char *)p + got;
		n -= (size_t)got;
	}
}

char *random_uuid(char dst[37])
{
	unsigned char r[16];

	random_bytes(r, sizeof(r));
	r[6] = (unsigned char)((r[6] & 0x0f) | 0x40);
	r[8] = (unsigned char)((r[8] & 0x3f) | 0x80);
	snprintf(dst, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0], r[1], r[2],
	         r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14], r[15]);
	return dst;
}

void buf_base64(struct buf *b, const void *p, size_t n)
{
	buf_need(b, (n + 2) / 3 * 4);
	b->n += (size_t)EVP_EncodeBlock((unsigned char *)b->p + b->n, p, (int)n);
}

bool buf_unbase64(struct buf *b, struct str s)
{
	size_t pad = 0;
	int n;

	if (s.n % 4)
		return false;
	while (pad < 2 && pad < s.n && s.p[s.n - 1 - pad] == '=')
		pad++;
	if (str_has_byte((struct str){ s.p, s.n - pad }, '='))
		return false;
	buf_need(b, s.n / 4 * 3);
	n = EVP_DecodeBlock((unsigned char *)b->p + b->n, (const unsigned char *)s.p, (int)s.n);
	if (n < 0) {
		b->p[b->n] = 0;
		return false;
	}
	b->n += (size_t)n - pad;
	b->p[b->n] = 0;
	return true;
}

static int nibble(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
	                              : -1;
}

bool unhex(struct str s, unsigned char *out, size_t out_bytes)
{
	if (s.n != out_bytes * 2)
		return false;
	for (size_t i = 0; i < out_bytes; i++) {
		int hi = nibble(s.p[2 * i]), lo = nibble(s.p[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		out[i] = (unsigned char)(hi << 4 | lo);
	}
	return true;
}
