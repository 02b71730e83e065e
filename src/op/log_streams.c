/* Groups and streams, whoever wrote them: what operations look for by name. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "op/logs.h"
#include "op/training_job.h"

/* ---- names ---- */

struct str log_group_of_arn(struct str arn)
{
	ptrdiff_t at = str_find(arn, STR(":log-group:"));
	struct str name;

	if (at < 0)
		return arn;
	name = (struct str){ arn.p + at + 11, arn.n - (size_t)at - 11 };
	if (str_ends(name, STR(":*")))
		name.n -= 2;
	return name;
}

/* JOB_DIR/log/algo-1: JOB_DIR/exit and JOB_DIR/lost are the last words about a supervisor. */
bool log_is_open(const char *path)
{
	struct str dir = str_of(path);
	_cleanup_free_ char *ended = NULL, *lost = NULL;

	str_cut_last(&dir, '/');
	str_cut_last(&dir, '/');
	ended = strf(PRIstr "/exit", ARGstr(dir));
	lost = strf(PRIstr "/lost", ARGstr(dir));
	return access(ended, F_OK) < 0 && access(lost, F_OK) < 0;
}

/* ---- positions and times ---- */

void log_pos_write(struct buf *out, bool of_host, struct log_pos pos)
{
	if (of_host)
		buf_f(out, "%020llu", (unsigned long long)pos.n);
	else
		buf_f(out, "%lld.%llu", (long long)pos.at, (unsigned long long)pos.n);
}

bool log_pos_read(struct str text, bool of_host, struct log_pos *ret)
{
	struct log_pos pos = { 0 };
	struct str rest = text, at;

	if (of_host) {
		*ret = pos;
		return str_to_u64(text, &ret->n);
	}
	at = str_cut(&rest, '.');
	if (!str_to_i64(at, &pos.at) || !str_to_u64(rest, &pos.n))
		return false;
	*ret = pos;
	return true;
}

int64_t in_time(const json_t *in, const char *member, int64_t otherwise)
{
	const json_t *v = json_object_get(in, member);

	return v ? json_integer_value(v) : otherwise; /* the walker has seen to it that it is one */
}

/* ---- groups ---- */

static void note_creation(const struct store_summary *j, void *arg)
{
	*(int64_t *)arg = j->created.ms;
}

/* When the first job of a kind was made; -1: there is none. */
static int first_job(const struct api_call *call, enum job_kind kind, int64_t *ret, struct err *e)
{
	struct store_list first = { .sort = SORT_CREATION_TIME, .max = 1 };
	_cleanup_free_ char *more = NULL;

	*ret = -1;
	return store_job_list(call->api->store, kind, &first, note_creation, ret, &more, e);
}

int log_group_named(const struct api_call *call, struct str name, struct log_where *ret, struct err *e)
{
	struct log_where g = { .name = name };
	struct err why = { 0 };
	int64_t created = -1;

	g.of_jobs = log_group_of_jobs(name, &g.kind);
	g.stored = logstore_group_find(call->api->logs, name, &g.group, &why) == 0;
	if (!g.stored && why.kind == ERR_NOT_FOUND && g.of_jobs) {
		if (first_job(call, g.kind, &created, e) < 0)
			return -1;
		g.group.created.ms = created;
	}
	if (!g.stored && created < 0) {
		if (e)
			*e = why;
		return -1;
	}
	*ret = g;
	return 0;
}

static int name_of_group(const json_t *in, struct str *ret, struct err *e)
{
	struct str group = in_str(in, "logGroupName"), id = in_str(in, "logGroupIdentifier");

	if (group.n && id.n)
		return err_set(e, ERR_INVALID, "logGroupName and logGroupIdentifier exclude each other");
	*ret = group.n ? group : log_group_of_arn(id);
	return ret->n ? 0 : err_set(e, ERR_INVALID, "logGroupName is missing");
}

int log_group_find(const struct api_call *call, const json_t *in, struct log_where *ret, struct err *e)
{
	struct str name;

	return name_of_group(in, &name, e) < 0 ? -1 : log_group_named(call, name, ret, e);
}

int log_group_stored(const struct api_call *call, const json_t *in, struct log_where *ret, struct err *e)
{
	struct err why = { 0 };

	if (log_group_find(call, in, ret, e) < 0)
		return -1;
	if (ret->stored)
		return 0;
	if (logstore_group_create(call->api->logs, ret->name, ret->group.created, &why) < 0 && why.kind != ERR_IN_USE) {
		if (e)
			*e = why;
		return -1;
	}
	return log_group_named(call, ret->name, ret, e);
}

