/* DescribeLogGroups and DescribeLogStreams (contract 6.1, 11.2). SPDX-License-Identifier: Apache-2.0 */
#include "op/logs.h"

#include <stdlib.h>

#include "op/training_job.h"
#include "store/store.h"

enum { STREAMS_DEFAULT = 50, GROUPS_DEFAULT = 50 };

/* ---- groups ---- */

struct groups {
	const struct api_call *call;
	const json_t *in, *ids;
	struct str after; /* the last name of the page before */
	size_t max;
	bool more;
	struct log_where jobs[KIND_COUNT];
	bool has_jobs[KIND_COUNT]; /* and their group is still to be shown */
	json_t *list;
	struct buf last;
};

static bool group_is_wanted(const struct groups *g, struct str name)
{
	struct str prefix = in_str(g->in, "logGroupNamePrefix"), pattern = in_str(g->in, "logGroupNamePattern");
	struct str class = in_str(g->in, "logGroupClass");
	bool named = !json_array_size(g->ids);
	const json_t *id;
	size_t i;

	json_array_foreach (g->ids, i, id)
		named |= str_eq(log_group_of_arn(str_of(json_string_value(id))), name);
	return named && str_starts(name, prefix) && str_find(name, pattern) >= 0 &&
	       (!class.n || str_is(class, "STANDARD")) && (!g->after.n || str_cmp(name, g->after) > 0);
}

static void show_group(struct groups *g, struct str name, const struct log_group *row)
{
	_cleanup_free_ char *arn = NULL, *star = NULL;
	json_t *one;

	if (!group_is_wanted(g, name))
		return;
	if (json_array_size(g->list) == g->max) {
		g->more = true;
		return;
	}
	arn = strf("arn:aws:logs:%s:%s:log-group:" PRIstr, g->call->api->region, g->call->api->account, ARGstr(name));
	star = strf("%s:*", arn);
	one = json_pack("{s:s%, s:I, s:i, s:s, s:s, s:I, s:s}", "logGroupName", name.p, name.n, "creationTime",
	                (json_int_t)row->created.ms, "metricFilterCount", 0, "arn", star, "logGroupArn", arn,
	                "storedBytes", (json_int_t)row->bytes, "logGroupClass", "STANDARD");
	if (row->retention_days)
		json_object_set_new(one, "retentionInDays", json_integer(row->retention_days));
	json_array_append_new(g->list, one);
	buf_reset(&g->last);
	buf_str(&g->last, name);
}

/* Those before `until`; NULL: all. The kinds are in the order of their groups' names. */
static void show_jobs(struct groups *g, const struct str *until)
{
	for (enum job_kind kind = 0; kind < KIND_COUNT; kind++) {
		struct str name = str_of(job_kind_info[kind].group);

		if (!g->has_jobs[kind] || (until && str_cmp(*until, name) <= 0))
			continue;
		show_group(g, name, &g->jobs[kind].group);
		g->has_jobs[kind] = false;
	}
}

/* Rows come by name; the jobs' groups are among them, or are shown where they would be. */
static void on_group(const struct log_group *row, void *arg)
{
	struct groups *g = arg;

	enum job_kind kind;

	show_jobs(g, &row->name);
	if (log_group_of_jobs(row->name, &kind))
		g->has_jobs[kind] = false;
	show_group(g, row->name, row);
}

int op_describe_log_groups(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct str token = in_str(in, "nextToken");
	const json_t *limit = json_object_get(in, "limit");
	struct groups g = { .call = call,
		            .in = in,
		            .ids = json_object_get(in, "logGroupIdentifiers"),
		            .max = limit ? (size_t)json_integer_value(limit) : GROUPS_DEFAULT };

	if (token.n && !str_skip(&token, STR("g/")))
		return err_set(e, ERR_INVALID, "The specified nextToken is invalid.");
	g.after = token;
	if (in_str(in, "logGroupNamePrefix").n && in_str(in, "logGroupNamePattern").n)
		return err_set(e, ERR_INVALID,
		               "LogGroup name prefix and LogGroup name pattern are mutually exclusive "
		               "parameters.");
	for (enum job_kind kind = 0; kind < KIND_COUNT; kind++) {
		struct err why = { 0 };

		g.has_jobs[kind] = log_group_named(call, str_of(job_kind_info[kind].group), &g.jobs[kind], &why) == 0;
	}
	g.list = json_array();
	if (logstore_groups_each(call->api->logs, on_group, &g, e) < 0) {
		json_decref(g.list);
		buf_fini(&g.last);
		return -1;
	}
	show_jobs(&g, NULL);
	*ret_out = json_pack("{s:o}", "logGroups", g.list);
	if (g.more) {
		_cleanup_free_ char *next = strf("g/%s", g.last.p);

		json_object_set_new(*ret_out, "nextToken", json_string(next));
	}
	buf_fini(&g.last);
	return 0;
}

