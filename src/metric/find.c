/* Each literal is looked for by its window: its up to four rarest neighbouring bytes. For each of the four places there
 * are two tables of sixteen, for the low and the high half of a byte, of which groups have a literal with such a byte
 * there; what all eight look-ups agree on is a candidate.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "metric/find.h"

#include <stdlib.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { WINDOW = 4, GROUPS = 8, BLOCK = 32, TABLE_BITS = 11, TABLE = 1 << TABLE_BITS };

struct sought {
	struct literal l;
	uint32_t number;    /* the caller's */
	uint16_t next;      /* of the same chain, index + 1 */
	uint8_t at, length; /* of its window */
	uint32_t window, mask, fold;
};

struct finder {
	enum finder_way way;
	size_t n;
	struct sought *sought;
	uint16_t chain[TABLE];    /* of the whole windows with that hash, by index + 1; 0: there is none */
	uint16_t shorter[GROUPS]; /* of the windows that are not whole, of a group */
	unsigned char low[WINDOW][16], high[WINDOW][16];
	unsigned char plain[WINDOW][256]; /* the groups by whole bytes */
};

/* ---- making ---- */

static void choose_window(struct sought *s)
{
	unsigned best = 0;

	s->length = s->l.n < WINDOW ? s->l.n : WINDOW;
	for (size_t i = 0; i + s->length <= s->l.n; i++) {
		unsigned score = 0;

		for (size_t k = 0; k < s->length; k++)
			score += literal_rarity((unsigned char)s->l.bytes[i + k]);
		if (score > best) {
			best = score;
			s->at = (uint8_t)i;
		}
	}
	for (size_t k = 0; k < s->length; k++) {
		unsigned char c = (unsigned char)s->l.bytes[s->at + k];
		bool letter = c >= 'a' && c <= 'z' && s->l.fold;

		((unsigned char *)&s->window)[k] = c;
		((unsigned char *)&s->mask)[k] = 0xff;
		((unsigned char *)&s->fold)[k] = letter ? 0x20 : 0;
	}
}

static int compare_windows(const void *a, const void *b)
{
	const struct sought *x = a, *y = b;
	int rc = memcmp(&x->window, &y->window, WINDOW);

	return rc ? rc : x->number < y->number ? -1 : 1;
}

static void allow(struct finder *f, size_t place, unsigned char byte, unsigned char group)
{
	f->low[place][byte & 15] |= group;
	f->high[place][byte >> 4] |= group;
	f->plain[place][byte] |= group;
}

static void fill_tables(struct finder *f, const struct sought *s, unsigned char group)
{
	for (size_t k = 0; k < WINDOW; k++) {
		unsigned char c = ((const unsigned char *)&s->window)[k];

		if (k >= s->length) {
			for (unsigned any = 0; any < 256; any++)
				allow(f, k, (unsigned char)any, group);
			continue;
		}
		allow(f, k, c, group);
		if (((const unsigned char *)&s->fold)[k])
			allow(f, k, c ^ 0x20, group);
	}
}

/* Whatever the case of letters. */
static uint32_t hash(uint32_t window)
{
	return ((window & 0xdfdfdfdf) * 0x9e3779b1) >> (32 - TABLE_BITS);
}

static enum finder_way possible(enum finder_way way)
{
#if defined(__x86_64__)
	if ((way == FINDER_BEST || way == FINDER_AVX2) && __builtin_cpu_supports("avx2"))
		return FINDER_AVX2;
	if ((way == FINDER_BEST || way == FINDER_SSSE3) && __builtin_cpu_supports("ssse3"))
		return FINDER_SSSE3;
#endif
	(void)way;
	return FINDER_PLAIN;
}

struct finder *finder_new(const struct literal *literals, size_t n, enum finder_way way)
{
	struct finder *f = xcalloc(1, sizeof(*f));

	must(n <= FINDER_MAX);
	f->way = possible(way);
	f->n = n;
	f->sought = xcalloc(n ? n : 1, sizeof(*f->sought));
	for (size_t i = 0; i < n; i++) {
		f->sought[i].l = literals[i];
		f->sought[i].number = (uint32_t)i;
		choose_window(&f->sought[i]);
	}
	if (n)
		qsort(f->sought, n, sizeof(*f->sought), compare_windows);
	/* Neighbours in the order share bytes, so a group's tables stay narrow. */
	for (size_t i = 0; i < n; i++) {
		struct sought *q = &f->sought[i];
		unsigned g = (unsigned)(i * GROUPS / n);
		uint16_t *chain = q->length == WINDOW ? &f->chain[hash(q->window)] : &f->shorter[g];

		fill_tables(f, q, (unsigned char)(1U << g));
		q->next = *chain;
		*chain = (uint16_t)(i + 1);
	}
	return f;
}

void finder_free(struct finder *f)
{
	if (!f)
		return;
	free(f->sought);
	free(f);
}

/* ---- looking ---- */

static bool is_there(const struct sought *s, const char *p)
{
	if (!s->l.fold)
		return memcmp(p, s->l.bytes, s->l.n) == 0;
	for (size_t i = 0; i < s->l.n; i++) {
		char c = p[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c | 0x20);
		if (c != s->l.bytes[i])
			return false;
	}
	return true;
}

/* What of a chain has its window at `at`, where `here` stands. */
static size_t confirm_chain(const struct finder *f, struct str text, size_t at, uint32_t here, uint16_t chain,
                            struct found *ret)
{
	size_t n = 0;

