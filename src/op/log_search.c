/* FilterLogEvents: the events of several streams in the order of time. SPDX-License-Identifier: Apache-2.0
 *
 * Events are ordered by their time, then by the names of their streams, then as they are in their stream. A page ends
 * when it is full, or when it has taken a second: a search of much may give empty pages. Its token is the place in that
 * order where the page ended, so it does not grow with the number of streams and stays good while they do:
 *
 *     e/TIME/POSITION/STREAM     the last event that was looked at, and where its stream goes on
 *
 * The streams wait in a heap, by the time of their next event; one that was not opened yet by the time before which it
 * has none. */
#include <stdlib.h>

#include "base/hash.h"
#include "logstore/filter.h"
#include "op/logs.h"
#include "op/training_job.h"

enum { EVENTS_MAX = 10000, REPLY_MAX = 1 << 20, EVENT_OVERHEAD = 160, PAGE_MS = 1000, OPEN_MAX = 48, NAMES_MAX = 100 };

struct source {
	const struct log_listed *stream;
	size_t rank;          /* by name */
	struct log_cursor *c; /* NULL: not opened yet */
	int64_t at_ms;        /* of the next event, or a bound of it */
	struct buf message;
	struct log_shown next;
};

struct search {
	const struct api_call *call;
	const json_t *in;
	struct log_filter *filter;
	struct log_list streams;
	struct source *sources;
	struct source **heap;
	size_t heap_count, open;
	int64_t start_ms, end_ms; /* both inclusive */
	size_t max, count, bytes;
	struct mono began;
	/* from the token */
	bool resumed;
	int64_t resume_ms;
	struct str resume_pos, resume_stream;
	/* what was looked at last */
	const struct source *last;
	int64_t last_ms;
	struct log_pos last_pos;
	struct buf events;
};

static void search_fini(struct search *s)
{
	for (size_t i = 0; i < s->streams.count && s->sources; i++) {
		log_cursor_close(s->sources[i].c);
		buf_fini(&s->sources[i].message);
	}
	free(s->sources);
	free(s->heap);
	log_list_fini(&s->streams);
	log_filter_free(s->filter);
	buf_fini(&s->events);
}

/* ---- the heap ---- */

static bool before(const struct source *a, const struct source *b)
{
	if (a->at_ms != b->at_ms)
		return a->at_ms < b->at_ms;
	if (!a->c != !b->c)
		return !a->c; /* what it has may come first */
	return a->rank < b->rank;
}

