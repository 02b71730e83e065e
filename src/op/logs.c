/* DescribeLogGroups and DescribeLogStreams: one group, a stream for each training job that has printed something
 * (contract 6.1, 11.2). SPDX-License-Identifier: Apache-2.0 */
#include "op/logs.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "op/training_job.h"
#include "store/store.h"

enum { STREAMS_DEFAULT = 50 };

int log_group_check(const json_t *in, struct err *e)
{
	struct str group = in_str(in, "logGroupName"), id = in_str(in, "logGroupIdentifier");
	ptrdiff_t at = str_find(id, STR(":log-group:"));

	if (group.n && id.n)
		return err_set(e, ERR_INVALID, "logGroupName and logGroupIdentifier exclude each other");
	if (!group.n)
		group = at < 0 ? id : (struct str){ id.p + at + 11, id.n - (size_t)at - 11 };
	if (!group.n)
		return err_set(e, ERR_INVALID, "logGroupName is missing");
	if (!str_is(group, LOG_GROUP))
		return err_set(e, ERR_NOT_FOUND, "The specified log group does not exist.");
	return 0;
}

char *log_path(const struct api_call *call, const struct store_place *host)
{
	return strf("%s/jobs/%s/log/algo-%u", call->api->data_dir, host->id, host->host);
}

char *log_stream_name(const struct store_place *host)
{
	return strf(PRIstr "/algo-%u-%lld", ARGstr(host->name), host->host, (long long)(host->created.ms / 1000));
}

unsigned log_stream_host(struct str stream)
{
	uint64_t n = 0;

	str_cut(&stream, '/');
	if (!str_skip(&stream, STR("algo-")) || !str_to_u64(str_cut(&stream, '-'), &n) || n > UINT32_MAX)
		return 0;
	return (unsigned)n;
}

/* ---- groups ---- */

static void note_creation(const struct store_summary *j, void *arg)
{
	*(int64_t *)arg = j->created.ms;
}

int op_describe_log_groups(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct str prefix = in_str(in, "logGroupNamePrefix"), pattern = in_str(in, "logGroupNamePattern");
	struct store_list first = { .sort = SORT_CREATION_TIME, .max = 1 };
	_cleanup_free_ char *more = NULL;
	json_t *groups;
	int64_t created = -1;

	if (json_object_get(in, "nextToken"))
		return err_set(e, ERR_INVALID, "The specified nextToken is invalid.");
	if (prefix.n && pattern.n)
		return err_set(e, ERR_INVALID,
		               "LogGroup name prefix and LogGroup name pattern are mutually exclusive "
		               "parameters.");
	if (store_job_list(call->api->store, &first, note_creation, &created, &more, e) < 0)
		return -1;
	groups = json_array();
	if (created >= 0 && str_starts(STR(LOG_GROUP), prefix) && str_find(STR(LOG_GROUP), pattern) >= 0) {
		_cleanup_free_ char *arn = strf("arn:aws:logs:%s:%s:log-group:" LOG_GROUP, call->api->region,
		                                call->api->account);
		_cleanup_free_ char *star = strf("%s:*", arn);

		json_array_append_new(groups, json_pack("{s:s, s:I, s:i, s:s, s:s, s:i, s:s}", "logGroupName",
		                                        LOG_GROUP, "creationTime", (json_int_t)created,
		                                        "metricFilterCount", 0, "arn", star, "logGroupArn", arn,
		                                        "storedBytes", 0, "logGroupClass", "STANDARD"));
	}
	*ret_out = json_pack("{s:o}", "logGroups", groups);
	return 0;
}

/* ---- streams ---- */

struct stream {
	char *name, *path;
	int64_t written_ms; /* the log's last change; -1 unknown yet, 0 nothing was printed */
};
struct streams {
	const struct api_call *call;
	struct str prefix;
	struct stream *list;
	size_t count;
};

static void add_stream(const struct store_place *host, void *arg)
{
	struct streams *s = arg;
	_cleanup_free_ char *name = log_stream_name(host);

	if (!str_starts(str_of(name), s->prefix))
		return;
	if (!(s->count & (s->count - 1)))
		s->list = xrealloc(s->list, (s->count ? 2 * s->count : 16) * sizeof(*s->list));
	s->list[s->count++] = (struct stream){ take_ptr(name), log_path(s->call, host), -1 };
}

