/* What changes groups and streams: Create, Delete, Put, retention, tags. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "op/logs.h"
#include "op/training_job.h"

enum {
	PUT_BYTES_MAX = 1 << 20,
	EVENT_BYTES_MAX = 1 << 20,
	EVENT_OVERHEAD = 26,
	DAY_MS = 24 * 3600 * 1000,
	TOO_OLD_DAYS = 14,
	TOO_NEW_MS = 2 * 3600 * 1000,
};

/* ---- groups ---- */

static int put_tags(const struct api_call *call, int64_t group, const json_t *tags, struct err *e)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)tags, key, value)
		if (logstore_tag(call->api->logs, group, str_of(key),
		                 (struct str){ json_string_value(value), json_string_length(value) }, e) < 0)
			return -1;
	return 0;
}

int op_create_log_group(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct str name = in_str(in, "logGroupName");
	enum job_kind kind;
	struct log_where g;

	(void)ret_out;
	if (log_group_of_jobs(name, &kind) && log_group_named(call, name, &g, NULL) == 0)
		return err_set(e, ERR_IN_USE, "The specified log group already exists");
	if (logstore_group_create(call->api->logs, name, call->now, e) < 0 || log_group_named(call, name, &g, e) < 0)
		return -1;
	return put_tags(call, g.group.id, json_object_get(in, "tags"), e);
}

