/* SPDX-License-Identifier: Apache-2.0 */
#include "series/stat.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* ---- points ---- */

void series_points_fini(struct series_points *p)
{
	for (size_t i = 0; i < p->n; i++)
		sketch_fini(&p->v[i].sketch);
	free(p->v);
	*p = (struct series_points){ 0 };
}

const struct sketch *series_point_sketch(const struct series_point *p, struct sketch *space)
{
	if (p->min != p->max)
		return &p->sketch;
	sketch_add(space, p->min, p->count);
	return space;
}

/* The sketch that was left out is there afterwards. */
static void spell_out(struct series_point *p)
{
	if (!p->sketch.n && !p->sketch.unknown)
		sketch_add(&p->sketch, p->min, p->count);
}

void series_point_merge(struct series_point *to, const struct series_point *from)
{
	struct sketch space = { 0 };
	bool same = to->count && to->min == to->max && from->min == from->max && to->min == from->min;

	if (!to->count) {
		int64_t t = to->t;

		*to = *from;
		to->t = t;
		to->sketch = (struct sketch){ .rough = from->sketch.rough, .wide = to->sketch.wide };
		sketch_merge(&to->sketch, &from->sketch);
		return;
	}
	if (!same) {
		if (to->min == to->max)
			spell_out(to);
		sketch_merge(&to->sketch, series_point_sketch(from, &space));
		sketch_fini(&space);
	}
	to->count += from->count;
	to->sum = fmin(fmax(to->sum + from->sum, -DBL_MAX), DBL_MAX);
	to->min = fmin(to->min, from->min);
	to->max = fmax(to->max, from->max);
}

/* ---- names ---- */

/* "12", "99.9", "-3.5": no exponents, no blanks. */
static bool number(struct str s, double *ret)
{
	char text[40];
	size_t digits = 0;

	if (!s.n || s.n >= sizeof(text))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] >= '0' && s.p[i] <= '9')
			digits++;
		else if (s.p[i] != '.' && !(s.p[i] == '-' && !i))
			return false;
	}
	memcpy(text, s.p, s.n);
	text[s.n] = 0;
	if (!digits || strchr(text, '.') != strrchr(text, '.'))
		return false;
	*ret = strtod(text, NULL);
	return true;
}

/* "10%", "10", "" of "(10%:90%)"; percent is decided by the first that is there. */
static bool border(struct str s, bool *seen, bool *percent, double *value)
{
	bool is_percent = str_ends(s, STR("%"));

	if (!s.n)
		return true;
	if (is_percent)
		s.n--;
	if ((*seen && is_percent != *percent) || !number(s, value))
		return false;
	*seen = true;
	*percent = is_percent;
	return true;
}

static bool parse_range(struct str inside, struct stat_name *s)
{
	struct str low = str_cut(&inside, ':');
	double from = -INFINITY, to = INFINITY;
	bool seen = false, percent = false;

	if (!border(str_trim(low), &seen, &percent, &from) || !border(str_trim(inside), &seen, &percent, &to) || !seen)
		return false;
	if (percent) {
		from = from == -INFINITY ? 0 : from;
		to = to == INFINITY ? 100 : to;
		if (from < 0 || to > 100)
			return false;
	}
	s->by_value = !percent;
	s->low = from;
	s->high = to;
	return from < to;
}

