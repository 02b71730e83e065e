/* GetLogEvents: a stream forwards or backwards, page by page (contract 11.2). SPDX-License-Identifier: Apache-2.0
 *
 * A token is "f/" or "b/" and the position in the stream where the next page begins or ends, so an event is never shown
 * twice and never left out, and a token stays good while the stream grows. At an end the same token comes back. */
#include <stdio.h>
#include <stdlib.h>

#include "op/logs.h"
#include "op/training_job.h"
#include "store/store.h"

enum { EVENTS_MAX = 10000, REPLY_MAX = 1 << 20, EVENT_OVERHEAD = 26 };

struct event {
	int64_t at_ms, ingested_ms;
	char *message;
	size_t n;
};
struct page {
	struct log_cursor *c;
	bool of_host;
	int64_t start_ms, end_ms; /* [start, end) */
	size_t max, bytes;
	struct event *events;
	size_t count;
	struct log_pos first, next; /* before the first event, behind the last */
};

static void page_fini(struct page *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->events[i].message);
	free(p->events);
	log_cursor_close(p->c);
}

/* Whether there is room for it. One event there is always room for. */
static bool add_event(struct page *p, const struct log_shown *ev)
{
	if (p->count && (p->count == p->max || p->bytes + ev->message.n + EVENT_OVERHEAD > REPLY_MAX))
		return false;
	if (!(p->count & (p->count - 1)))
		p->events = xrealloc(p->events, (p->count ? 2 * p->count : 16) * sizeof(*p->events));
	p->bytes += ev->message.n + EVENT_OVERHEAD;
	p->events[p->count++] = (struct event){ ev->at_ms, ev->ingested_ms, str_dup(ev->message), ev->message.n };
	return true;
}

static int read_forward(struct page *p, struct err *e)
{
	struct log_shown ev;
	int r = 0;

	p->first = p->next = log_cursor_pos(p->c);
	while (p->count < p->max && (r = log_cursor_next(p->c, &ev, e)) > 0) {
		if (ev.at_ms >= p->end_ms)
			break;
		if (ev.at_ms >= p->start_ms && !add_event(p, &ev))
			break;
		p->next = log_cursor_pos(p->c);
		if (!p->count)
			p->first = p->next;
	}
	return r < 0 ? -1 : 0;
}

static int read_backward(struct page *p, struct err *e)
{
	struct log_shown ev;
	int r = 0;

	p->first = p->next = log_cursor_pos(p->c);
	while (p->count < p->max && (r = log_cursor_prev(p->c, &ev, e)) > 0) {
		if (ev.at_ms < p->start_ms)
			break;
		if (ev.at_ms < p->end_ms && !add_event(p, &ev))
			break;
		p->first = log_cursor_pos(p->c);
		if (!p->count)
			p->next = p->first;
	}
	for (size_t i = 0; i < p->count / 2; i++) {
		struct event swap = p->events[i];

		p->events[i] = p->events[p->count - 1 - i];
		p->events[p->count - 1 - i] = swap;
	}
	return r < 0 ? -1 : 0;
}

/* Puts the reader where the page begins (forward) or ends: at the token, or at the bound in time if that comes first,
 * so that nothing is read which the page cannot hold. */
static int position(struct page *p, struct str token, bool forward, struct err *e)
{
	struct err why = { 0 };
	struct log_pos pos, bound;
	bool bounded = forward ? p->start_ms > 0 : p->end_ms < INT64_MAX;

	if ((bounded || !token.n) && log_cursor_seek_time(p->c, forward ? p->start_ms : p->end_ms, e) < 0)
		return -1;
	if (!token.n)
		return 0;
	bound = log_cursor_pos(p->c);
	token = (struct str){ token.p + 2, token.n - 2 };
	if (!log_pos_read(token, p->of_host, &pos) || log_cursor_seek(p->c, pos, &why) < 0) {
		if (why.kind != ERR_IO)
			return err_set(e, ERR_INVALID, "The specified nextToken is invalid.");
		if (e)
			*e = why;
		return -1;
	}
	if (!bounded || (forward ? log_pos_compare(pos, bound) >= 0 : log_pos_compare(pos, bound) <= 0))
		return 0;
	return log_cursor_seek(p->c, bound, e);
}

static void show(const struct page *p, struct buf *out)
{
	buf_need(out, p->bytes + p->bytes / 8 + 256);
	buf_z(out, "{\"events\":[");
	for (size_t i = 0; i < p->count; i++) {
		const struct event *ev = &p->events[i];

		buf_f(out, "%s{\"timestamp\":%lld,\"message\":", i ? "," : "", (long long)ev->at_ms);
		add_json_string(out, (struct str){ ev->message, ev->n });
		buf_f(out, ",\"ingestionTime\":%lld}", (long long)ev->ingested_ms);
	}
	buf_z(out, "],\"nextForwardToken\":\"f/");
	log_pos_write(out, p->of_host, p->next);
	buf_z(out, "\",\"nextBackwardToken\":\"b/");
	log_pos_write(out, p->of_host, p->first);
	buf_z(out, "\"}");
}

int op_get_log_events(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct str token = in_str(in, "nextToken");
	const json_t *limit = json_object_get(in, "limit");
	bool forward = json_is_true(json_object_get(in, "startFromHead"));
	_cleanup_(page_fini) struct page p = { .start_ms = in_time(in, "startTime", 0),
		                               .end_ms = in_time(in, "endTime", INT64_MAX),
		                               .max = limit ? (size_t)json_integer_value(limit) : EVENTS_MAX };
	struct log_where g;

	(void)ret_out;
	if (log_group_find(call, in, &g, e) < 0)
		return -1;
	{
		_cleanup_(log_place_fini) struct log_place place = { 0 };

		if (log_stream_locate(call, &g, in_str(in, "logStreamName"), &place, e) < 0 ||
		    log_cursor_open(call->api->logs, &place, &p.c, e) < 0)
			return -1;
		p.of_host = place.path != NULL;
	}
	if (token.n) {
		forward = str_starts(token, STR("f/"));
		if (!forward && !str_starts(token, STR("b/")))
			return err_set(e, ERR_INVALID, "The specified nextToken is invalid.");
	}
	if (position(&p, token, forward, e) < 0)
		return -1;
	if ((forward ? read_forward(&p, e) : read_backward(&p, e)) < 0)
		return -1;
	show(&p, call->raw);
	return 0;
}