/* ---- streams ---- */

void log_place_fini(struct log_place *p)
{
	free(p->path);
}

int log_stream_locate(const struct api_call *call, const struct log_where *g, struct str name, struct log_place *ret,
                      struct err *e)
{
	_cleanup_free_ char *path = NULL;
	struct err why = { 0 };
	struct joblog_size size;
	struct log_stream row;

	if (g->of_jobs) {
		int rc = log_path_of_stream(call, g->kind, name, &path, &why);

		if (rc == 0 && joblog_measure(path, &size)) {
			*ret = (struct log_place){ .path = take_ptr(path) };
			return 0;
		}
		if (rc < 0 && why.kind != ERR_NOT_FOUND) {
			if (e)
				*e = why;
			return -1;
		}
	}
	if (!g->stored)
		return err_set(e, ERR_NOT_FOUND, "The specified log stream does not exist.");
	if (logstore_stream_find(call->api->logs, g->group.id, name, &row, e) < 0)
		return -1;
	*ret = (struct log_place){ .stream = row.id };
	return 0;
}

struct listing {
	const struct api_call *call;
	enum job_kind kind;
	struct str prefix;
	struct log_list *l;
};

static struct log_listed *add(struct log_list *l)
{
	if (!(l->count & (l->count - 1)))
		l->list = xrealloc(l->list, (l->count ? 2 * l->count : 16) * sizeof(*l->list));
	l->list[l->count] = (struct log_listed){ 0 };
	return &l->list[l->count++];
}

static void add_log(const struct store_place *host, struct str leaf, void *arg)
{
	enum { CLOCK_SLACK_MS = 3600 * 1000 }; /* clocks are set back now and then */
	struct listing *s = arg;
	_cleanup_free_ char *name = log_stream_name(host, leaf), *path = log_path(s->call, host, leaf);
	struct joblog_size size;
	struct log_listed *one;

	if (!str_starts(str_of(name), s->prefix) || !joblog_measure(path, &size))
		return;
	one = add(s->l);
	one->name = take_ptr(name);
	one->place.path = take_ptr(path);
	one->written_ms = size.written.ms;
	one->not_before_ms = host->created.ms - CLOCK_SLACK_MS;
	one->bytes = size.bytes;
}

static void add_host(const struct store_place *host, void *arg)
{
	struct listing *s = arg;

	log_each_leaf(s->call, host, add_log, s);
}

static void add_stored(const struct log_stream *st, void *arg)
{
	struct listing *s = arg;
	struct log_listed *one = add(s->l);

	one->name = str_dup(st->name);
	one->place.stream = st->id;
	one->row = *st;
	one->row.name = (struct str){ 0 };
	one->written_ms = st->last.ms;
	one->not_before_ms = st->first.ms;
	one->bytes = st->bytes;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct log_listed *)a)->name, ((const struct log_listed *)b)->name);
}

/* A prefix with the whole name of a job asks for that one; clients do so on every poll. */
static int add_hosts(struct listing *s, struct err *e)
{
	struct str rest = s->prefix, job = str_cut(&rest, '/');

	if (!str_has_byte(s->prefix, '/'))
		return store_job_each_name(s->call->api->store, s->kind, s->prefix, add_host, s, e);
	return store_job_each_host(s->call->api->store, s->kind, job, add_host, s, e);
}

int log_streams(const struct api_call *call, const struct log_where *g, struct str prefix, struct log_list *ret,
                struct err *e)
{
	struct log_list l = { 0 };
	struct listing s = { call, g->kind, prefix, &l };

	if ((g->of_jobs && add_hosts(&s, e) < 0) ||
	    (g->stored && logstore_streams_each(call->api->logs, g->group.id, prefix, add_stored, &s, e) < 0)) {
		log_list_fini(&l);
		return -1;
	}
	if (l.count)
		qsort(l.list, l.count, sizeof(l.list[0]), by_name);
	*ret = l;
	return 0;
}

void log_list_fini(struct log_list *l)
{
	for (size_t i = 0; i < l->count; i++) {
		free(l->list[i].name);
		log_place_fini(&l->list[i].place);
	}
	free(l->list);
	*l = (struct log_list){ 0 };
}