static void heap_add(struct search *s, struct source *x)
{
	size_t i = s->heap_count++;

	for (; i && before(x, s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = x;
}

static struct source *heap_take(struct search *s)
{
	struct source *top = s->heap[0], *x = s->heap[--s->heap_count];
	size_t i = 0;

	for (size_t child; (child = 2 * i + 1) < s->heap_count; i = child) {
		if (child + 1 < s->heap_count && before(s->heap[child + 1], s->heap[child]))
			child++;
		if (!before(s->heap[child], x))
			break;
		s->heap[i] = s->heap[child];
	}
	if (s->heap_count)
		s->heap[i] = x;
	return top;
}

/* ---- sources ---- */

/* Puts the cursor at the first event that is wanted. */
static int stand(struct search *s, struct source *x, struct err *e)
{
	int64_t from = s->start_ms;
	struct log_pos pos;
	struct err why = { 0 };
	int order;

	if (s->resumed) {
		order = str_cmp(str_of(x->stream->name), s->resume_stream);
		if (order == 0) {
			if (log_pos_read(s->resume_pos, x->stream->place.path != NULL, &pos) &&
			    log_cursor_seek(x->c, pos, &why) == 0)
				return 0;
			return err_set(e, ERR_INVALID, "The specified nextToken is invalid.");
		}
		from = order < 0 ? s->resume_ms + 1 : s->resume_ms;
		from = from < s->start_ms ? s->start_ms : from;
	}
	return log_cursor_seek_time(x->c, from, e);
}

/* Reads the source's next event and puts it back into the heap, if there is one that may be wanted. */
static int advance(struct search *s, struct source *x, struct err *e)
{
	struct log_shown ev;
	int rc = log_cursor_next(x->c, &ev, e);

	if (rc < 0)
		return -1;
	if (rc == 0 || ev.at_ms > s->end_ms) {
		log_cursor_close(take_ptr(x->c));
		s->open--;
		return 0;
	}
	buf_reset(&x->message);
	buf_str(&x->message, ev.message);
	x->next = ev;
	x->next.message = buf_view(&x->message);
	x->at_ms = ev.at_ms;
	if (s->open > OPEN_MAX)
		log_cursor_park(x->c);
	heap_add(s, x);
	return 0;
}

static int open_source(struct search *s, struct source *x, struct err *e)
{
	struct err why = { 0 };

	if (log_cursor_open(s->call->api->logs, &x->stream->place, &x->c, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND) /* it was removed */
			return 0;
		if (e)
			*e = why;
		return -1;
	}
	s->open++;
	return stand(s, x, e) < 0 ? -1 : advance(s, x, e);
}

/* ---- a page ---- */

static void add_event(struct search *s, const struct source *x)
{
	const struct log_shown *ev = &x->next;
	struct str name = str_of(x->stream->name);

	buf_f(&s->events, "%s{\"logStreamName\":", s->count ? "," : "");
	add_json_string(&s->events, name);
	buf_f(&s->events, ",\"timestamp\":%lld,\"message\":", (long long)ev->at_ms);
	add_json_string(&s->events, ev->message);
	buf_f(&s->events, ",\"ingestionTime\":%lld,\"eventId\":\"%015lld%010u%020llu\"}", (long long)ev->ingested_ms,
	      (long long)ev->at_ms, (unsigned)crc32_add(0, name.p, name.n), (unsigned long long)ev->n);
	s->count++;
	s->bytes += ev->message.n + name.n + EVENT_OVERHEAD;
}

/* Whether the page ends before this event. It has looked at one at least. */
static bool is_full(const struct search *s, const struct source *x)
{
	if (!s->last)
		return false;
	return s->count == s->max || (s->count && s->bytes + x->next.message.n > REPLY_MAX) ||
	       mono_ms_since(s->began) > PAGE_MS;
}

/* 1: the page ended before the events did. */
static int search(struct search *s, struct err *e)
{
	while (s->heap_count) {
		struct source *x = heap_take(s);

		if (!x->c) {
			if (open_source(s, x, e) < 0)
				return -1;
			continue;
		}
		if (is_full(s, x))
			return 1;
		if (log_filter_matches(s->filter, x->next.message))
			add_event(s, x);
		s->last = x;
		s->last_ms = x->at_ms;
		s->last_pos = log_cursor_pos(x->c);
		if (advance(s, x, e) < 0)
			return -1;
	}
	return 0;
}

/* ---- the request ---- */

static bool is_named(const json_t *names, const char *name)
{
	const json_t *one;
	size_t i;

	json_array_foreach (names, i, one)
		if (strcmp(json_string_value(one), name) == 0)
			return true;
	return false;
}

static int read_token(struct search *s, struct str token, struct err *e)
{
	struct str at;

	if (!token.n)
		return 0;
	if (str_skip(&token, STR("e/"))) {
		at = str_cut(&token, '/');
		s->resume_pos = str_cut(&token, '/');
		s->resume_stream = token;
		s->resumed = str_to_i64(at, &s->resume_ms) && s->resume_ms < INT64_MAX && token.n;
	}
	return s->resumed ? 0 : err_set(e, ERR_INVALID, "The specified nextToken is invalid.");
}

static int find_sources(struct search *s, const struct log_where *g, struct err *e)
{
	const json_t *names = json_object_get(s->in, "logStreamNames");
	struct str prefix = in_str(s->in, "logStreamNamePrefix");
	int64_t from = s->start_ms;

	if (names && prefix.n)
		return err_set(e, ERR_INVALID, "logStreamNames and logStreamNamePrefix exclude each other");
	if (json_array_size(names) == 1) /* saves looking at all */
		prefix = str_of(json_string_value(json_array_get(names, 0)));
	if (log_streams(s->call, g, prefix, &s->streams, e) < 0)
		return -1;
	for (size_t i = 0; i < json_array_size(names); i++) {
		const char *name = json_string_value(json_array_get(names, i));
		bool there = false;

		for (size_t j = 0; j < s->streams.count && !there; j++)
			there = strcmp(s->streams.list[j].name, name) == 0;
		if (!there)
			return err_set(e, ERR_NOT_FOUND, "The specified log stream does not exist.");
	}
	if (s->resumed && s->resume_ms > from)
		from = s->resume_ms;
	s->sources = xcalloc(s->streams.count + 1, sizeof(*s->sources));
	s->heap = xcalloc(s->streams.count + 1, sizeof(struct source *));
	for (size_t i = 0; i < s->streams.count; i++) {
		const struct log_listed *one = &s->streams.list[i];
		struct source *x = &s->sources[i];

		if ((names && !is_named(names, one->name)) || !one->written_ms || one->not_before_ms > s->end_ms)
			continue;
		/* A host's log says only roughly when it was written to: files' clocks tick slower. */
		if (one->written_ms < (one->place.path ? from - 1000 : from))
			continue;
		*x = (struct source){ .stream = one, .rank = i, .at_ms = one->not_before_ms };
		heap_add(s, x);
	}
	return 0;
}

static void answer(const struct search *s, bool more, struct buf *out)
{
	_cleanup_buf_ struct buf token = { 0 };

	buf_z(out, "{\"events\":[");
	buf_str(out, buf_view(&s->events));
	buf_z(out, "],\"searchedLogStreams\":[]");
	if (more) {
		buf_f(&token, "e/%lld/", (long long)s->last_ms);
		log_pos_write(&token, s->last->stream->place.path != NULL, s->last_pos);
		buf_f(&token, "/%s", s->last->stream->name);
		buf_z(out, ",\"nextToken\":");
		add_json_string(out, buf_view(&token));
	}
	buf_c(out, '}');
}

int op_filter_log_events(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	const json_t *limit = json_object_get(in, "limit");
	_cleanup_(search_fini) struct search s = { .call = call,
		                                   .in = in,
		                                   .start_ms = in_time(in, "startTime", 0),
		                                   .end_ms = in_time(in, "endTime", INT64_MAX),
		                                   .max = limit ? (size_t)json_integer_value(limit) : EVENTS_MAX,
		                                   .began = mono_now() };
	struct log_where g;
	int more;

	(void)ret_out;
	if (log_group_find(call, in, &g, e) < 0 || log_filter_new(in_str(in, "filterPattern"), &s.filter, e) < 0 ||
	    read_token(&s, in_str(in, "nextToken"), e) < 0 || find_sources(&s, &g, e) < 0)
		return -1;
	more = search(&s, e);
	if (more < 0)
		return -1;
	answer(&s, more, call->raw);
	return 0;
}
