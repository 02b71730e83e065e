/* SPDX-License-Identifier: Apache-2.0 */
#include "metric/number.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

enum {
	EXACT_DIGITS = 19,       /* that fit into 64 bits */
	EXACT_POWER = 22,        /* 10^22 is the last power of ten that is a double */
	TEXT_MAX_BYTES = 4096,   /* a longer text is no number that anybody has printed */
	JSON_TEXT_MAX_BYTES = 32 /* of a number that is taken over as it is */
};
static const uint64_t exact_mantissa = UINT64_C(1) << 53;

static const double powers[EXACT_POWER + 1] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
	                                        1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };

/* ---- the form ---- */

struct form {
	bool negative;
	uint64_t mantissa;
	size_t digits;    /* significant ones, leading zeros left out */
	size_t shown;     /* all */
	int64_t exponent; /* of ten, of the mantissa */
	bool has_point, has_exponent, point_first, point_last, plus, leading_zero;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void take_digits(struct str *s, struct form *f, bool fraction)
{
	for (; s->n && is_digit(*s->p); s->p++, s->n--) {
		f->shown++;
		if (f->digits || *s->p != '0')
			f->digits++;
		if (f->digits <= EXACT_DIGITS)
			f->mantissa = f->mantissa * 10 + (uint64_t)(*s->p - '0');
		if (fraction)
			f->exponent--;
	}
}

static bool take_exponent(struct str *s, struct form *f)
{
	bool negative = false;
	int64_t n = 0;

	f->has_exponent = true;
	if (s->n && (*s->p == '+' || *s->p == '-')) {
		negative = *s->p == '-';
		s->p++;
		s->n--;
	}
	if (!s->n || !is_digit(*s->p))
		return false;
	for (; s->n && is_digit(*s->p); s->p++, s->n--)
		if (n < 1000000) /* far beyond any double already */
			n = n * 10 + (*s->p - '0');
	f->exponent += negative ? -n : n;
	return true;
}

/* Whether all of s is a number. */
static bool take_form(struct str s, struct form *f)
{
	*f = (struct form){ 0 };
	if (s.n && (*s.p == '+' || *s.p == '-')) {
		f->negative = *s.p == '-';
		f->plus = *s.p == '+';
		s.p++;
		s.n--;
	}
	f->leading_zero = s.n > 1 && *s.p == '0' && is_digit(s.p[1]);
	take_digits(&s, f, false);
	f->point_first = f->shown == 0;
	if (s.n && *s.p == '.') {
		size_t before = f->shown;

		f->has_point = true;
		s.p++;
		s.n--;
		take_digits(&s, f, true);
		f->point_last = f->shown == before;
	}
	if (!f->shown)
		return false;
	if (s.n && (*s.p == 'e' || *s.p == 'E')) {
		s.p++;
		s.n--;
		if (!take_exponent(&s, f))
			return false;
	}
	return s.n == 0;
}

/* ---- the value ---- */

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void make_c_locale(void)
{
	c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	must(c_locale != (locale_t)0);
}

static double by_library(struct str s)
{
	char text[TEXT_MAX_BYTES + 1];

	pthread_once(&c_locale_once, make_c_locale);
	memcpy(text, s.p, s.n);
	text[s.n] = 0;
	return strtod_l(text, NULL, c_locale);
}

/* An integer of 53 bits times or by a power of ten that is a double itself: one operation, so rounded once. */
static bool by_one_operation(const struct form *f, double *ret)
{
	double v;

	if (f->digits > EXACT_DIGITS || f->mantissa > exact_mantissa || f->exponent > EXACT_POWER ||
	    f->exponent < -EXACT_POWER)
		return false;
	v = (double)f->mantissa;
	v = f->exponent < 0 ? v / powers[-f->exponent] : v * powers[f->exponent];
	*ret = f->negative ? -v : v;
	return true;
}

static enum number_kind kind_of_text(struct str s)
{
	if (s.n && (*s.p == '+' || *s.p == '-')) {
		s.p++;
		s.n--;
	}
	if (str_eq_nocase(s, STR("nan")))
		return NUMBER_NAN;
	if (str_eq_nocase(s, STR("inf")) || str_eq_nocase(s, STR("infinity")))
		return NUMBER_INFINITE;
	return NUMBER_TEXT;
}

enum number_kind number_parse(struct str text, double *ret)
{
	struct str s = str_trim(text);
	struct form f;
	double v;

	if (!s.n)
		return NUMBER_EMPTY;
	if (s.n > TEXT_MAX_BYTES)
		return NUMBER_TEXT;
	if (!take_form(s, &f))
		return kind_of_text(s);
	if (!by_one_operation(&f, &v))
		v = by_library(s);
	if (!isfinite(v))
		return NUMBER_RANGE;
	*ret = v;
	return NUMBER_OK;
}

const char *number_why(enum number_kind kind)
{
	switch (kind) {
	case NUMBER_OK: return "is a number";
	case NUMBER_EMPTY: return "is empty";
	case NUMBER_NAN: return "is not a number that could be stored";
	case NUMBER_INFINITE: return "is infinite";
	case NUMBER_RANGE: return "is larger than any double";
	case NUMBER_TEXT: break;
	}
	return "is not a number";
}

void number_json(double v, struct str text, struct buf *out)
{
	struct str s = str_trim(text);
	size_t before = out->n;
	struct form f;

	if (s.n && s.n <= JSON_TEXT_MAX_BYTES && take_form(s, &f) && !f.plus && !f.leading_zero && !f.point_first &&
	    !f.point_last) {
		buf_str(out, s);
		buf_z(out, f.has_point || f.has_exponent ? "" : ".0");
		return;
	}
	buf_f(out, "%.17g", v);
	for (size_t i = before; i < out->n; i++)
		if (out->p[i] == '.' || out->p[i] == 'e')
			return;
	buf_z(out, ".0");
}
