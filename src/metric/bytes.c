/* SPDX-License-Identifier: Apache-2.0 */
#include "metric/bytes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* As a signed number, what is above ASCII is below the blank. */
static bool is_odd(signed char c)
{
	return (c < 0x20 && c != '\n') || c == 0x7f;
}

#if defined(__x86_64__)

enum { BLOCK = 128, COUNT_BLOCKS = 200 /* fewer than a byte can count */ };

__attribute__((target("avx2"))) static __m256i odd_of(const char *p)
{
	__m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
	__m256i low = _mm256_cmpgt_epi8(_mm256_set1_epi8(0x20), v), nl = _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\n'));

	return _mm256_or_si256(_mm256_andnot_si256(nl, low), _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x7f)));
}

/* How many bytes at the front are in blocks without any. */
__attribute__((target("avx2"))) static size_t skip_even(struct str t)
{
	size_t i = 0;

	for (; i + BLOCK <= t.n; i += BLOCK) {
		__m256i a = _mm256_or_si256(odd_of(t.p + i), odd_of(t.p + i + 32));
		__m256i b = _mm256_or_si256(odd_of(t.p + i + 64), odd_of(t.p + i + 96));
		__m256i all = _mm256_or_si256(a, b);

		if (!_mm256_testz_si256(all, all))
			break;
	}
	return i;
}

/* Counts in blocks, and says how far. */
__attribute__((target("avx2"))) static uint64_t count_blocks(struct str t, size_t *ret_at)
{
	const __m256i nl = _mm256_set1_epi8('\n'), zero = _mm256_setzero_si256();
	__m256i sum = zero;
	uint64_t parts[4];
	size_t i = 0;

	while (i + BLOCK <= t.n) {
		__m256i count = zero;

		for (size_t k = 0; k < COUNT_BLOCKS / 4 && i + BLOCK <= t.n; k++, i += BLOCK)
			for (size_t j = 0; j < BLOCK; j += 32) {
				__m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(t.p + i + j));

				count = _mm256_sub_epi8(count, _mm256_cmpeq_epi8(v, nl));
			}
		sum = _mm256_add_epi64(sum, _mm256_sad_epu8(count, zero));
	}
	memcpy(parts, &sum, sizeof(parts));
	*ret_at = i;
	return parts[0] + parts[1] + parts[2] + parts[3];
}

static bool has_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}

#else

static bool has_avx2(void)
{
	return false;
}

static size_t skip_even(struct str t)
{
	(void)t;
	return 0;
}

static uint64_t count_blocks(struct str t, size_t *ret_at)
{
	(void)t;
	*ret_at = 0;
	return 0;
}

#endif

/* Eight bytes at a time: 0 when none of them is odd, '\n' aside, which is seen to afterwards. */
static bool maybe_odd(const char *p)
{
	const uint64_t ones = 0x0101010101010101, high = 0x80 * ones;
	uint64_t v, low, del;

	memcpy(&v, p, 8);
	low = (v - 0x20 * ones) & ~v & high;
	del = v ^ 0x7f * ones;
	return ((low | v) & high) != 0 || ((del - ones) & ~del & high) != 0;
}

size_t bytes_find_odd(struct str t)
{
	size_t i = has_avx2() ? skip_even(t) : 0;

	while (i < t.n) {
		size_t end = i + 8 < t.n ? i + 8 : t.n;

		if (end - i == 8 && !maybe_odd(t.p + i)) {
			i = end;
			continue;
		}
		for (; i < end; i++)
			if (is_odd((signed char)t.p[i]))
				return i;
	}
	return t.n;
}

uint64_t bytes_count_lines(struct str t)
{
	size_t i = 0;
	uint64_t n = has_avx2() ? count_blocks(t, &i) : 0;

	for (; i < t.n; i++)
		n += t.p[i] == '\n';
	return n + (t.n && t.p[t.n - 1] != '\n');
}
