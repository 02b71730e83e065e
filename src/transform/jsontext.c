/* SPDX-License-Identifier: Apache-2.0 */
#include "transform/jsontext.h"

#include "base/hash.h"

/* ---- checking ---- */

struct check {
	struct str all;
	size_t at;
	const char *wrong; /* once something is */
};

static bool fail(struct check *c, const char *what)
{
	if (!c->wrong)
		c->wrong = what;
	return false;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* 0 at the end of the text. */
static char peek(const struct check *c)
{
	return c->at < c->all.n ? c->all.p[c->at] : '\0';
}

static void blanks(struct check *c)
{
	while (is_blank(peek(c)))
		c->at++;
}

/* The four digits of a \\u; -1: they are none. */
static int hex4(struct str s)
{
	unsigned char two[2];

	return s.n >= 4 && unhex((struct str){ s.p, 4 }, two, 2) ? two[0] << 8 | two[1] : -1;
}

/* What stands behind the backslash, with its length in *ret_n; -1: no such escape. */
static int32_t escaped(struct str s, size_t *ret_n)
{
	static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
	const char *letter = s.n && s.p[0] ? strchr(letters, s.p[0]) : NULL;
	int high, low;

	if (letter) {
		*ret_n = 1;
		return meant[letter - letters];
	}
	if (!s.n || s.p[0] != 'u')
		return -1;
	*ret_n = 5;
	high = hex4((struct str){ s.p + 1, s.n - 1 });
	if (high < 0xd800 || high > 0xdfff)
		return high;
	if (high > 0xdbff || s.n < 11 || s.p[5] != '\\' || s.p[6] != 'u')
		return -1;
	low = hex4((struct str){ s.p + 7, s.n - 7 });
	if (low < 0xdc00 || low > 0xdfff)
		return -1;
	*ret_n = 11;
	return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

static bool check_string(struct check *c)
{
	size_t start = ++c->at, n;

	for (; c->at < c->all.n && c->all.p[c->at] != '"'; c->at++) {
		if ((unsigned char)c->all.p[c->at] < 0x20)
			return fail(c, "a control character in a string");
		if (c->all.p[c->at] != '\\')
			continue;
		if (escaped((struct str){ c->all.p + c->at + 1, c->all.n - c->at - 1 }, &n) < 0)
			return fail(c, "an escape that JSON has not");
		c->at += n;
	}
	if (c->at >= c->all.n)
		return fail(c, "a string without an end");
	if (!utf8_valid((struct str){ c->all.p + start, c->at - start }))
		return fail(c, "a string that is no UTF-8");
	c->at++;
	return true;
}

static bool digits(struct check *c)
{
	size_t start = c->at;

	while (is_digit(peek(c)))
		c->at++;
	return c->at > start;
}

static bool check_number(struct check *c)
{
	c->at += peek(c) == '-';
	if (peek(c) == '0')
		c->at++;
	else if (!digits(c))
		return fail(c, "something that is no value");
	if (peek(c) == '.') {
		c->at++;
		if (!digits(c))
			return fail(c, "a number without digits behind its point");
	}
	if (peek(c) == 'e' || peek(c) == 'E') {
		c->at++;
		c->at += peek(c) == '+' || peek(c) == '-';
		if (!digits(c))
			return fail(c, "a number without digits in its exponent");
	}
	return true;
}

static bool check_word(struct check *c)
{
	static const struct str words[] = { { "true", 4 }, { "false", 5 }, { "null", 4 } };

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (str_starts((struct str){ c->all.p + c->at, c->all.n - c->at }, words[i])) {
			c->at += words[i].n;
			return true;
		}
	return fail(c, "something that is no value");
}

static bool check_value(struct check *c, unsigned depth);

static bool check_name(struct check *c)
{
	if (peek(c) != '"')
		return fail(c, "a member without a name");
	if (!check_string(c))
		return false;
	blanks(c);
	if (peek(c) != ':')
		return fail(c, "a name without a colon");
	c->at++;
	blanks(c);
	return true;
}

/* An object or an array. */
static bool check_nest(struct check *c, unsigned depth)
{
	bool object = peek(c) == '{';
	char close = object ? '}' : ']';

	if (depth >= JSONTEXT_DEPTH_MAX)
		return fail(c, "more values within values than are looked at");
	c->at++;
	blanks(c);
	if (peek(c) == close) {
		c->at++;
		return true;
	}
	for (;;) {
		if ((object && !check_name(c)) || !check_value(c, depth + 1))
			return false;
		blanks(c);
		if (peek(c) == close)
			break;
		if (peek(c) != ',')
			return fail(c, c->at < c->all.n ? "two values without a comma between" : "no end");
		c->at++;
		blanks(c);
	}
	c->at++;
	return true;
}

static bool check_value(struct check *c, unsigned depth)
{
	switch (peek(c)) {
	case '{':
	case '[': return check_nest(c, depth);
	case '"': return check_string(c);
	case 't':
	case 'f':
	case 'n': return check_word(c);
	default: return check_number(c);
	}
}

int jsontext_check(struct str s, struct str *ret_value, struct err *e)
{
	struct check c = { .all = s };
	size_t start, end;
	bool ok;

	blanks(&c);
	start = c.at;
	ok = check_value(&c, 0);
	end = c.at;
	if (ok) {
		blanks(&c);
		if (c.at < s.n)
			ok = fail(&c, "something behind the value");
	}
	if (!ok)
		return err_set(e, ERR_CLIENT, "no JSON: %s at byte %zu of it", c.wrong, c.at);
	*ret_value = (struct str){ s.p + start, end - start };
	return 0;
}

/* ---- walking; the text has been checked ---- */

static size_t string_length(struct str s)
{
	size_t i = 1;

	while (i < s.n && s.p[i] != '"')
		i += s.p[i] == '\\' ? 2 : 1;
	return i + 1 < s.n ? i + 1 : s.n;
}

static size_t value_length(struct str s)
{
	size_t i = 0;
	unsigned depth = 0;

	while (i < s.n) {
		char c = s.p[i];

		if (c == '"') {
			i += string_length((struct str){ s.p + i, s.n - i });
			if (!depth)
				break;
			continue;
		}
		if (!depth && (c == ',' || c == '}' || c == ']' || is_blank(c)))
			break;
		depth += c == '{' || c == '[';
		if (c == '}' || c == ']') {
			depth--;
			if (!depth)
				return i + 1;
		}
		i++;
	}
	return i;
}

static void step(struct jsontext_walk *w, size_t n)
{
	w->rest.p += n;
	w->rest.n -= n;
	while (w->rest.n && (is_blank(w->rest.p[0]) || w->rest.p[0] == ',' || w->rest.p[0] == ':')) {
		w->rest.p++;
		w->rest.n--;
	}
}

bool jsontext_begin(struct str value, struct jsontext_walk *ret)
{
	if (value.n < 2 || (value.p[0] != '{' && value.p[0] != '['))
		return false;
	*ret = (struct jsontext_walk){ .rest = value, .object = value.p[0] == '{' };
	step(ret, 1);
	return true;
}

bool jsontext_next(struct jsontext_walk *w, struct str *ret_name, struct str *ret_value)
{
	size_t n;

	if (w->rest.n <= 1) /* its closing bracket */
		return false;
	if (w->object) {
		n = string_length(w->rest);
		if (ret_name)
			*ret_name = (struct str){ w->rest.p, n };
		step(w, n);
	}
	n = value_length(w->rest);
	*ret_value = (struct str){ w->rest.p, n };
	step(w, n);
	return true;
}

static size_t add_utf8(char dst[4], uint32_t c)
{
	if (c < 0x80) {
		dst[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		dst[0] = (char)(0xc0 | c >> 6);
		dst[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		dst[0] = (char)(0xe0 | c >> 12);
		dst[1] = (char)(0x80 | (c >> 6 & 0x3f));
		dst[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	dst[0] = (char)(0xf0 | c >> 18);
	dst[1] = (char)(0x80 | (c >> 12 & 0x3f));
	dst[2] = (char)(0x80 | (c >> 6 & 0x3f));
	dst[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

bool jsontext_is_name(struct str quoted, struct str name)
{
	struct str rest = { quoted.p + 1, quoted.n - 2 };

	while (rest.n) {
		char bytes[4];
		size_t n = 1, used = 1;

		bytes[0] = rest.p[0];
		if (rest.p[0] == '\\') {
			n = add_utf8(bytes, (uint32_t)escaped((struct str){ rest.p + 1, rest.n - 1 }, &used));
			used++;
		}
		if (!str_skip(&name, (struct str){ bytes, n }))
			return false;
		rest.p += used;
		rest.n -= used;
	}
	return name.n == 0;
}
