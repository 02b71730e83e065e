/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool str_eq_nocase(struct str a, struct str b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (lower(a.p[i]) != lower(b.p[i]))
			return false;
	return true;
}

int str_cmp(struct str a, struct str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;

	return c ? c : (a.n > b.n) - (a.n < b.n);
}

bool str_starts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && str_eq((struct str){ s.p, prefix.n }, prefix);
}

bool str_ends(struct str s, struct str suffix)
{
	return s.n >= suffix.n && str_eq((struct str){ s.p + (s.n - suffix.n), suffix.n }, suffix);
}

bool str_skip(struct str *s, struct str prefix)
{
	if (!str_starts(*s, prefix))
		return false;
	s->p += prefix.n;
	s->n -= prefix.n;
	return true;
}

struct str str_cut(struct str *s, char sep)
{
	const char *at = s->n ? memchr(s->p, sep, s->n) : NULL;
	struct str head = *s;

	if (!at) {
		*s = (struct str){ s->p + s->n, 0 };
		return head;
	}
	head.n = (size_t)(at - s->p);
	*s = (struct str){ at + 1, s->n - head.n - 1 };
	return head;
}

struct str str_cut_last(struct str *s, char sep)
{
	const char *at = s->n ? memrchr(s->p, sep, s->n) : NULL;
	struct str tail = *s;

	if (!at) {
		s->n = 0;
		return tail;
	}
	tail = (struct str){ at + 1, s->n - (size_t)(at - s->p) - 1 };
	s->n = (size_t)(at - s->p);
	return tail;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s)
{
	while (s.n && blank(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n && blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

ptrdiff_t str_find(struct str s, struct str needle)
{
	const char *at;

	if (!needle.n)
		return 0;
	at = s.n ? memmem(s.p, s.n, needle.p, needle.n) : NULL;
	return at ? at - s.p : -1;
}

bool str_has_byte(struct str s, char c)
{
	return s.n && memchr(s.p, c, s.n);
}

bool str_to_u64(struct str s, uint64_t *ret)
{
	uint64_t v = 0;

	if (!s.n)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
			return false;
	}
	*ret = v;
	return true;
}

bool str_to_i64(struct str s, int64_t *ret)
{
	bool minus = s.n && s.p[0] == '-';
	uint64_t v;

	if (minus)
		s = (struct str){ s.p + 1, s.n - 1 };
	if (!str_to_u64(s, &v) || v > (uint64_t)INT64_MAX + minus)
		return false;
	*ret = minus ? (int64_t)(0 - v) : (int64_t)v;
	return true;
}

/* Length of the sequence at s, 0 if it is not valid UTF-8. */
static size_t utf8_step(struct str s)
{
	const unsigned char *u = (const unsigned char *)s.p;
	size_t len;

	if (u[0] < 0x80)
		return 1;
	if (u[0] < 0xc2 || u[0] > 0xf4)
		return 0;
	len = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
	if (s.n < len)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((u[i] & 0xc0) != 0x80)
			return 0;
	if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) || (u[0] == 0xf0 && u[1] < 0x90) ||
	    (u[0] == 0xf4 && u[1] > 0x8f))
		return 0;
	return len;
}

bool utf8_valid(struct str s)
{
	while (s.n) {
		size_t step = utf8_step(s);

		if (!step)
			return false;
		s.p += step;
		s.n -= step;
	}
	return true;
}

size_t utf8_count(struct str s)
{
	size_t count = 0;

	for (size_t i = 0; i < s.n; i++)
		count += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return count;
}

char *str_dup(struct str s)
{
	char *z = xcalloc(s.n + 1, 1);

	if (s.n)
		memcpy(z, s.p, s.n);
	return z;
}

void buf_init(struct buf *b)
{
	*b = (struct buf){ 0 };
	buf_need(b, 0);
}

void buf_fini(struct buf *b)
{
	free(b->p);
	*b = (struct buf){ 0 };
}

void buf_reset(struct buf *b)
{
	buf_need(b, 0);
	b->n = 0;
	b->p[0] = 0;
}

void buf_need(struct buf *b, size_t more)
{
	size_t want = b->n + more + 1;

	must(want > more);
	if (want > b->cap) {
		size_t cap = b->cap ? b->cap * 2 : 64;

		b->cap = cap > want ? cap : want;
		b->p = xrealloc(b->p, b->cap);
		b->p[b->n] = 0;
	}
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	buf_need(b, n);
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	b->p[b->n] = 0;
}

