/* SPDX-License-Identifier: Apache-2.0 */
#include "jobdir/jsontext.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void step(struct str *in, size_t n)
{
	in->p += n;
	in->n -= n;
}

void jsontext_blanks(struct str *in)
{
	while (in->n && is_blank(in->p[0]))
		step(in, 1);
}

bool jsontext_skip(struct str *in, char c)
{
	jsontext_blanks(in);
	if (!in->n || in->p[0] != c)
		return false;
	step(in, 1);
	return true;
}

static int hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hex digits at the start of in; -1: there are none. */
static int hex4(struct str in)
{
	int v = 0;

	for (size_t i = 0; i < 4; i++) {
		int d = i < in.n ? hex_digit(in.p[i]) : -1;

		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

static bool skip_string(struct str *in)
{
	if (!in->n || in->p[0] != '"')
		return false;
	step(in, 1);
	while (in->n && in->p[0] != '"') {
		char c = in->p[0];

		if ((unsigned char)c < 0x20)
			return false;
		step(in, 1);
		if (c != '\\')
			continue;
		if (!in->n || !str_has_byte(STR("\"\\/bfnrtu"), in->p[0]))
			return false;
		c = in->p[0];
		step(in, 1);
		if (c != 'u')
			continue;
		if (hex4(*in) < 0)
			return false;
		step(in, 4);
	}
	if (!in->n)
		return false;
	step(in, 1);
	return true;
}

static bool skip_digits(struct str *in)
{
	if (!in->n || !is_digit(in->p[0]))
		return false;
	while (in->n && is_digit(in->p[0]))
		step(in, 1);
	return true;
}

static bool skip_number(struct str *in)
{
	if (in->n && in->p[0] == '-')
		step(in, 1);
	if (in->n && in->p[0] == '0')
		step(in, 1);
	else if (!skip_digits(in))
		return false;
	if (in->n && in->p[0] == '.') {
		step(in, 1);
		if (!skip_digits(in))
			return false;
	}
	if (in->n && (in->p[0] == 'e' || in->p[0] == 'E')) {
		step(in, 1);
		if (in->n && (in->p[0] == '+' || in->p[0] == '-'))
			step(in, 1);
		if (!skip_digits(in))
			return false;
	}
	return true;
}

static bool skip_scalar(struct str *in)
{
	if (in->p[0] == '"')
		return skip_string(in);
	if (in->p[0] == '-' || is_digit(in->p[0]))
		return skip_number(in);
	return str_skip(in, STR("true")) || str_skip(in, STR("false")) || str_skip(in, STR("null"));
}

/* What follows an opening bracket or a comma in an object: a name and its colon. */
static bool skip_name(struct str *in)
{
	jsontext_blanks(in);
	return skip_string(in) && jsontext_skip(in, ':');
}

/* Not recursive: the text is a stranger's, and stacks are small. closing[] holds the bracket each level waits for. */
static bool skip_value(struct str *in)
{
	char closing[JSONTEXT_DEPTH_MAX];
	size_t depth = 0;

	for (;;) {
		bool opened = false;

		jsontext_blanks(in);
		if (!in->n)
			return false;
		if (in->p[0] == '{' || in->p[0] == '[') {
			if (depth == sizeof(closing))
				return false;
			closing[depth++] = in->p[0] == '{' ? '}' : ']';
			step(in, 1);
			opened = true;
		} else if (!skip_scalar(in)) {
			return false;
		}
		/* Behind a value, close what ends here; behind a bracket that may be only its own. */
		while (depth && jsontext_skip(in, closing[depth - 1])) {
			depth--;
			opened = false;
		}
		if (!depth)
			return true;
		if (!opened && !jsontext_skip(in, ','))
			return false;
		if (closing[depth - 1] == '}' && !skip_name(in))
			return false;
	}
}

bool jsontext_value(struct str *in, struct str *ret_raw)
{
	const char *start;

	jsontext_blanks(in);
	start = in->p;
	if (!skip_value(in))
		return false;
	*ret_raw = (struct str){ start, (size_t)(in->p - start) };
	return true;
}

bool jsontext_member(struct str *in, struct str *ret_name, struct str *ret_value)
{
	struct str name, value;

	jsontext_blanks(in);
	name.p = in->p;
	if (!skip_string(in))
		return false;
	name.n = (size_t)(in->p - name.p);
	if (!jsontext_skip(in, ':') || !jsontext_value(in, &value))
		return false;
	*ret_name = name;
	*ret_value = value;
	return true;
}

bool jsontext_is_string(struct str raw)
{
	return raw.n >= 2 && raw.p[0] == '"';
}

static void add_utf8(struct buf *out, unsigned c)
{
	if (c < 0x80) {
		buf_c(out, (char)c);
		return;
	}
	if (c < 0x800) {
		buf_c(out, (char)(0xc0 | c >> 6));
	} else {
		if (c < 0x10000) {
			buf_c(out, (char)(0xe0 | c >> 12));
		} else {
			buf_c(out, (char)(0xf0 | c >> 18));
			buf_c(out, (char)(0x80 | (c >> 12 & 0x3f)));
		}
		buf_c(out, (char)(0x80 | (c >> 6 & 0x3f)));
	}
	buf_c(out, (char)(0x80 | (c & 0x3f)));
}

/* What stands behind "\u": four digits, or a pair of surrogates. */
static bool decode_unicode(struct str *in, struct buf *out)
{
	unsigned c = (unsigned)hex4(*in);
	int low;

	step(in, 4);
	if (c >= 0xd800 && c < 0xe000) {
		if (c >= 0xdc00 || !str_skip(in, STR("\\u")))
			return false;
		low = hex4(*in);
		if (low < 0xdc00 || low >= 0xe000)
			return false;
		step(in, 4);
		c = 0x10000 + ((c - 0xd800) << 10) + ((unsigned)low - 0xdc00);
	}
	add_utf8(out, c);
	return true;
}

bool jsontext_decode(struct str raw, struct buf *out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	struct str in = { raw.p + 1, raw.n - 2 };

	while (in.n) {
		const char *escape = memchr(in.p, '\\', in.n);
		size_t plain = escape ? (size_t)(escape - in.p) : in.n;

		buf_add(out, in.p, plain);
		step(&in, plain);
		if (!in.n)
			break;
		step(&in, 2);
		if (in.p[-1] != 'u')
			buf_c(out, to[strchr(from, in.p[-1]) - from]);
		else if (!decode_unicode(&in, out))
			return false;
	}
	return true;
}

void jsontext_compact(struct str raw, struct buf *out)
{
	while (raw.n) {
		const char *start = raw.p;

		if (raw.p[0] == '"')
			must(skip_string(&raw)); /* raw is a whole value */
		else
			while (raw.n && raw.p[0] != '"' && !is_blank(raw.p[0]))
				step(&raw, 1);
		buf_add(out, start, (size_t)(raw.p - start));
		jsontext_blanks(&raw);
	}
}
