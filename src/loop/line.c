/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "loop/loop.h"

struct line_reader {
	size_t max_bytes;
	void (*fn)(void *arg, struct str line, bool whole);
	void *arg;
	struct buf kept; /* the start of a line, at most max_bytes */
};

struct line_reader *line_reader_new(size_t max_bytes, void (*fn)(void *arg, struct str line, bool whole), void *arg)
{
	struct line_reader *r = xcalloc(1, sizeof(*r));

	must(max_bytes > 0);
	*r = (struct line_reader){ .max_bytes = max_bytes, .fn = fn, .arg = arg };
	return r;
}

void line_reader_free(struct line_reader *r)
{
	if (!r)
		return;
	buf_fini(&r->kept);
	free(r);
}

/* Hands over kept bytes and then `rest`, of which there are together at most max_bytes. */
static void hand_over(struct line_reader *r, struct str rest, bool whole)
{
	if (r->kept.n == 0) {
		r->fn(r->arg, rest, whole);
		return;
	}
	buf_str(&r->kept, rest);
	r->fn(r->arg, buf_view(&r->kept), whole);
	buf_reset(&r->kept);
}

/* Takes line's bytes, which no '\n' is among, as far as they make pieces; returns what is left, at most what fits. */
static struct str cut_pieces(struct line_reader *r, struct str line)
{
	while (r->kept.n + line.n > r->max_bytes) {
		size_t n = r->max_bytes - r->kept.n;

		hand_over(r, (struct str){ line.p, n }, false);
		line = (struct str){ line.p + n, line.n - n };
	}
	return line;
}

void line_reader_feed(struct line_reader *r, struct str bytes)
{
	while (bytes.n) {
		const char *end = memchr(bytes.p, '\n', bytes.n);
		size_t n = end ? (size_t)(end - bytes.p) : bytes.n;
		struct str rest = cut_pieces(r, (struct str){ bytes.p, n });

		if (!end) {
			buf_str(&r->kept, rest);
			return;
		}
		hand_over(r, rest, true);
		bytes = (struct str){ end + 1, bytes.n - n - 1 };
	}
}

void line_reader_flush(struct line_reader *r)
{
	if (r->kept.n)
		hand_over(r, STR(""), false);
}
