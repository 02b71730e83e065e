/* SPDX-License-Identifier: Apache-2.0 */
#include "op/log_cursor.h"

#include <stdlib.h>

enum { BATCH_EVENTS = 500, BATCH_BYTES = 1 << 20 };

struct kept {
	struct log_event ev;
	char *message;
};

struct log_cursor {
	/* a host's log */
	char *path;
	struct joblog_reader *r; /* NULL: parked */
	struct buf text;
	/* the store's */
	struct logstore *store;
	int64_t stream;
	struct kept *kept; /* read ahead, in the order in which they are wanted */
	size_t count, used, bytes;
	bool backwards;
	struct log_pos pos;
};

int log_pos_compare(struct log_pos a, struct log_pos b)
{
	if (a.at != b.at)
		return a.at < b.at ? -1 : 1;
	return a.n < b.n ? -1 : a.n > b.n;
}

static void drop(struct log_cursor *c)
{
	for (size_t i = 0; i < c->count; i++)
		free(c->kept[i].message);
	free(take_ptr(c->kept));
	c->count = c->used = c->bytes = 0;
}

void log_cursor_park(struct log_cursor *c)
{
	if (c->r)
		c->pos.n = joblog_offset(c->r);
	joblog_reader_close(take_ptr(c->r));
	drop(c);
}

void log_cursor_close(struct log_cursor *c)
{
	if (!c)
		return;
	log_cursor_park(c);
	buf_fini(&c->text);
	free(c->path);
	free(c);
}

static int wake(struct log_cursor *c, struct err *e)
{
	if (!c->path || c->r)
		return 0;
	if (joblog_reader_open(c->path, &c->r, e) < 0)
		return -1;
	return c->pos.n ? joblog_seek(c->r, c->pos.n, e) : 0;
}

int log_cursor_open(struct logstore *store, const struct log_place *place, struct log_cursor **ret, struct err *e)
{
	_cleanup_(log_cursor_closep) struct log_cursor *c = xcalloc(1, sizeof(*c));

	c->store = store;
	c->stream = place->stream;
	c->path = place->path ? xstrdup(place->path) : NULL;
	if (c->path ? wake(c, e) < 0 : false)
		return -1;
	*ret = take_ptr(c);
	return 0;
}

struct log_pos log_cursor_pos(const struct log_cursor *c)
{
	return c->r ? (struct log_pos){ 0, joblog_offset(c->r) } : c->pos;
}

int log_cursor_seek(struct log_cursor *c, struct log_pos pos, struct err *e)
{
	drop(c);
	if (c->path)
		return wake(c, e) < 0 ? -1 : joblog_seek(c->r, pos.n, e);
	c->pos = pos;
	return 0;
}

int log_cursor_seek_time(struct log_cursor *c, int64_t at_ms, struct err *e)
{
	drop(c);
	if (c->path)
		return wake(c, e) < 0 ? -1 : joblog_seek_time(c->r, (struct wall){ at_ms }, e);
	c->pos = (struct log_pos){ at_ms, 0 };
	return 0;
}

/* ---- a host's ---- */

static int show_record(struct log_cursor *c, bool backwards, struct log_shown *ret, struct err *e)
{
	struct log_record rec;
	uint64_t offset;
	int rc;

	if (wake(c, e) < 0)
		return -1;
	offset = joblog_offset(c->r);
	rc = backwards ? joblog_prev(c->r, &rec, e) : joblog_next(c->r, &rec, e);
	if (rc <= 0)
		return rc;
	buf_reset(&c->text);
	joblog_escape(rec.bytes, &c->text);
	*ret = (struct log_shown){ rec.at.ms, rec.at.ms, buf_view(&c->text), backwards ? joblog_offset(c->r) : offset };
	return 1;
}

/* ---- the store's ---- */

static bool keep(const struct log_event *ev, void *arg)
{
	struct log_cursor *c = arg;

	if (!(c->count & (c->count - 1)))
		c->kept = xrealloc(c->kept, (c->count ? 2 * c->count : 16) * sizeof(*c->kept));
	c->kept[c->count++] = (struct kept){ *ev, str_dup(ev->message) };
	c->bytes += ev->message.n;
	return c->bytes < BATCH_BYTES;
}

static int show_event(struct log_cursor *c, bool backwards, struct log_shown *ret, struct err *e)
{
	const struct kept *k;

	if (c->used == c->count || c->backwards != backwards) {
		drop(c);
		c->backwards = backwards;
		if (logstore_read(c->store, c->stream, (struct wall){ c->pos.at }, c->pos.n, backwards, BATCH_EVENTS,
		                  keep, c, e) < 0)
			return -1;
	}
	if (c->used == c->count)
		return 0;
	k = &c->kept[c->used++];
	c->pos = (struct log_pos){ k->ev.at.ms, backwards ? k->ev.seq : k->ev.seq + 1 };
	*ret = (struct log_shown){ k->ev.at.ms, k->ev.ingested.ms, { k->message, k->ev.message.n }, k->ev.seq };
	return 1;
}

int log_cursor_next(struct log_cursor *c, struct log_shown *ret, struct err *e)
{
	return c->path ? show_record(c, false, ret, e) : show_event(c, false, ret, e);
}

int log_cursor_prev(struct log_cursor *c, struct log_shown *ret, struct err *e)
{
	return c->path ? show_record(c, true, ret, e) : show_event(c, true, ret, e);
}
