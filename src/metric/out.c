/* SPDX-License-Identifier: Apache-2.0 */
#include "metric/out.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/fd.h"
#include "joblog/joblog.h"

struct metric_out {
	struct joblog *log; /* NULL: fd instead */
	int fd;
	struct buf batch;
	int64_t prefix_ms; /* prefix is of that time */
	char prefix[32];
	size_t prefix_n;
};

void metric_left_fini(struct metric_left *l)
{
	json_decref(l->counts);
	json_decref(l->files);
	*l = (struct metric_left){ 0 };
}

/* ---- what is there ---- */

static json_t *object_of(struct str line, const char *begins)
{
	return str_starts(line, str_of(begins)) ? json_loadb(line.p, line.n, 0, NULL) : NULL;
}

static uint64_t number_at(const json_t *j, const char *member)
{
	json_int_t n = json_integer_value(json_object_get(j, member));

	return n < 0 ? 0 : (uint64_t)n;
}

static void note_place(struct metric_left *l, struct str line, bool *seen)
{
	json_t *j = *seen ? NULL : object_of(line, "{\"at\":");

	if (!j)
		return;
	l->place = (struct metric_place){ number_at(j, "at"), number_at(j, "done") };
	*seen = true;
	json_decref(j);
}

static void note_files(struct metric_left *l, struct str line)
{
	json_t *j = l->files ? NULL : object_of(line, "{\"files\":");

	if (j)
		l->files = j;
}

/* From the end back to the last counts, which have the state of the files before them. */
static int look_back(struct joblog_reader *r, struct metric_left *l, struct err *e)
{
	struct log_record rec;
	bool placed = false;
	int rc;

	while ((rc = joblog_prev(r, &rec, e)) > 0) {
		json_t *j = object_of(rec.bytes, "{\"counts\":");

		note_place(l, rec.bytes, &placed);
		note_files(l, rec.bytes);
		if (!j)
			continue;
		l->counts = json_incref(json_object_get(j, "counts"));
		l->counted_at = number_at(j, "counted_at");
		json_decref(j);
		rc = joblog_prev(r, &rec, e);
		if (rc > 0)
			note_files(l, rec.bytes);
		break;
	}
	return rc < 0 ? -1 : 0;
}

