/* SPDX-License-Identifier: Apache-2.0 */
#include "hyperparameters.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 20, COUNT_MAX = 100 };

struct parser {
	const char *at;
	const char *why; /* NULL while all is well */
};

static int bad(struct parser *p, const char *why)
{
	if (!p->why)
		p->why = why;
	return -1;
}

static void skip_blanks(struct parser *p)
{
	p->at += strspn(p->at, " \t\r\n");
}

/* 1 and past it when c comes next. */
static int take(struct parser *p, char c)
{
	skip_blanks(p);
	if (*p->at != c)
		return 0;
	p->at++;
	return 1;
}

/* Four hexadecimal digits, or -1. */
static long hex4(struct parser *p)
{
	long v = 0;

	for (int i = 0; i < 4; i++, p->at++) {
		const char *digits = "0123456789abcdef0123456789ABCDEF", *d = *p->at ? strchr(digits, *p->at) : NULL;

		if (!d)
			return bad(p, "a \\u needs four hexadecimal digits");
		v = v * 16 + (d - digits) % 16;
	}
	return v;
}

/* What comes after \u, as UTF-8 at dst; returns behind it. */
static char *unicode(struct parser *p, char *dst)
{
	long v = hex4(p), low;

	if (v >= 0xd800 && v < 0xdc00) {
		low = p->at[0] == '\\' && p->at[1] == 'u' ? (p->at += 2, hex4(p)) : -1;
		if (low < 0xdc00 || low > 0xdfff) {
			bad(p, "half a surrogate pair");
			return dst;
		}
		v = 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
	} else if (v <= 0 || (v >= 0xdc00 && v < 0xe000)) {
		bad(p, v ? "half a surrogate pair" : "a NUL in a text");
		return dst;
	}
	if (v < 0x80) {
		*dst++ = (char)v;
		return dst;
	}
	if (v < 0x800) {
		*dst++ = (char)(0xc0 | v >> 6);
	} else {
		if (v < 0x10000) {
			*dst++ = (char)(0xe0 | v >> 12);
		} else {
			*dst++ = (char)(0xf0 | v >> 18);
			*dst++ = (char)(0x80 | (v >> 12 & 63));
		}
		*dst++ = (char)(0x80 | (v >> 6 & 63));
	}
	*dst++ = (char)(0x80 | (v & 63));
	return dst;
}

/* A string, unescaped into fresh memory; NULL when it is none. */
static char *string(struct parser *p)
{
	static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
	char *text, *dst;

	if (!take(p, '"')) {
		bad(p, "a string in double quotes is missing (every value is a string, also numbers)");
		return NULL;
	}
	/* No escape is shorter than what it stands for. */
	text = dst = malloc(strlen(p->at) + 1);
	if (!text)
		abort();
	while (*p->at != '"' && !p->why) {
		const char *escape;

		if ((unsigned char)*p->at < 0x20) {
			bad(p, "a string that does not end, or a control character in it");
		} else if (*p->at != '\\') {
			*dst++ = *p->at++;
		} else if (p->at[1] == 'u') {
			p->at += 2;
			dst = unicode(p, dst);
		} else if (p->at[1] && (escape = strchr(escapes, p->at[1]))) {
			*dst++ = meant[escape - escapes];
			p->at += 2;
		} else {
			bad(p, "an escape that JSON does not have");
		}
	}
	if (p->why) {
		free(text);
		return NULL;
	}
	p->at++;
	*dst = 0;
	return text;
}

static int seen_before(char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return 1;
	return 0;
}

static void object(struct parser *p, void (*fn)(const char *name, const char *value, void *arg), void *arg)
{
	char *names[COUNT_MAX];
	size_t n = 0;

	if (!take(p, '{')) {
		bad(p, "not a JSON object");
		return;
	}
	if (!take(p, '}')) {
		do {
			char *name = n < COUNT_MAX ? string(p) : (bad(p, "more than 100 hyperparameters"), NULL),
			     *value = NULL;

			if (name && seen_before(names, n, name))
				bad(p, "a name occurs twice");
			if (name && !p->why && !take(p, ':'))
				bad(p, "a ':' is missing");
			if (name && !p->why)
				value = string(p);
			if (value)
				fn(name, value, arg);
			if (name)
				names[n++] = name;
			free(value);
		} while (!p->why && take(p, ','));
		if (!p->why && !take(p, '}'))
			bad(p, "a ',' or '}' is missing");
	}
	skip_blanks(p);
	if (!p->why && *p->at)
		bad(p, "something follows the object");
	while (n)
		free(names[--n]);
}

int hyperparameters_read(const char *path, void (*fn)(const char *name, const char *value, void *arg), void *arg,
                         char *why, size_t why_bytes)
{
	FILE *f = fopen(path, "r");
	char *text = calloc(1, FILE_MAX + 1);
	struct parser p = { 0 };
	size_t n;

	if (!text)
		abort();
	if (!f) {
		free(text);
		snprintf(why, why_bytes, "%s", strerror(errno));
		return errno == ENOENT ? 0 : -1;
	}
	n = fread(text, 1, FILE_MAX, f);
	fclose(f);
	p.at = text;
	if (n == FILE_MAX || strlen(text) != n)
		bad(&p, n == FILE_MAX ? "too large" : "a NUL in the file");
	else
		object(&p, fn, arg);
	if (p.why)
		snprintf(why, why_bytes, "%s (near byte %td)", p.why, p.at - text);
	free(text);
	return p.why ? -1 : 0;
}