/* ---- streams ---- */

static int by_last_event(const void *a, const void *b)
{
	const struct log_listed *x = a, *y = b;

	return x->written_ms < y->written_ms ? -1 : x->written_ms > y->written_ms ? 1 : strcmp(x->name, y->name);
}

/* False when there is no record in it (yet). */
static bool times_of_host(const struct log_listed *s, struct log_stream *ret)
{
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct log_record first, last;
	int64_t first_ms;

	if (joblog_reader_open(s->place.path, &r, NULL) < 0 || joblog_next(r, &first, NULL) <= 0)
		return false;
	first_ms = first.at.ms;
	if (joblog_seek_time(r, (struct wall){ INT64_MAX }, NULL) < 0 || joblog_prev(r, &last, NULL) <= 0)
		return false;
	*ret = (struct log_stream){
		.created = { first_ms }, .first = { first_ms }, .last = last.at, .ingested = last.at
	};
	return true;
}

static bool show_stream(const struct api_call *call, const struct log_where *g, const struct log_listed *s,
                        json_t *list)
{
	_cleanup_free_ char *arn = NULL;
	struct log_stream t = s->row;
	json_t *one;

	if (s->place.path && !times_of_host(s, &t))
		return false;
	arn = strf("arn:aws:logs:%s:%s:log-group:" PRIstr ":log-stream:%s", call->api->region, call->api->account,
	           ARGstr(g->name), s->name);
	one = json_pack("{s:s, s:I, s:s, s:I}", "logStreamName", s->name, "creationTime", (json_int_t)t.created.ms,
	                "arn", arn, "storedBytes", (json_int_t)s->bytes);
	if (t.ingested.ms) {
		json_object_set_new(one, "firstEventTimestamp", json_integer(t.first.ms));
		json_object_set_new(one, "lastEventTimestamp", json_integer(t.last.ms));
		json_object_set_new(one, "lastIngestionTime", json_integer(t.ingested.ms));
	}
	json_array_append_new(list, one);
	return true;
}

/* A token is "s/" and the name of the last stream that was shown. */
static int find_start(const struct log_list *s, struct str token, bool descending, size_t *ret, struct err *e)
{
	*ret = 0;
	if (!token.n)
		return 0;
	if (str_skip(&token, STR("s/")))
		for (size_t i = 0; i < s->count; i++)
			if (str_is(token, s->list[descending ? s->count - 1 - i : i].name)) {
				*ret = i + 1;
				return 0;
			}
	return err_set(e, ERR_INVALID, "The specified nextToken is invalid.");
}

static int show_page(const struct api_call *call, const struct log_where *g, const struct log_list *s, const json_t *in,
                     json_t **ret_out, struct err *e)
{
	bool descending = json_is_true(json_object_get(in, "descending"));
	const json_t *limit = json_object_get(in, "limit");
	size_t at, max = limit ? (size_t)json_integer_value(limit) : STREAMS_DEFAULT;
	const struct log_listed *last = NULL;
	json_t *list, *out;

	if (find_start(s, in_str(in, "nextToken"), descending, &at, e) < 0)
		return -1;
	list = json_array();
	out = json_pack("{s:o}", "logStreams", list);
	for (; at < s->count; at++) {
		const struct log_listed *one = &s->list[descending ? s->count - 1 - at : at];

		if (json_array_size(list) == max) { /* only now there is another page (contract 11.2) */
			_cleanup_free_ char *token = strf("s/%s", last->name);

			json_object_set_new(out, "nextToken", json_string(token));
			break;
		}
		if (show_stream(call, g, one, list))
			last = one;
	}
	*ret_out = out;
	return 0;
}

int op_describe_log_streams(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	bool by_time = str_is(in_str(in, "orderBy"), "LastEventTime");
	_cleanup_(log_list_fini) struct log_list s = { 0 };
	struct str prefix = in_str(in, "logStreamNamePrefix");
	struct log_where g;

	if (log_group_find(call, in, &g, e) < 0)
		return -1;
	if (by_time && prefix.n)
		return err_set(e, ERR_INVALID, "Cannot order by LastEventTime with a logStreamNamePrefix.");
	if (log_streams(call, &g, prefix, &s, e) < 0)
		return -1;
	if (by_time && s.count)
		qsort(s.list, s.count, sizeof(s.list[0]), by_last_event);
	return show_page(call, &g, &s, in, ret_out, e);
}
