/* culprit.c - which record of a refused request it was: halves of the request are sent until one record is left, about
 * log2 of their number. Nothing of these answers is kept.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdlib.h>

#include "transform/inside.h"

enum { RECORDS_MAX = 8 << 20 }; /* of a request that is looked into; more would take too much memory */

struct hunt {
	struct deal *d;
	struct poster *poster;
	struct str body;
	uint32_t *end; /* of each record, in body */
	size_t n;
};

/* Where each record of a request ends. False: they are no records, or too many. */
static bool find_ends(enum split_type type, struct str body, uint32_t **ret, size_t *ret_n)
{
	struct splitter s = { .type = type, .single = true, .limit = UNBOUNDED_RECORD };
	struct split_take take;
	size_t n = 0, room = 0, at = 0;
	uint32_t *end = NULL;
	struct err e = { 0 };
	int rc = 1;

	while (at < body.n && n < RECORDS_MAX) {
		rc = split_next(&s, (struct str){ body.p + at, body.n - at }, true, &take, NULL, &e);
		if (rc <= 0)
			break;
		if (n == room) {
			room = room ? room * 2 : 1024;
			end = xrealloc(end, room * sizeof(*end));
		}
		at += take.bytes;
		end[n++] = (uint32_t)at;
	}
	*ret = end;
	*ret_n = n;
	return rc > 0 && at == body.n;
}

static size_t start_of(const uint32_t *end, size_t record)
{
	return record ? end[record - 1] : 0;
}

/* Whether the container refuses these records. -1: it gives no answer, or all this is to end. */
static int refuses(const struct hunt *h, size_t from, size_t to)
{
	const struct work *w = h->d->o->work;
	struct pollfd stop = { .fd = h->d->o->stop_fd, .events = POLLIN };
	size_t at = start_of(h->end, from);
	struct post post = { .content_type = w->content_type,
		             .accept = w->container_count == 1 ? w->accept : NULL,
		             .body = { h->body.p + at, h->end[to - 1] - at },
		             .chunked = !h->d->o->terms.payload_mb,
		             .timeout_s = w->timeout_s };
	struct post_reply reply = { 0 };
	struct result result;
	struct err e = { 0 };
	int rc;

	if (poll(&stop, 1, 0) != 0)
		return -1;
	result_init(&result, &h->d->house);
	rc = poster_invoke(h->poster, &post, &result, &reply, &e);
	result_fini(&result);
	rc = rc == 0 ? 0 : reply.status && !reply.local ? 1 : -1;
	post_reply_fini(&reply);
	return rc;
}

/* The first record that is refused alone. False: it is not one record's fault. */
static bool search(const struct hunt *h, size_t *ret)
{
	size_t low = 0, high = h->n;
	bool alone = false;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		int rc = refuses(h, low, middle);

		if (rc < 0)
			return false;
		alone = rc && middle - low == 1;
		if (rc)
			high = middle;
		else
			low = middle;
	}
	*ret = low;
	return alone || refuses(h, low, high) > 0;
}

bool culprit(struct deal *d, struct poster *p, const struct task *t, struct str body, uint64_t *ret_record,
             uint64_t *ret_at)
{
	_cleanup_buf_ struct buf part = { 0 };
	_cleanup_free_ uint32_t *raw_end = NULL, *end = NULL;
	struct hunt h = { .d = d, .poster = p };
	struct str raw = buf_view(&t->payload);
	enum split_type type = d->o->work->split;
	struct err e = { 0 };
	size_t raw_n = 0, found;

	if (t->stream || type == SPLIT_NONE || d->o->terms.single || deal_failed(d, t->object))
		return false;
	if (t->part) {
		buf_need(&part, t->part);
		if (reader_part(t->object->file, t->at, part.p, t->part, &e) < 0)
			return false;
		part.n = t->part;
		raw = body = buf_view(&part);
	}
	if (!find_ends(type, raw, &raw_end, &raw_n) || raw_n < 2 || !find_ends(type, body, &end, &h.n) || h.n != raw_n)
		return false;
	h.body = body;
	h.end = end;
	if (!search(&h, &found))
		return false;
	*ret_record = found;
	*ret_at = start_of(raw_end, found);
	return true;
}
