/* SPDX-License-Identifier: Apache-2.0 */
#include "blob/checksum.h"

#include <endian.h>
#include <pthread.h>

const struct checksum_info checksum_info[CHECKSUM_COUNT] = {
#define X(name, header, bytes, joins) [CHECKSUM_##name] = { #name, header, bytes, joins },
	CHECKSUM_KINDS(X)
#undef X
};

/* Reflected polynomials; all three CRCs start and end inverted. */
static const uint64_t crc_poly[] = {
	[CHECKSUM_CRC32] = 0xedb88320, [CHECKSUM_CRC32C] = 0x82f63b78, [CHECKSUM_CRC64NVME] = 0x9a6c9329ac4bc9b5
};

enum checksum_kind checksum_by_name(struct str name)
{
	int i = 0;

	while (i < CHECKSUM_COUNT && !str_eq_nocase(name, str_of(checksum_info[i].name)))
		i++;
	return (enum checksum_kind)i;
}

enum checksum_kind checksum_by_header(struct str header)
{
	int i = 0;

	while (i < CHECKSUM_COUNT && !str_eq_nocase(header, str_of(checksum_info[i].header)))
		i++;
	return (enum checksum_kind)i;
}

/* Eight bytes a step: table[k][b] is the effect of byte b followed by k zero bytes. CRC32 is zlib's. */
typedef uint64_t crc_table[8][256];
static crc_table table_crc32c, table_crc64nvme;
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void make_table(crc_table t, uint64_t poly)
{
	for (unsigned i = 0; i < 256; i++) {
		uint64_t v = i;

		for (int bit = 0; bit < 8; bit++)
			v = v & 1 ? (v >> 1) ^ poly : v >> 1;
		t[0][i] = v;
	}
	for (int k = 1; k < 8; k++)
		for (unsigned i = 0; i < 256; i++)
			t[k][i] = (t[k - 1][i] >> 8) ^ t[0][t[k - 1][i] & 0xff];
}

static void make_tables(void)
{
	make_table(table_crc32c, crc_poly[CHECKSUM_CRC32C]);
	make_table(table_crc64nvme, crc_poly[CHECKSUM_CRC64NVME]);
}

static uint64_t crc_run(const crc_table t, uint64_t crc, const unsigned char *p, size_t n)
{
	for (; n >= 8; p += 8, n -= 8) {
		uint64_t w;

		memcpy(&w, p, 8);
		w = le64toh(w) ^ crc;
		crc = 0;
		for (int k = 0; k < 8; k++)
			crc ^= t[7 - k][(w >> (8 * k)) & 0xff];
	}
	while (n--)
		crc = (crc >> 8) ^ t[0][(crc ^ *p++) & 0xff];
	return crc;
}

void checksum_begin(struct checksum *c, enum checksum_kind kind)
{
	*c = (struct checksum){ .kind = kind };
	if (kind == CHECKSUM_CRC32C)
		c->crc = UINT32_MAX;
	else if (kind == CHECKSUM_CRC64NVME)
		c->crc = UINT64_MAX;
	else if (kind == CHECKSUM_SHA1 || kind == CHECKSUM_SHA256)
		c->hash = hash_new(kind == CHECKSUM_SHA1 ? HASH_SHA1 : HASH_SHA256);
	pthread_once(&tables_once, make_tables);
}

void checksum_add(struct checksum *c, const void *p, size_t n)
{
	switch (c->kind) {
	case CHECKSUM_CRC32: c->crc = crc32_add((uint32_t)c->crc, p, n); break;
	case CHECKSUM_CRC32C: c->crc = crc_run((const uint64_t(*)[256])table_crc32c, c->crc, p, n); break;
	case CHECKSUM_CRC64NVME: c->crc = crc_run((const uint64_t(*)[256])table_crc64nvme, c->crc, p, n); break;
	default: hash_add(c->hash, p, n);
	}
}

static void add_crc(struct buf *out, enum checksum_kind kind, uint64_t crc)
{
	uint64_t be = htobe64(kind == CHECKSUM_CRC64NVME ? crc : crc << 32);

	buf_base64(out, &be, checksum_info[kind].bytes);
}

void checksum_end(struct checksum *c, struct buf *out)
{
	unsigned char digest[SHA256_BYTES];

	if (c->hash)
		buf_base64(out, digest, hash_end(take_ptr(c->hash), digest));
	else
		add_crc(out, c->kind,
		        c->kind == CHECKSUM_CRC32    ? c->crc
		        : c->kind == CHECKSUM_CRC32C ? ~c->crc & UINT32_MAX
		                                     : ~c->crc);
}

void checksum_fini(struct checksum *c)
{
	hash_free(take_ptr(c->hash));
}

bool checksum_text_ok(enum checksum_kind kind, struct str text)
{
	_cleanup_buf_ struct buf raw = { 0 };

	return buf_unbase64(&raw, text) && raw.n == checksum_info[kind].bytes;
}

static bool read_crc(enum checksum_kind kind, struct str text, uint64_t *ret)
{
	_cleanup_buf_ struct buf raw = { 0 };
	uint64_t v = 0;

	if (!buf_unbase64(&raw, text) || raw.n != checksum_info[kind].bytes)
		return false;
	for (size_t i = 0; i < raw.n; i++)
		v = v << 8 | (unsigned char)raw.p[i];
	*ret = v;
	return true;
}

/* a * b modulo the polynomial; the highest bit is x^0. */
static uint64_t poly_multiply(uint64_t a, uint64_t b, uint64_t poly, uint64_t high)
{
	uint64_t product = 0;

	for (uint64_t m = high; m; m >>= 1) {
		if (a & m)
			product ^= b;
		b = b & 1 ? (b >> 1) ^ poly : b >> 1;
	}
	return product;
}

bool checksum_join(enum checksum_kind kind, struct str first, struct str second, uint64_t second_bytes, struct buf *out)
{
	uint64_t a, b, poly, high, power, square;

	if (!checksum_info[kind].joins || !read_crc(kind, first, &a) || !read_crc(kind, second, &b))
		return false;
	poly = crc_poly[kind];
	high = UINT64_C(1) << (checksum_info[kind].bytes * 8 - 1);
	power = high;       /* x^0, to become x^(8 * second_bytes) */
	square = high >> 8; /* x^8 */
	for (uint64_t n = second_bytes; n; n >>= 1) {
		if (n & 1)
			power = poly_multiply(square, power, poly, high);
		square = poly_multiply(square, square, poly, high);
	}
	add_crc(out, kind, poly_multiply(power, a, poly, high) ^ b);
	return true;
}