	for (; chain; chain = f->sought[chain - 1].next) {
		const struct sought *s = &f->sought[chain - 1];

		/* Bytes that differ in 0x20 alone and are letters in `window` pass, and are looked at again. */
		if (((here ^ s->window) & s->mask & ~s->fold) != 0 || at < s->at || text.n - (at - s->at) < s->l.n)
			continue;
		if (is_there(s, text.p + at - s->at))
			ret[n++] = (struct found){ (uint32_t)(at - s->at), s->number };
	}
	return n;
}

/* What of the groups is at `at`, where a window begins. Room for one of each literal must be left. */
static size_t confirm(const struct finder *f, struct str text, size_t at, unsigned groups, struct found *ret)
{
	uint32_t here = 0;
	size_t n, left = text.n - at;

	if (left >= WINDOW)
		memcpy(&here, text.p + at, WINDOW);
	else
		memcpy(&here, text.p + at, left);
	n = confirm_chain(f, text, at, here, f->chain[hash(here)], ret);
	for (; groups; groups &= groups - 1)
		n += confirm_chain(f, text, at, here, f->shorter[__builtin_ctz(groups)], ret + n);
	return n;
}

static unsigned groups_at(const struct finder *f, struct str text, size_t at)
{
	const unsigned char *p = (const unsigned char *)text.p + at;
	size_t left = text.n - at;
	unsigned groups = f->plain[0][p[0]];

	for (size_t k = 1; k < WINDOW && groups; k++)
		groups &= f->plain[k][k < left ? p[k] : 0];
	return groups;
}

static size_t next_plain(const struct finder *f, struct str text, size_t *pos, size_t end, struct found *ret,
                         size_t max)
{
	size_t n = 0;

	for (; *pos < end; ++*pos) {
		unsigned groups = groups_at(f, text, *pos);

		if (!groups)
			continue;
		if (n + f->n > max)
			break;
		n += confirm(f, text, *pos, groups, ret + n);
	}
	return n;
}

#if defined(__x86_64__)

/* The groups of BLOCK positions from p on; p has BLOCK + WINDOW - 1 bytes. False: none at all. */
typedef bool (*block_fn)(const struct finder *f, const char *p, unsigned char groups[BLOCK]);

__attribute__((target("avx2"))) static bool block_avx2(const struct finder *f, const char *p,
                                                       unsigned char groups[BLOCK])
{
	const __m256i half = _mm256_set1_epi8(15);
	__m256i all = _mm256_set1_epi8(-1);

	for (size_t k = 0; k < WINDOW; k++) {
		__m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)f->low[k]));
		__m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)f->high[k]));
		__m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(p + k));
		__m256i l = _mm256_shuffle_epi8(low, _mm256_and_si256(v, half));
		__m256i h = _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16(v, 4), half));

		all = _mm256_and_si256(all, _mm256_and_si256(l, h));
	}
	if (_mm256_testz_si256(all, all))
		return false;
	_mm256_storeu_si256((__m256i *)(void *)groups, all);
	return true;
}

__attribute__((target("ssse3"))) static bool block_ssse3(const struct finder *f, const char *p,
                                                         unsigned char groups[BLOCK])
{
	const __m128i half = _mm_set1_epi8(15), zero = _mm_setzero_si128();
	int none = 0xffff;

	for (size_t at = 0; at < BLOCK; at += 16) {
		__m128i all = _mm_set1_epi8(-1);

		for (size_t k = 0; k < WINDOW; k++) {
			__m128i low = _mm_loadu_si128((const __m128i *)(const void *)f->low[k]);
			__m128i high = _mm_loadu_si128((const __m128i *)(const void *)f->high[k]);
			__m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + at + k));
			__m128i l = _mm_shuffle_epi8(low, _mm_and_si128(v, half));
			__m128i h = _mm_shuffle_epi8(high, _mm_and_si128(_mm_srli_epi16(v, 4), half));

			all = _mm_and_si128(all, _mm_and_si128(l, h));
		}
		none &= _mm_movemask_epi8(_mm_cmpeq_epi8(all, zero));
		_mm_storeu_si128((__m128i *)(void *)(groups + at), all);
	}
	return none != 0xffff;
}

static size_t next_blocks(const struct finder *f, block_fn block, struct str text, size_t *pos, struct found *ret,
                          size_t max)
{
	unsigned char groups[BLOCK];
	size_t n = 0;

	while (text.n >= BLOCK + WINDOW && *pos <= text.n - (BLOCK + WINDOW)) {
		if (block(f, text.p + *pos, groups)) {
			if (n + BLOCK * f->n > max)
				return n + next_plain(f, text, pos, *pos + BLOCK, ret + n, max - n);
			for (size_t w = 0; w < BLOCK; w += 8) {
				uint64_t eight;

				memcpy(&eight, groups + w, 8);
				while (eight) {
					size_t i = (size_t)__builtin_ctzll(eight) / 8;

					n += confirm(f, text, *pos + w + i, groups[w + i], ret + n);
					eight &= ~(UINT64_C(0xff) << 8 * i);
				}
			}
		}
		*pos += BLOCK;
	}
	return n + next_plain(f, text, pos, text.n, ret + n, max - n);
}

#endif

size_t finder_next(const struct finder *f, struct str text, size_t *pos, struct found *ret, size_t max)
{
	if (!f->n)
		*pos = text.n;
#if defined(__x86_64__)
	else if (f->way == FINDER_AVX2)
		return next_blocks(f, block_avx2, text, pos, ret, max);
	else if (f->way == FINDER_SSSE3)
		return next_blocks(f, block_ssse3, text, pos, ret, max);
#endif
	return next_plain(f, text, pos, text.n, ret, max);
}
