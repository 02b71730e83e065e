/* GetLogEvents: a stream forwards or backwards, page by page (contract 11.2). SPDX-License-Identifier: Apache-2.0
 *
 * A token is "f/" or "b/" and the offset in the log where the next page begins or ends, so an event is never shown
 * twice and never left out, and a token stays good while the log grows. At an end the same token comes back. */
#include <stdio.h>
#include <stdlib.h>

#include "op/logs.h"
#include "op/training_job.h"
#include "store/store.h"

enum { EVENTS_MAX = 10000, REPLY_MAX = 1 << 20, EVENT_OVERHEAD = 26 };

struct event {
	int64_t at_ms;
	char *message;
	size_t n;
};
struct page {
	struct joblog_reader *r;
	int64_t start_ms, end_ms; /* [start, end) */
	size_t max, bytes;
	struct event *events;
	size_t count;
	uint64_t first, next; /* offsets: of the first event, behind the last */
};

static void page_fini(struct page *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->events[i].message);
	free(p->events);
	joblog_reader_close(p->r);
}

/* Whether there is room for it. One event there is always room for. */
static bool add_event(struct page *p, const struct log_record *rec)
{
	_cleanup_buf_ struct buf text = { 0 };

	joblog_escape(rec->bytes, &text);
	if (p->count && (p->count == p->max || p->bytes + text.n + EVENT_OVERHEAD > REPLY_MAX))
		return false;
	if (!(p->count & (p->count - 1)))
		p->events = xrealloc(p->events, (p->count ? 2 * p->count : 16) * sizeof(*p->events));
	p->bytes += text.n + EVENT_OVERHEAD;
	p->events[p->count++] = (struct event){ rec->at.ms, NULL, text.n };
	p->events[p->count - 1].message = buf_take(&text);
	return true;
}

static int read_forward(struct page *p, struct err *e)
{
	struct log_record rec;
	int r = 0;

	p->first = p->next = joblog_offset(p->r);
	while (p->count < p->max && (r = joblog_next(p->r, &rec, e)) > 0) {
		if (rec.at.ms >= p->end_ms)
			break;
		if (rec.at.ms >= p->start_ms && !add_event(p, &rec))
			break;
		p->next = joblog_offset(p->r);
		if (!p->count)
			p->first = p->next;
	}
	return r < 0 ? -1 : 0;
}

static int read_backward(struct page *p, struct err *e)
{
	struct log_record rec;
	int r = 0;

	p->first = p->next = joblog_offset(p->r);
	while (p->count < p->max && (r = joblog_prev(p->r, &rec, e)) > 0) {
		if (rec.at.ms < p->start_ms)
			break;
		if (rec.at.ms < p->end_ms && !add_event(p, &rec))
			break;
		p->first = joblog_offset(p->r);
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
	uint64_t offset, bound;
	bool bounded = forward ? p->start_ms > 0 : p->end_ms < INT64_MAX;

	if ((bounded || !token.n) && joblog_seek_time(p->r, (struct wall){ forward ? p->start_ms : p->end_ms }, e) < 0)
		return -1;
	if (!token.n)
		return 0;
	bound = joblog_offset(p->r);
	token = (struct str){ token.p + 2, token.n - 2 };
	if (!str_to_u64(token, &offset) || joblog_seek(p->r, offset, &why) < 0) {
		if (why.kind != ERR_IO)
			return err_set(e, ERR_INVALID, "The specified nextToken is invalid.");
		if (e)
			*e = why;
		return -1;
	}
	return bounded && (forward ? offset < bound : offset > bound) ? joblog_seek(p->r, bound, e) : 0;
}

static void show(const struct page *p, struct buf *out)
{
	buf_need(out, p->bytes + p->bytes / 8 + 256);
	buf_z(out, "{\"events\":[");
	for (size_t i = 0; i < p->count; i++) {
		const struct event *ev = &p->events[i];

		buf_f(out, "%s{\"timestamp\":%lld,\"message\":", i ? "," : "", (long long)ev->at_ms);
		add_json_string(out, (struct str){ ev->message, ev->n });
		buf_f(out, ",\"ingestionTime\":%lld}", (long long)ev->at_ms);
	}
	buf_f(out, "],\"nextForwardToken\":\"f/%020llu\",\"nextBackwardToken\":\"b/%020llu\"}",
	      (unsigned long long)p->next, (unsigned long long)p->first);
}

/* ERR_NOT_FOUND: no such job, another stream of it, or nothing was printed yet. */
static int open_stream(const struct api_call *call, struct str stream, struct page *p, struct err *e)
{
	struct str rest = stream, job = str_cut(&rest, '/');
	_cleanup_free_ char *name = NULL, *path = NULL;
	char id[JOB_ID_BYTES];
	struct store_place host = { .name = job, .host = log_stream_host(stream), .id = id };
	struct err why = { 0 };

	if (store_job_locate(call->api->store, job, host.host, id, &host.created, &why) == 0) {
		name = log_stream_name(&host);
		path = log_path(call, &host);
		if (str_is(stream, name) && joblog_reader_open(path, &p->r, &why) == 0)
			return 0;
		if (!str_is(stream, name))
			why.kind = ERR_NOT_FOUND;
	}
	if (why.kind == ERR_NOT_FOUND)
		return err_set(e, ERR_NOT_FOUND, "The specified log stream does not exist.");
	if (e)
		*e = why;
	return err_in(e, "the log of training job " PRIstr, ARGstr(job));
}

static int64_t time_of(const json_t *in, const char *member, int64_t otherwise)
{
	const json_t *v = json_object_get(in, member);

	return v ? json_integer_value(v) : otherwise; /* the walker has seen to it that it is one */
}

int op_get_log_events(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct str token = in_str(in, "nextToken");
	const json_t *limit = json_object_get(in, "limit");
	bool forward = json_is_true(json_object_get(in, "startFromHead"));
	_cleanup_(page_fini) struct page p = { .start_ms = time_of(in, "startTime", 0),
		                               .end_ms = time_of(in, "endTime", INT64_MAX),
		                               .max = limit ? (size_t)json_integer_value(limit) : EVENTS_MAX };

	(void)ret_out;
	if (log_group_check(in, e) < 0 || open_stream(call, in_str(in, "logStreamName"), &p, e) < 0)
		return -1;
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
