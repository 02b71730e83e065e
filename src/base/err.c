/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct err_info err_info[ERR_KIND_COUNT] = {
#define X(kind, wire, http, retry, reason) [ERR_##kind] = { #kind, wire, reason, http, retry },
	ERR_KINDS(X)
#undef X
};

static void put_frame(char *dst, const char *fmt, va_list ap)
{
	int n = vsnprintf(dst, ERR_FRAME_BYTES, fmt, ap);

	if (n >= ERR_FRAME_BYTES) {
		size_t end = ERR_FRAME_BYTES - 4;

		/* not inside a UTF-8 character: the text goes into JSON */
		while (end > 0 && ((unsigned char)dst[end] & 0xc0) == 0x80)
			end--;
		memcpy(dst + end, "...", 4);
	}
}

int err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return -1;
	e->kind = kind;
	e->os = 0;
	e->depth = 1;
	va_start(ap, fmt);
	put_frame(e->frame[0], fmt, ap);
	va_end(ap);
	return -1;
}

int err_sys(struct err *e, const char *fmt, ...)
{
	int os = errno;
	va_list ap;
	size_t n;

	if (!e)
		return -1;
	e->kind = ERR_IO;
	e->os = os;
	e->depth = 1;
	va_start(ap, fmt);
	put_frame(e->frame[0], fmt, ap);
	va_end(ap);
	n = strlen(e->frame[0]);
	snprintf(e->frame[0] + n, ERR_FRAME_BYTES - n, ": %s", strerror(os));
	return -1;
}

int err_in(struct err *e, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return -1;
	if (e->depth < ERR_FRAMES)
		e->depth++;
	va_start(ap, fmt);
	put_frame(e->frame[e->depth - 1], fmt, ap);
	va_end(ap);
	return -1;
}

char *err_text(const struct err *e, char *dst, size_t dst_bytes)
{
	size_t at = 0;

	must(dst_bytes > 0);
	dst[0] = 0;
	for (unsigned i = e->depth; i-- > 0 && at < dst_bytes;) {
		int n = snprintf(dst + at, dst_bytes - at, "%s%s", e->frame[i], i ? ": " : "");

		if (n < 0)
			break;
		at += (size_t)n;
	}
	return dst;
}

void err_print(const struct err *e, const char *program)
{
	char text[ERR_FRAMES * ERR_FRAME_BYTES];

	err_text(e, text, sizeof(text));
	for (char *at = text; *at; at++) /* names in it may come from strangers, and the terminal would obey them */
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = '?';
	fprintf(stderr, "%s: %s\n", program, text);
}

void must_failed(const char *what, const char *file, int line)
{
	fprintf(stderr, "BUG: %s does not hold at %s:%d\n", what, file, line);
	abort();
}