static void streams_fini(struct streams *s)
{
	for (size_t i = 0; i < s->count; i++) {
		free(s->list[i].name);
		free(s->list[i].path);
	}
	free(s->list);
}

static bool stream_exists(struct stream *s)
{
	struct stat st;

	if (s->written_ms < 0)
		s->written_ms = stat(s->path, &st) < 0 || !st.st_size
		                        ? 0
		                        : (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
	return s->written_ms > 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct stream *)a)->name, ((const struct stream *)b)->name);
}

static int by_last_event(const void *a, const void *b)
{
	const struct stream *x = a, *y = b;

	return x->written_ms < y->written_ms ? -1 : x->written_ms > y->written_ms ? 1 : by_name(a, b);
}

/* A prefix with the whole name of a job asks for that one; clients do so on every poll. */
static int collect(struct streams *s, struct err *e)
{
	struct str rest = s->prefix, job = str_cut(&rest, '/');

	if (!str_has_byte(s->prefix, '/'))
		return store_job_each_name(s->call->api->store, s->prefix, add_stream, s, e);
	return store_job_each_host(s->call->api->store, job, add_stream, s, e);
}

/* False when there is no record in it (yet). */
static bool show_stream(const struct api_call *call, const struct stream *s, json_t *list)
{
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	_cleanup_free_ char *arn = NULL;
	struct log_record first, last;
	int64_t first_ms;

	if (joblog_reader_open(s->path, &r, NULL) < 0 || joblog_next(r, &first, NULL) <= 0)
		return false;
	first_ms = first.at.ms;
	if (joblog_seek_time(r, (struct wall){ INT64_MAX }, NULL) < 0 || joblog_prev(r, &last, NULL) <= 0)
		return false;
	arn = strf("arn:aws:logs:%s:%s:log-group:" LOG_GROUP ":log-stream:%s", call->api->region, call->api->account,
	           s->name);
	json_array_append_new(list,
	                      json_pack("{s:s, s:I, s:I, s:I, s:I, s:s, s:i}", "logStreamName", s->name, "creationTime",
	                                (json_int_t)first_ms, "firstEventTimestamp", (json_int_t)first_ms,
	                                "lastEventTimestamp", (json_int_t)last.at.ms, "lastIngestionTime",
	                                (json_int_t)last.at.ms, "arn", arn, "storedBytes", 0));
	return true;
}

/* A token is "s/" and the name of the last stream that was shown. */
static int find_start(const struct streams *s, struct str token, bool descending, size_t *ret, struct err *e)
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

static int show_page(struct streams *s, const json_t *in, json_t **ret_out, struct err *e)
{
	bool descending = json_is_true(json_object_get(in, "descending"));
	const json_t *limit = json_object_get(in, "limit");
	size_t at, max = limit ? (size_t)json_integer_value(limit) : STREAMS_DEFAULT;
	const struct stream *last = NULL;
	json_t *list, *out;

	if (find_start(s, in_str(in, "nextToken"), descending, &at, e) < 0)
		return -1;
	list = json_array();
	out = json_pack("{s:o}", "logStreams", list);
	for (; at < s->count; at++) {
		struct stream *one = &s->list[descending ? s->count - 1 - at : at];

		if (!stream_exists(one))
			continue;
		if (json_array_size(list) == max) { /* only now there is another page (contract 11.2) */
			_cleanup_free_ char *token = strf("s/%s", last->name);

			json_object_set_new(out, "nextToken", json_string(token));
			break;
		}
		if (show_stream(s->call, one, list))
			last = one;
	}
	*ret_out = out;
	return 0;
}

int op_describe_log_streams(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	bool by_time = str_is(in_str(in, "orderBy"), "LastEventTime");
	_cleanup_(streams_fini) struct streams s = { .call = call, .prefix = in_str(in, "logStreamNamePrefix") };

	if (log_group_check(in, e) < 0)
		return -1;
	if (by_time && s.prefix.n)
		return err_set(e, ERR_INVALID, "Cannot order by LastEventTime with a logStreamNamePrefix.");
	if (collect(&s, e) < 0)
		return -1;
	if (by_time)
		for (size_t i = 0; i < s.count; i++)
			(void)stream_exists(&s.list[i]);
	if (s.count)
		qsort(s.list, s.count, sizeof(s.list[0]), by_time ? by_last_event : by_name);
	return show_page(&s, in, ret_out, e);
}