void buf_str(struct buf *b, struct str s)
{
	buf_add(b, s.p, s.n);
}

void buf_z(struct buf *b, const char *z)
{
	buf_add(b, z, strlen(z));
}

void buf_c(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_vf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	int n;

	must(fmt);
	buf_need(b, 32); /* often enough, and then the text is made but once */
	va_copy(again, ap);
	n = vsnprintf(b->p + b->n, b->cap - b->n, fmt, ap);
	must(n >= 0);
	if ((size_t)n >= b->cap - b->n) {
		buf_need(b, (size_t)n);
		vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
	}
	b->n += (size_t)n;
	va_end(again);
}

void buf_f(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vf(b, fmt, ap);
	va_end(ap);
}

char *buf_take(struct buf *b)
{
	buf_need(b, 0);
	b->n = b->cap = 0;
	return take_ptr(b->p);
}

static const char hex_upper[] = "0123456789ABCDEF", hex_lower[] = "0123456789abcdef";

void buf_uri(struct buf *b, struct str s, bool keep_slash)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
		             c == '.' || c == '_' || c == '~' || (c == '/' && keep_slash);

		if (plain)
			buf_c(b, (char)c);
		else
			buf_add(b, (char[]){ '%', hex_upper[c >> 4], hex_upper[c & 15] }, 3);
	}
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool buf_uri_decode(struct buf *b, struct str s, bool plus)
{
	size_t start = b->n;

	buf_need(b, s.n);
	for (size_t i = 0; i < s.n; i++) {
		int hi, lo;

		if (s.p[i] != '%') {
			buf_c(b, plus && s.p[i] == '+' ? ' ' : s.p[i]);
			continue;
		}
		hi = s.n - i > 2 ? hex_value(s.p[i + 1]) : -1;
		lo = s.n - i > 2 ? hex_value(s.p[i + 2]) : -1;
		if (hi < 0 || lo < 0) {
			b->n = start;
			b->p[start] = 0;
			return false;
		}
		buf_c(b, (char)(hi << 4 | lo));
		i += 2;
	}
	return true;
}

/* One letter beyond ASCII, U+FFFD for a byte that is none; how many bytes of s that took. */
static size_t xml_letter(struct buf *b, struct str s)
{
	size_t step = utf8_step(s);

	if (step)
		buf_add(b, s.p, step);
	else
		buf_z(b, "\xef\xbf\xbd");
	return step ? step : 1;
}

void buf_xml(struct buf *b, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		switch (c) {
		case '&': buf_z(b, "&amp;"); break;
		case '<': buf_z(b, "&lt;"); break;
		case '>': buf_z(b, "&gt;"); break;
		case '"': buf_z(b, "&quot;"); break;
		default:
			if (c < 0x20 && c != '\t' && c != '\n')
				buf_f(b, "&#x%x;", c);
			else if (c < 0x80)
				buf_c(b, (char)c);
			else
				i += xml_letter(b, (struct str){ s.p + i, s.n - i }) - 1;
		}
	}
}

void buf_hex(struct buf *b, const void *p, size_t n)
{
	const unsigned char *u = p;

	for (size_t i = 0; i < n; i++)
		buf_add(b, (char[]){ hex_lower[u[i] >> 4], hex_lower[u[i] & 15] }, 2);
}

void buf_bytes(struct buf *b, uint64_t bytes)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double n = (double)bytes;
	size_t unit = 0;

	for (; n >= 1023.95 && unit + 1 < ARRAY_LEN(units); unit++)
		n /= 1024;
	if ((double)(uint64_t)(n * 10 + 0.5) == (double)(uint64_t)(n + 0.05) * 10)
		buf_f(b, "%llu %s", (unsigned long long)(n + 0.05), units[unit]);
	else
		buf_f(b, "%.1f %s", n, units[unit]);
}

char *strf(const char *fmt, ...)
{
	struct buf b = { 0 };
	va_list ap;

	va_start(ap, fmt);
	buf_vf(&b, fmt, ap);
	va_end(ap);
	return buf_take(&b);
}

void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size ? size : 1);

	must(p);
	return p;
}

void *xrealloc(void *p, size_t bytes)
{
	p = realloc(p, bytes ? bytes : 1);
	must(p);
	return p;
}

char *xstrdup(const char *z)
{
	return str_dup(str_of(z));
}
