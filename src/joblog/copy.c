/* The bytes of a log for a copy elsewhere. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "joblog/series.h"

struct joblog_copy {
	struct series *series;
};

int joblog_copy_open(const char *path, struct joblog_copy **ret, struct err *e)
{
	struct joblog_copy *c;
	struct series *s;

	if (series_open(path, &s, e) < 0)
		return -1;
	c = xcalloc(1, sizeof(*c));
	c->series = s;
	*ret = c;
	return 0;
}

void joblog_copy_close(struct joblog_copy *c)
{
	if (!c)
		return;
	series_close(c->series);
	free(c);
}

/* How many of the n bytes are whole frames. */
static int whole(const struct joblog_copy *c, const char *p, size_t n, size_t *ret, struct err *e)
{
	struct joblog_frame f;
	size_t at = 0, all;

	while (n - at >= JOBLOG_HEAD_BYTES) {
		if (!joblog_head_read((const unsigned char *)p + at, series_mark(c->series), &f))
			return err_set(e, ERR_IO, "the log is damaged");
		all = JOBLOG_HEAD_BYTES + (size_t)f.length + JOBLOG_TRAILER_BYTES;
		if (n - at < all)
			break;
		at += all;
	}
	*ret = at;
	return 0;
}

int joblog_copy_read(struct joblog_copy *c, uint64_t offset, struct buf *out, struct err *e)
{
	size_t got = 0, n = 0;

	buf_reset(out);
	buf_need(out, JOBLOG_START + 2 * JOBLOG_FRAME_MAX);
	if (offset < JOBLOG_START) { /* a segment's head, as one that were all of the log would have it */
		char head[JOBLOG_START] = JOBLOG_MAGIC;

		memcpy(head + sizeof(head) - JOBLOG_MARK_BYTES, series_mark(c->series), JOBLOG_MARK_BYTES);
		buf_add(out, head + offset, JOBLOG_START - (size_t)offset);
		offset = JOBLOG_START;
	}
	if (series_read(c->series, out->p + out->n, 2 * JOBLOG_FRAME_MAX, offset, &got, e) < 0 ||
	    whole(c, out->p + out->n, got, &n, e) < 0)
		return -1;
	out->n += n;
	return 0;
}

int joblog_copy_end(struct joblog_copy *c, uint64_t *ret, struct err *e)
{
	return series_end(c->series, ret, e);
}
