/* Values of filter patterns: text with wildcards, numbers, regular expressions. SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <math.h>
#include <pcre2.h>
#include <stdlib.h>

#include "logstore/filter_inside.h"

enum { MATCH_LIMIT = 200000, HEAP_LIMIT_KIB = 4096, NUMBER_MAX = 64 };

struct regex {
	pcre2_code *code;
	pcre2_match_data *match;
	pcre2_match_context *limits;
};

void filter_blanks(struct str *s)
{
	while (s->n && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r')) {
		s->p++;
		s->n--;
	}
}

bool filter_number(struct str s, double *ret)
{
	char text[NUMBER_MAX + 1], *end;
	double v;

	if (!s.n || s.n > NUMBER_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++) /* neither blanks nor hexadecimal, nor names of what is no number */
		if (!(s.p[i] >= '0' && s.p[i] <= '9') && !strchr("+-.eE", s.p[i]))
			return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	v = strtod(text, &end);
	if (*end || end == text || !isfinite(v))
		return false;
	*ret = v;
	return true;
}

/* ---- regular expressions ---- */

void regex_free(struct regex *r)
{
	if (!r)
		return;
	pcre2_code_free(r->code);
	pcre2_match_data_free(r->match);
	pcre2_match_context_free(r->limits);
	free(r);
}

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* What may stand in one. No groups and no references, so PCRE2 knows nothing of it that the service does not. */
static int check_regex(struct str s, struct err *e)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '\\') {
			if (++i == s.n)
				return err_set(e, ERR_INVALID,
				               "Invalid filter pattern: a regular expression ends in \\");
			if (is_alnum(s.p[i]) && !strchr("dDsSwWx", s.p[i]))
				return err_set(e, ERR_INVALID,
				               "Invalid filter pattern: \\%c is not supported in regular expressions",
				               s.p[i]);
			if ((unsigned char)s.p[i] >= 0x80)
				return err_set(e, ERR_INVALID,
				               "Invalid filter pattern: multi-byte characters are not supported in "
				               "regular expressions");
		} else if (!is_alnum(c) && (!c || !strchr(":_#=@/;,-^$?[]{}|*+. ", c))) {
			return err_set(e, ERR_INVALID,
			               (unsigned char)c >= 0x80
			                       ? "Invalid filter pattern: multi-byte characters are not supported in "
			                         "regular expressions"
			                       : "Invalid filter pattern: '%c' is not supported in regular expressions",
			               c);
		}
	}
	return 0;
}

int regex_read(struct str *s, struct regex **ret, struct err *e)
{
	struct str body = { s->p + 1, 0 };
	struct regex *r;
	size_t at;
	int number;

	while (1 + body.n < s->n && body.p[body.n] != '%')
		body.n += body.p[body.n] == '\\' && 2 + body.n < s->n ? 2 : 1;
	if (1 + body.n >= s->n)
		return err_set(e, ERR_INVALID, "Invalid filter pattern: a regular expression has no '%%' at its end");
	if (!body.n)
		return err_set(e, ERR_INVALID, "Invalid filter pattern: an empty regular expression");
	if (check_regex(body, e) < 0)
		return -1;
	r = xcalloc(1, sizeof(*r));
	r->code = pcre2_compile((PCRE2_SPTR)body.p, body.n, PCRE2_NO_AUTO_CAPTURE, &number, &at, NULL);
	if (!r->code) {
		PCRE2_UCHAR why[120] = "";

		pcre2_get_error_message(number, why, sizeof(why));
		regex_free(r);
		return err_set(e, ERR_INVALID, "Invalid filter pattern: the regular expression %%" PRIstr "%%: %s",
		               ARGstr(body), (const char *)why);
	}
	pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE);
	r->match = pcre2_match_data_create(1, NULL);
	r->limits = pcre2_match_context_create(NULL);
	must(r->match && r->limits);
	pcre2_set_match_limit(r->limits, MATCH_LIMIT);
	pcre2_set_heap_limit(r->limits, HEAP_LIMIT_KIB);
	s->n -= body.n + 2;
	s->p += body.n + 2;
	*ret = r;
	return 0;
}

bool regex_finds(struct regex *r, struct str text)
{
	return pcre2_match(r->code, (PCRE2_SPTR)text.p, text.n, 0, 0, r->match, r->limits) >= 0;
}

/* ---- values ---- */

int filter_quoted_read(struct str *s, char **ret, struct err *e)
{
	_cleanup_buf_ struct buf out = { 0 };

	buf_need(&out, 1);
	for (size_t i = 1; i < s->n; i++) {
		char c = s->p[i];

		if (c == '"') {
			s->p += i + 1;
			s->n -= i + 1;
			*ret = out.n ? buf_take(&out) : xstrdup("");
			return 0;
		}
		if (c == '\\' && i + 1 < s->n && (s->p[i + 1] == '"' || s->p[i + 1] == '\\'))
			c = s->p[++i];
		if (!c)
			break;
		buf_c(&out, c);
	}
	return err_set(e, ERR_INVALID, "Invalid filter pattern: a '\"' has no other one behind it");
}

void filter_value_fini(struct filter_value *v)
{
	free(v->text);
	regex_free(v->regex);
}

int filter_value_read(struct str *s, struct filter_value *ret, struct err *e)
{
	struct filter_value v = { 0 };
	struct str word = { s->p, 0 };

	if (s->n && *s->p == '%') {
		v.kind = VALUE_REGEX;
		if (regex_read(s, &v.regex, e) < 0)
			return -1;
	} else if (s->n && *s->p == '"') {
		v.quoted = true;
		if (filter_quoted_read(s, &v.text, e) < 0)
			return -1;
	} else {
		while (word.n < s->n && word.p[word.n] && !strchr(" \t\r\n&|(){}[],\"<>=!%", word.p[word.n]))
			word.n++;
		if (!word.n)
			return err_set(e, ERR_INVALID, "Invalid filter pattern: a value is missing before '%.*s'",
			               (int)(s->n < 40 ? s->n : 40), s->p);
		v.kind = filter_number(word, &v.number) ? VALUE_NUMBER : VALUE_TEXT;
		v.text = str_dup(word);
		s->p += word.n;
		s->n -= word.n;
	}
	*ret = v;
	return 0;
}

/* '*' is any text. Every '*' goes as far as it must and no further, which is enough, and is never taken back further
 * than the last one. */
static bool fits(const char *pattern, struct str text)
{
	const char *star = NULL;
	size_t i = 0, back = 0;

	while (i < text.n) {
		if (*pattern == '*') {
			star = pattern++;
			back = i;
		} else if (*pattern && *pattern == text.p[i]) {
			pattern++;
			i++;
		} else if (star) {
			pattern = star + 1;
			i = ++back;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

bool filter_value_is(struct filter_value *v, struct str text)
{
	double n;

	if (v->kind == VALUE_REGEX)
		return regex_finds(v->regex, text);
	if (v->kind == VALUE_NUMBER && filter_number(text, &n) && n == v->number)
		return true;
	return fits(v->text, text);
}

bool filter_number_compares(double a, enum compare c, double b)
{
	switch (c) {
	case IS_EQUAL: return a == b;
	case IS_UNEQUAL: return a != b;
	case IS_LESS: return a < b;
	case IS_GREATER: return a > b;
	case IS_LESS_EQUAL: return a <= b;
	case IS_GREATER_EQUAL: return a >= b;
	default: return false;
	}
}