/* Refuses while the job runs; what it writes would be lost. */
static int check_ended(const struct api_call *call, enum job_kind kind, const char *stream, struct err *e)
{
	struct str rest = str_of(stream), job = str_cut(&rest, '/');
	struct store_brief b;
	struct err why = { 0 };
	bool final;

	if (store_job_brief_named(call->api->store, kind, job, &b, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return 0;
		if (e)
			*e = why;
		return -1;
	}
	final = job_state_info[b.state].final;
	store_brief_fini(&b);
	return final ? 0
	             : err_set(e, ERR_INVALID, "The log stream %s is being written by its %s. Stop the job first.",
	                       stream, job_kind_info[kind].words);
}

static int remove_host_log(const struct api_call *call, enum job_kind kind, const char *path, const char *stream,
                           struct err *e)
{
	if (check_ended(call, kind, stream, e) < 0)
		return -1;
	return joblog_remove(path, e) < 0 ? err_in(e, "removing the log stream %s", stream) : 0;
}

static int remove_host_logs(const struct api_call *call, const struct log_where *g, struct err *e)
{
	_cleanup_(log_list_fini) struct log_list l = { 0 };

	if (log_streams(call, g, (struct str){ 0 }, &l, e) < 0)
		return -1;
	for (size_t i = 0; i < l.count; i++)
		if (l.list[i].place.path && check_ended(call, g->kind, l.list[i].name, e) < 0)
			return -1;
	for (size_t i = 0; i < l.count; i++)
		if (l.list[i].place.path && remove_host_log(call, g->kind, l.list[i].place.path, l.list[i].name, e) < 0)
			return -1;
	return 0;
}

int op_delete_log_group(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct log_where g;

	(void)ret_out;
	if (log_group_find(call, in, &g, e) < 0 || (g.of_jobs && remove_host_logs(call, &g, e) < 0))
		return -1;
	return g.stored ? logstore_group_delete(call->api->logs, g.name, e) : 0;
}

/* ---- retention ---- */

int op_put_retention_policy(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	static const unsigned days[] = { 1,   3,   5,   7,   14,   30,   60,   90,   120,  150,  180,
		                         365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653 };
	json_int_t want = json_integer_value(json_object_get(in, "retentionInDays"));
	struct log_where g;
	bool known = false;

	(void)ret_out;
	for (size_t i = 0; i < ARRAY_LEN(days); i++)
		known |= want == days[i];
	if (!known)
		return err_set(e, ERR_INVALID,
		               "retentionInDays (%lld) must be one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, "
		               "400, 545, "
		               "731, 1096, 1827, 2192, 2557, 2922, 3288, 3653",
		               (long long)want);
	if (log_group_stored(call, in, &g, e) < 0)
		return -1;
	return logstore_group_retain(call->api->logs, g.name, (unsigned)want, e);
}

int op_delete_retention_policy(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct log_where g;

	(void)ret_out;
	if (log_group_find(call, in, &g, e) < 0)
		return -1;
	return g.stored ? logstore_group_retain(call->api->logs, g.name, 0, e) : 0;
}

/* ---- tags ---- */

struct tags {
	json_t *out;
};

static void show_tag(struct str key, struct str value, void *arg)
{
	struct tags *t = arg;
	_cleanup_free_ char *name = str_dup(key);

	json_object_set_new(t->out, name, json_stringn(value.p, value.n));
}

static int tag(const struct api_call *call, struct log_where *g, const json_t *in, struct err *e)
{
	const json_t *keys = json_object_get(in, "tagKeys"), *tags = json_object_get(in, "tags"), *key;
	size_t i;

	if (json_is_array(tags)) /* UntagLogGroup */
		keys = tags;
	json_array_foreach (keys, i, key)
		if (logstore_tag(call->api->logs, g->group.id, str_of(json_string_value(key)), (struct str){ 0 }, e) <
		    0)
			return -1;
	return json_is_object(tags) ? put_tags(call, g->group.id, tags, e) : 0;
}

/* By resourceArn, or by logGroupName in the operations of old clients. */
static int find_tagged(const struct api_call *call, const json_t *in, struct log_where *ret, struct err *e)
{
	struct str arn = in_str(in, "resourceArn");
	json_t *named;
	int rc;

	if (!arn.n)
		return log_group_stored(call, in, ret, e);
	if (str_find(arn, STR(":log-group:")) < 0)
		return err_set(e, ERR_INVALID, "resourceArn is not the ARN of a log group");
	named = json_pack("{s:s%}", "logGroupName", log_group_of_arn(arn).p, log_group_of_arn(arn).n);
	rc = log_group_stored(call, named, ret, e);
	json_decref(named);
	ret->name = log_group_of_arn(arn);
	return rc;
}

int op_tag_log_group(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct log_where g = { 0 };

	(void)ret_out;
	return find_tagged(call, in, &g, e) < 0 ? -1 : tag(call, &g, in, e);
}

int op_list_log_group_tags(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct log_where g = { 0 };
	struct tags t;

	if (find_tagged(call, in, &g, e) < 0)
		return -1;
	t.out = json_object();
	if (logstore_tags_each(call->api->logs, g.group.id, show_tag, &t, e) < 0) {
		json_decref(t.out);
		return -1;
	}
	*ret_out = json_pack("{s:o}", "tags", t.out);
	return 0;
}

/* ---- streams ---- */

int op_create_log_stream(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct str name = in_str(in, "logStreamName");
	_cleanup_(log_place_fini) struct log_place there = { 0 };
	struct log_where g;

	(void)ret_out;
	if (log_group_stored(call, in, &g, e) < 0)
		return -1;
	if (log_stream_locate(call, &g, name, &there, NULL) == 0)
		return err_set(e, ERR_IN_USE, "The specified log stream already exists");
	return logstore_stream_create(call->api->logs, g.group.id, name, call->now, e);
}

int op_delete_log_stream(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	_cleanup_(log_place_fini) struct log_place place = { 0 };
	struct log_where g;

	(void)ret_out;
	if (log_group_find(call, in, &g, e) < 0 ||
	    log_stream_locate(call, &g, in_str(in, "logStreamName"), &place, e) < 0)
		return -1;
	if (place.path)
		return remove_host_log(call, g.kind, place.path,
		                       json_string_value(json_object_get(in, "logStreamName")), e);
	return logstore_stream_delete(call->api->logs, place.stream, e);
}

/* ---- events ---- */

/* Which of the events, that are in order, may be stored: [*from, *to). */
struct accepted {
	size_t from, to;
	size_t too_old, expired; /* so many at the start */
};

/* ERR_INVALID: they are out of order, span more than a day, or are too large. */
static int check_events(const json_t *events, struct err *e)
{
	size_t bytes = 0, i;
	int64_t first = 0, last = 0;
	const json_t *ev;

	json_array_foreach (events, i, ev) {
		int64_t at = json_integer_value(json_object_get(ev, "timestamp"));
		size_t n = json_string_length(json_object_get(ev, "message"));

		if (n + EVENT_OVERHEAD > EVENT_BYTES_MAX)
			return err_set(e, ERR_INVALID, "Log event too large: %zu bytes exceeds limit of %d",
			               n + EVENT_OVERHEAD, EVENT_BYTES_MAX);
		bytes += n + EVENT_OVERHEAD;
		if (i && at < last)
			return err_set(e, ERR_INVALID,
			               "Log events in a single PutLogEvents request must be in chronological order.");
		first = i ? first : at;
		last = at;
	}
	if (bytes > PUT_BYTES_MAX)
		return err_set(e, ERR_INVALID, "Upload too large: %zu bytes exceeds limit of %d", bytes, PUT_BYTES_MAX);
	if (last - first > DAY_MS)
		return err_set(
		        e, ERR_INVALID,
		        "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.");
	return 0;
}

static struct accepted accept(const json_t *events, const struct log_where *g, int64_t now_ms)
{
	int64_t expired = g->group.retention_days ? now_ms - (int64_t)g->group.retention_days * DAY_MS : INT64_MIN;
	struct accepted a = { .to = json_array_size(events) };
	const json_t *ev;
	size_t i;

	json_array_foreach (events, i, ev) {
		int64_t at = json_integer_value(json_object_get(ev, "timestamp"));

		if (at < expired)
			a.expired = i + 1;
		if (at < now_ms - (int64_t)TOO_OLD_DAYS * DAY_MS)
			a.too_old = i + 1;
		if (at > now_ms + TOO_NEW_MS && i < a.to)
			a.to = i;
	}
	a.from = a.expired > a.too_old ? a.expired : a.too_old;
	return a;
}

int op_put_log_events(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	const json_t *events = json_object_get(in, "logEvents");
	_cleanup_(log_place_fini) struct log_place place = { 0 };
	_cleanup_free_ struct log_event *list = NULL;
	size_t total = json_array_size(events), n = 0;
	json_t *rejected = NULL;
	struct accepted a;
	struct log_where g;

	if (log_group_find(call, in, &g, e) < 0 ||
	    log_stream_locate(call, &g, in_str(in, "logStreamName"), &place, e) < 0 || check_events(events, e) < 0)
		return -1;
	if (place.path)
		return err_set(e, ERR_INVALID, "The log stream %s belongs to a %s; nobody else writes into it.",
		               json_string_value(json_object_get(in, "logStreamName")), job_kind_info[g.kind].words);
	a = accept(events, &g, call->now.ms);
	list = xcalloc(total + 1, sizeof(*list));
	for (size_t i = a.from; i < a.to; i++) {
		const json_t *ev = json_array_get(events, i), *message = json_object_get(ev, "message");

		list[n++] = (struct log_event){ .at = { json_integer_value(json_object_get(ev, "timestamp")) },
			                        .message = { json_string_value(message),
			                                     json_string_length(message) } };
	}
	if (n && logstore_put(call->api->logs, place.stream, list, n, call->now, e) < 0)
		return -1;
	*ret_out = json_pack("{s:s}", "nextSequenceToken",
	                     "49590302827441686267"); /* of no meaning, as in the service */
	if (a.from || a.to < total)
		json_object_set_new(*ret_out, "rejectedLogEventsInfo", rejected = json_object());
	if (a.to < total)
		json_object_set_new(rejected, "tooNewLogEventStartIndex", json_integer((json_int_t)a.to));
	if (a.too_old)
		json_object_set_new(rejected, "tooOldLogEventEndIndex", json_integer((json_int_t)a.too_old));
	if (a.expired)
		json_object_set_new(rejected, "expiredLogEventEndIndex", json_integer((json_int_t)a.expired));
	return 0;
}
