/* What of the log people see. SPDX-License-Identifier: Apache-2.0 */
#include "joblog/joblog.h"

#include <stdlib.h>

/* How many bytes the character at p takes; 0 when it is not valid UTF-8. */
static size_t character(const char *p, size_t n)
{
	for (size_t i = 1; i <= 4 && i <= n; i++)
		if (utf8_valid((struct str){ p, i }))
			return i;
	return 0;
}

void joblog_escape(struct str bytes, struct buf *out)
{
	for (size_t i = 0; i < bytes.n;) {
		unsigned char c = (unsigned char)bytes.p[i];
		size_t plain = i, n;

		while (plain < bytes.n && (unsigned char)bytes.p[plain] >= 0x20 && (unsigned char)bytes.p[plain] < 0x7f)
			plain++;
		if (plain > i) {
			buf_add(out, bytes.p + i, plain - i);
			i = plain;
			continue;
		}
		n = character(bytes.p + i, bytes.n - i);
		if (c < 0x20 || c == 0x7f)
			buf_f(out, "#%03o", c);
		else if (!n)
			buf_z(out, "\xef\xbf\xbd");
		else if (c == 0xc2 && (unsigned char)bytes.p[i + 1] < 0xa0) /* C1 controls, which terminals obey */
			buf_f(out, "#%03o#%03o", c, (unsigned char)bytes.p[i + 1]);
		else
			buf_add(out, bytes.p + i, n);
		i += n ? n : 1;
	}
}

/* Escapes the end of bytes, as much of it as makes at most max bytes. Returns whether something was left out. */
static bool escape_end(struct str bytes, size_t max, struct buf *out)
{
	bool cut = bytes.n > max;

	/* Escaping never makes text shorter. */
	if (cut)
		bytes = (struct str){ bytes.p + (bytes.n - max), max };
	for (;;) {
		size_t start = out->n, n;

		while (cut && bytes.n && ((unsigned char)*bytes.p & 0xc0) == 0x80) {
			bytes.p++;
			bytes.n--;
		}
		joblog_escape(bytes, out);
		if (out->n - start <= max)
			return cut;
		cut = true;
		n = out->n - start - max;
		out->n = start;
		/* One byte escapes to four at most. */
		n = n / 4 ? n / 4 : 1;
		n = n < bytes.n ? n : bytes.n;
		bytes = (struct str){ bytes.p + n, bytes.n - n };
	}
}

struct tail {
	struct buf *lines; /* from the last backwards */
	size_t count, cap;
	struct buf bytes; /* of the line being put together, pieces from behind */
	bool open;        /* such a line is being put together */
	size_t max_lines, left;
};

static void prepend(struct buf *b, struct str s)
{
	buf_need(b, s.n);
	memmove(b->p + s.n, b->p, b->n + 1);
	memcpy(b->p, s.p, s.n);
	b->n += s.n;
}

/* The line is whole: keeps it if there is room. False: enough. */
static bool keep_line(struct tail *t)
{
	struct buf text = { 0 };
	size_t nl = t->count ? 1 : 0;
	bool cut;

	t->open = false;
	if (t->left <= nl)
		return false;
	cut = escape_end(buf_view(&t->bytes), t->left - nl, &text);
	if (cut && t->count) {
		buf_fini(&text);
		return false;
	}
	t->left -= text.n + nl;
	if (t->count == t->cap)
		t->lines = xrealloc(t->lines, (t->cap = t->cap ? 2 * t->cap : 16) * sizeof(*t->lines));
	t->lines[t->count++] = text;
	buf_reset(&t->bytes);
	return t->count < t->max_lines;
}

static int collect(struct joblog_reader *r, struct tail *t, struct err *e)
{
	struct log_record rec;
	int rc;

	while ((rc = joblog_prev(r, &rec, e)) > 0) {
		size_t room = t->left + 1;

		if (rec.source != LOG_FROM_CONTAINER)
			continue;
		if (t->open && rec.ends_line && !keep_line(t))
			return 0;
		t->open = true;
		/* More than can be shown need not be gathered; one byte more tells that it was cut. */
		if (t->bytes.n < room) {
			size_t n = rec.bytes.n < room - t->bytes.n ? rec.bytes.n : room - t->bytes.n;

			prepend(&t->bytes, (struct str){ rec.bytes.p + rec.bytes.n - n, n });
		}
	}
	if (rc == 0 && t->open)
		keep_line(t);
	return rc;
}

int joblog_tail(const char *path, size_t max_lines, size_t max_bytes, struct buf *out, struct err *e)
{
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct tail t = { .max_lines = max_lines, .left = max_bytes };
	struct err mine = { 0 };
	int rc;

	if (joblog_reader_open(path, &r, &mine) < 0) {
		if (mine.kind == ERR_NOT_FOUND)
			return 0;
		if (e)
			*e = mine;
		return -1;
	}
	rc = joblog_seek_time(r, (struct wall){ INT64_MAX }, e);
	if (rc == 0 && max_lines)
		rc = collect(r, &t, e);
	for (size_t i = t.count; i-- > 0;) {
		if (rc == 0) {
			buf_str(out, buf_view(&t.lines[i]));
			buf_z(out, i ? "\n" : "");
		}
		buf_fini(&t.lines[i]);
	}
	free(t.lines);
	buf_fini(&t.bytes);
	return rc;
}