static int read_left(const char *path, struct metric_left *l, struct err *e)
{
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct err why = { 0 };

	if (joblog_reader_open(path, &r, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return 0;
		if (e)
			*e = why;
		return -1;
	}
	if (joblog_seek_time(r, (struct wall){ INT64_MAX }, e) < 0)
		return -1;
	return look_back(r, l, e);
}

int metric_out_open(const char *path, struct metric_out **ret, struct metric_left *ret_left, struct err *e)
{
	_cleanup_(metric_out_closep) struct metric_out *o = xcalloc(1, sizeof(*o));
	struct metric_left left = { 0 };

	/* Opening cuts a torn end off, so it comes first. */
	if (joblog_open(path, &o->log, e) < 0)
		return -1;
	if (read_left(path, &left, e) < 0) {
		metric_left_fini(&left);
		return -1;
	}
	o->prefix_ms = -1;
	*ret_left = left;
	*ret = take_ptr(o);
	return 0;
}

struct metric_out *metric_out_to(int fd)
{
	struct metric_out *o = xcalloc(1, sizeof(*o));

	o->fd = fd;
	o->prefix_ms = -1;
	return o;
}

void metric_out_close(struct metric_out *o)
{
	if (!o)
		return;
	if (o->log && joblog_close(o->log, NULL) < 0)
		errno = EIO; /* what is in the kernel is as durable as it gets */
	buf_fini(&o->batch);
	free(o);
}

/* ---- putting together ---- */

char *metric_quote(struct str text)
{
	json_t *j = json_stringn(text.p, text.n);
	char *quoted = json_dumps(j, JSON_ENCODE_ANY | JSON_COMPACT);

	json_decref(j);
	must(quoted);
	return quoted;
}

static void begin(struct metric_out *o, struct wall t)
{
	if (t.ms != o->prefix_ms) {
		_cleanup_free_ char *text = strf("{\"t\":%" PRId64, t.ms);

		o->prefix_n = strlen(text);
		must(o->prefix_n < sizeof(o->prefix));
		memcpy(o->prefix, text, o->prefix_n);
		o->prefix_ms = t.ms;
	}
	buf_add(&o->batch, o->prefix, o->prefix_n);
}

void metric_out_value(struct metric_out *o, struct wall t, const char *quoted, double v, struct str text)
{
	begin(o, t);
	buf_z(&o->batch, ",\"n\":");
	buf_z(&o->batch, quoted);
	buf_z(&o->batch, ",\"v\":");
	number_json(v, text, &o->batch);
	buf_z(&o->batch, "}\n");
}

void metric_out_file_value(struct metric_out *o, struct wall t, struct str name, double v, const int64_t *step)
{
	_cleanup_free_ char *quoted = metric_quote(name);

	begin(o, t);
	buf_f(&o->batch, ",\"n\":%s,\"v\":", quoted);
	number_json(v, STR(""), &o->batch);
	if (step)
		buf_f(&o->batch, ",\"s\":%" PRId64, *step);
	buf_z(&o->batch, ",\"src\":\"file\"}\n");
}

void metric_out_sample(struct metric_out *o, struct wall t, const char *name, double v, const char *unit)
{
	begin(o, t);
	buf_f(&o->batch, ",\"i\":\"%s\",\"v\":%.3f,\"u\":\"%s\"}\n", name, v, unit);
}

void metric_out_json(struct metric_out *o, json_t *j)
{
	_cleanup_free_ char *text = json_dumps(j, JSON_COMPACT);

	json_decref(j);
	must(text);
	metric_out_line(o, str_of(text));
}

void metric_out_line(struct metric_out *o, struct str line)
{
	buf_str(&o->batch, line);
	buf_c(&o->batch, '\n');
}

static json_t *count_to_json(const struct metric_counts *c)
{
	json_t *j = json_pack("{s:I, s:I, s:I}", "lines", (json_int_t)c->lines, "matched", (json_int_t)c->matched,
	                      "refused", (json_int_t)c->refused);

	must(j);
	if (c->limited)
		json_object_set_new(j, "limited", json_integer((json_int_t)c->limited));
	if (c->refused) {
		json_object_set_new(j, "last", json_stringn(c->last.p ? c->last.p : "", c->last.n));
		json_object_set_new(j, "why", json_string(c->why ? c->why : ""));
	}
	if (c->nearest.n)
		json_object_set_new(j, "nearest", json_stringn(c->nearest.p, c->nearest.n));
	if (c->told)
		json_object_set_new(j, "told", json_integer((json_int_t)c->told));
	return j;
}

void metric_out_counts(struct metric_out *o, struct metric_set *s, uint64_t at)
{
	json_t *all = json_array();

	for (size_t i = 0; i < metric_set_count(s); i++)
		json_array_append_new(all, count_to_json(metric_set_counts(s, i)));
	metric_out_json(o, json_pack("{s:o, s:I}", "counts", all, "counted_at", (json_int_t)at));
}

static void restore_text(struct buf *b, const json_t *text)
{
	buf_reset(b);
	buf_add(b, json_string_value(text), json_string_length(text));
}

bool metric_counts_restore(struct metric_set *s, const json_t *counts)
{
	if (json_array_size(counts) != metric_set_count(s))
		return false;
	for (size_t i = 0; i < metric_set_count(s); i++) {
		const json_t *j = json_array_get(counts, i);
		struct metric_counts *c = metric_set_counts(s, i);
		const char *why = json_string_value(json_object_get(j, "why"));

		c->lines = number_at(j, "lines");
		c->matched = number_at(j, "matched");
		c->refused = number_at(j, "refused");
		c->limited = number_at(j, "limited");
		c->told = (unsigned)number_at(j, "told");
		c->why = metric_why_known(why ? why : "");
		restore_text(&c->last, json_object_get(j, "last"));
		restore_text(&c->nearest, json_object_get(j, "nearest"));
	}
	return true;
}

/* ---- writing ---- */

size_t metric_out_pending(const struct metric_out *o)
{
	return o->batch.n;
}

static int write_batch(struct metric_out *o, struct err *e)
{
	if (!o->log)
		return fd_write_all(o->fd, o->batch.p, o->batch.n, e);
	return joblog_add_lines(o->log, wall_now(), LOG_FROM_CONTAINER, buf_view(&o->batch), e);
}

int metric_out_write(struct metric_out *o, struct metric_place place, struct err *e)
{
	size_t before = o->batch.n;

	buf_f(&o->batch, "{\"at\":%" PRIu64, place.at);
	if (place.done)
		buf_f(&o->batch, ",\"done\":%" PRIu64, place.done);
	buf_z(&o->batch, "}\n");
	if (write_batch(o, e) < 0) {
		o->batch.n = before;
		return err_in(e, "writing the metrics");
	}
	buf_reset(&o->batch);
	return 0;
}
