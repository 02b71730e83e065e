/* SPDX-License-Identifier: Apache-2.0 */
#include "series/sketch.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* ---- steps ---- */

/* A rough value is +-exp(step * STEP_LOG); its key orders steps of either sign, and 0 is 0. */
enum { KEY_ZERO = 40000, READ_BINS_MAX = 1 << 16 };
static const double STEP_LOG = 0.0198026272961797; /* log(1.02) */

static int64_t key_of(double value)
{
	int64_t step;

	if (value == 0)
		return 0;
	step = llround(log(fabs(value)) / STEP_LOG) + KEY_ZERO;
	return value > 0 ? step : -step;
}

static double value_of(int64_t key)
{
	if (!key)
		return 0;
	return key > 0 ? fmin(exp((double)(key - KEY_ZERO) * STEP_LOG), DBL_MAX)
	               : -fmin(exp((double)(-key - KEY_ZERO) * STEP_LOG), DBL_MAX);
}

/* ---- building ---- */

/* The first bin that is not less. */
static size_t find(const struct sketch *s, double value)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (s->bins[mid].value < value)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void put(struct sketch *s, double value, double count)
{
	size_t at = s->n && s->bins[s->n - 1].value < value ? s->n : find(s, value);

	if (at < s->n && s->bins[at].value == value) {
		s->bins[at].count += count;
		return;
	}
	if (s->n == s->room) {
		s->room = s->room ? 2 * s->room : 4;
		s->bins = xrealloc(s->bins, s->room * sizeof(*s->bins));
	}
	memmove(s->bins + at + 1, s->bins + at, (s->n - at) * sizeof(*s->bins));
	s->bins[at] = (struct sketch_bin){ value, count };
	s->n++;
}

/* The lowest bins become one. */
static void collapse(struct sketch *s)
{
	size_t over = s->rough && s->n > SKETCH_BINS ? s->n - SKETCH_BINS : 0;

	for (size_t i = 0; i < over; i++)
		s->bins[over].count += s->bins[i].count;
	if (over) {
		memmove(s->bins, s->bins + over, (s->n - over) * sizeof(*s->bins));
		s->n -= over;
	}
}

static void make_rough(struct sketch *s)
{
	struct sketch rough = { .rough = true, .unknown = s->unknown, .wide = s->wide };

	for (size_t i = 0; i < s->n; i++)
		put(&rough, value_of(key_of(s->bins[i].value)), s->bins[i].count);
	free(s->bins);
	*s = rough;
}

static void keep_small(struct sketch *s)
{
	if (!s->rough && s->n > (s->wide ? SKETCH_WIDE : SKETCH_EXACT))
		make_rough(s);
	collapse(s);
}

void sketch_add(struct sketch *s, double value, double count)
{
	if (s->unknown)
		return;
	put(s, s->rough ? value_of(key_of(value)) : value, count);
	keep_small(s);
}

static void become_unknown(struct sketch *s)
{
	sketch_fini(s);
	s->unknown = true;
}

static void append(struct sketch *s, double value, double count)
{
	if (s->n && s->bins[s->n - 1].value == value)
		s->bins[s->n - 1].count += count;
	else
		s->bins[s->n++] = (struct sketch_bin){ value, count };
}

/* Both are in order, and roughening keeps it. */
static void merge_sorted(struct sketch *s, const struct sketch *with)
{
	struct sketch all = { .room = s->n + with->n, .rough = s->rough, .wide = s->wide };
	bool roughen = s->rough && !with->rough;
	size_t i = 0;

	all.bins = xcalloc(all.room, sizeof(*all.bins));
	for (size_t k = 0; k < with->n; k++) {
		double value = roughen ? value_of(key_of(with->bins[k].value)) : with->bins[k].value;

		for (; i < s->n && s->bins[i].value <= value; i++)
			append(&all, s->bins[i].value, s->bins[i].count);
		append(&all, value, with->bins[k].count);
	}
	for (; i < s->n; i++)
		append(&all, s->bins[i].value, s->bins[i].count);
	free(s->bins);
	*s = all;
}

void sketch_merge(struct sketch *s, const struct sketch *with)
{
	if (with->unknown) {
		become_unknown(s);
		return;
	}
	if (s->unknown || !with->n)
		return;
	if (with->rough && !s->rough)
		make_rough(s);
	merge_sorted(s, with);
	keep_small(s);
}

void sketch_fini(struct sketch *s)
{
	free(s->bins);
	*s = (struct sketch){ 0 };
}

/* ---- bytes ---- */

/* kind 1, then the bins: exact ones are the value's 8 bytes and the count, rough ones the distance of their key from
 * the last one's and the count. A whole count c is the number 2c, another one the number 1 and 8 bytes. */
enum { KIND_EXACT = 1, KIND_ROUGH = 2, KIND_UNKNOWN = 3 };