bool stat_parse(struct str name, struct stat_name *ret)
{
	static const char *const plain[] = { "SampleCount", "Average", "Sum", "Minimum", "Maximum" };
	static const struct {
		const char *word;
		enum stat_kind kind;
	} words[] = { { "p", STAT_PERCENTILE },     { "tm", STAT_TRIMMED_MEAN }, { "wm", STAT_WINSORIZED_MEAN },
		      { "tc", STAT_TRIMMED_COUNT }, { "ts", STAT_TRIMMED_SUM },  { "pr", STAT_RANK } };
	struct stat_name s = { 0 };
	size_t letters = 0;
	struct str word, rest;

	for (size_t i = 0; i < ARRAY_LEN(plain); i++)
		if (str_is(name, plain[i])) {
			*ret = (struct stat_name){ .kind = (enum stat_kind)i };
			return true;
		}
	if (str_eq_nocase(name, STR("IQM"))) {
		*ret = (struct stat_name){ STAT_TRIMMED_MEAN, false, 25, 75 };
		return true;
	}
	while (letters < name.n && ((name.p[letters] | 32) >= 'a' && (name.p[letters] | 32) <= 'z'))
		letters++;
	word = (struct str){ name.p, letters };
	rest = (struct str){ name.p + letters, name.n - letters };
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (!str_eq_nocase(word, str_of(words[i].word)))
			continue;
		s.kind = words[i].kind;
		if (rest.n > 2 && rest.p[0] == '(' && rest.p[rest.n - 1] == ')') {
			if (s.kind == STAT_PERCENTILE || !parse_range((struct str){ rest.p + 1, rest.n - 2 }, &s) ||
			    (s.kind == STAT_RANK && !s.by_value))
				return false;
		} else {
			if (s.kind == STAT_RANK || !number(rest, &s.high) || s.high < 0 || s.high > 100)
				return false;
		}
		*ret = s;
		return true;
	}
	return false;
}

bool stat_is_extended(const struct stat_name *s)
{
	return s->kind >= STAT_PERCENTILE;
}

/* ---- values ---- */

static bool winsorized(const struct stat_name *s, const struct sketch *k, double *ret)
{
	double all = sketch_count(k), low, high, below, above, count, sum, unused;

	if (s->by_value) {
		low = fmax(s->low, k->bins[0].value);
		high = fmin(s->high, k->bins[k->n - 1].value);
		sketch_within(k, -INFINITY, s->low, &below, &unused);
		sketch_within(k, s->high, INFINITY, &above, &unused);
		sketch_within(k, s->low, s->high, &count, &sum);
	} else {
		low = sketch_percentile(k, s->low);
		high = sketch_percentile(k, s->high);
		below = all * s->low / 100;
		above = all * (1 - s->high / 100);
		sketch_between(k, s->low / 100, s->high / 100, &count, &sum);
	}
	*ret = (sum + below * low + above * high) / all;
	return count > 0;
}

static bool extended(const struct stat_name *s, const struct sketch *k, double *ret)
{
	double count, sum;

	if (s->kind == STAT_PERCENTILE) {
		*ret = sketch_percentile(k, s->high);
		return true;
	}
	if (s->kind == STAT_WINSORIZED_MEAN)
		return winsorized(s, k, ret);
	if (s->by_value)
		sketch_within(k, s->low, s->high, &count, &sum);
	else
		sketch_between(k, s->low / 100, s->high / 100, &count, &sum);
	switch (s->kind) {
	case STAT_TRIMMED_COUNT: *ret = count; return true;
	case STAT_TRIMMED_SUM: *ret = sum; return true;
	case STAT_RANK: *ret = count / sketch_count(k) * 100; return true;
	default: *ret = count > 0 ? sum / count : 0; return count > 0;
	}
}

bool stat_of(const struct stat_name *s, const struct series_point *p, double *ret)
{
	struct sketch space = { 0 };
	const struct sketch *k;
	bool told;

	switch (s->kind) {
	case STAT_SAMPLE_COUNT: *ret = p->count; return true;
	case STAT_AVERAGE: *ret = p->sum / p->count; return true;
	case STAT_SUM: *ret = p->sum; return true;
	case STAT_MINIMUM: *ret = p->min; return true;
	case STAT_MAXIMUM: *ret = p->max; return true;
	default: break;
	}
	k = series_point_sketch(p, &space);
	told = !k->unknown && k->n && extended(s, k, ret);
	if (told) { /* rounded to steps it may have left the range of the values */
		if (s->kind == STAT_PERCENTILE || s->kind == STAT_TRIMMED_MEAN || s->kind == STAT_WINSORIZED_MEAN)
			*ret = fmin(fmax(*ret, p->min), p->max);
	}
	sketch_fini(&space);
	return told;
}