static void write_number(struct buf *out, uint64_t n)
{
	for (; n >= 0x80; n >>= 7)
		buf_c(out, (char)(n | 0x80));
	buf_c(out, (char)n);
}

static bool read_number(struct str *in, uint64_t *ret)
{
	uint64_t n = 0;

	for (unsigned shift = 0; in->n && shift < 64; shift += 7) {
		unsigned char c = (unsigned char)*in->p;

		in->p++;
		in->n--;
		n |= (uint64_t)(c & 0x7f) << shift;
		if (!(c & 0x80)) {
			*ret = n;
			return true;
		}
	}
	return false;
}

static void write_double(struct buf *out, double v)
{
	buf_add(out, &v, sizeof(v));
}

static bool read_double(struct str *in, double *ret)
{
	if (in->n < sizeof(*ret))
		return false;
	memcpy(ret, in->p, sizeof(*ret));
	in->p += sizeof(*ret);
	in->n -= sizeof(*ret);
	return isfinite(*ret);
}

static void write_count(struct buf *out, double count)
{
	if (count < 4503599627370496.0 && count == floor(count)) {
		write_number(out, (uint64_t)count << 1);
	} else {
		write_number(out, 1);
		write_double(out, count);
	}
}

static bool read_count(struct str *in, double *ret)
{
	uint64_t n;

	if (!read_number(in, &n))
		return false;
	if (n == 1)
		return read_double(in, ret) && *ret > 0;
	*ret = (double)(n >> 1);
	return !(n & 1) && n;
}

void sketch_write(const struct sketch *s, struct buf *out)
{
	int64_t last = -2 * KEY_ZERO;

	if (s->unknown) {
		buf_c(out, KIND_UNKNOWN);
		return;
	}
	buf_c(out, s->rough ? KIND_ROUGH : KIND_EXACT);
	for (size_t i = 0; i < s->n; i++) {
		if (s->rough) {
			int64_t key = key_of(s->bins[i].value);

			write_number(out, (uint64_t)(key - last));
			last = key;
		} else {
			write_double(out, s->bins[i].value);
		}
		write_count(out, s->bins[i].count);
	}
}

static bool read_bins(struct str in, struct sketch *s)
{
	int64_t key = -2 * KEY_ZERO;

	while (in.n) {
		struct sketch_bin b = { 0, 0 };
		uint64_t step = 0;

		if (s->rough ? !read_number(&in, &step) : !read_double(&in, &b.value))
			return false;
		if (step > 4 * KEY_ZERO || !read_count(&in, &b.count) || s->n == READ_BINS_MAX)
			return false;
		if (s->rough) {
			key += (int64_t)step;
			b.value = value_of(key);
		}
		if (s->n && b.value <= s->bins[s->n - 1].value)
			return false;
		put(s, b.value, b.count);
	}
	return true;
}

bool sketch_read(struct str bytes, struct sketch *ret)
{
	struct sketch s = { 0 };

	if (!bytes.n || bytes.p[0] < KIND_EXACT || bytes.p[0] > KIND_UNKNOWN)
		return false;
	s.unknown = bytes.p[0] == KIND_UNKNOWN;
	s.rough = bytes.p[0] == KIND_ROUGH;
	if (!read_bins((struct str){ bytes.p + 1, bytes.n - 1 }, &s)) {
		sketch_fini(&s);
		return false;
	}
	*ret = s;
	return true;
}

/* ---- questions ---- */

double sketch_count(const struct sketch *s)
{
	double n = 0;

	for (size_t i = 0; i < s->n; i++)
		n += s->bins[i].count;
	return n;
}

double sketch_percentile(const struct sketch *s, double percent)
{
	/* A hair less, so that 99.9 % of 1000 is the 999th although 0.999 is no binary fraction. */
	double want = sketch_count(s) * percent / 100 * (1 - 1e-12), seen = 0;

	for (size_t i = 0; i + 1 < s->n; i++) {
		seen += s->bins[i].count;
		if (seen >= want)
			return s->bins[i].value;
	}
	return s->bins[s->n - 1].value;
}

void sketch_between(const struct sketch *s, double from, double to, double *ret_count, double *ret_sum)
{
	double all = sketch_count(s), seen = 0, count = 0, sum = 0;

	for (size_t i = 0; i < s->n; i++) {
		double low = fmax(seen, from * all), high = fmin(seen + s->bins[i].count, to * all);

		seen += s->bins[i].count;
		if (high > low) {
			count += high - low;
			sum += (high - low) * s->bins[i].value;
		}
	}
	*ret_count = count;
	*ret_sum = sum;
}

void sketch_within(const struct sketch *s, double low, double high, double *ret_count, double *ret_sum)
{
	double count = 0, sum = 0;

	for (size_t i = 0; i < s->n; i++)
		if (s->bins[i].value > low && s->bins[i].value <= high) {
			count += s->bins[i].count;
			sum += s->bins[i].count * s->bins[i].value;
		}
	*ret_count = count;
	*ret_sum = sum;
}
