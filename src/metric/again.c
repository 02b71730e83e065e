/* SPDX-License-Identifier: Apache-2.0 */
#include "metric/again.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/fd.h"
#include "joblog/joblog.h"
#include "metric/extract.h"
#include "metric/order.h"
#include "metric/try.h"

enum { ORDER_MAX_BYTES = 2 << 20, PART_BYTES = 4 << 20, HOSTS_MAX = 1000 };

void again_order(struct str regex, json_t *definitions, const struct again_host *hosts, size_t count, struct buf *out)
{
	json_t *list = json_array(), *j;
	char *text;

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list,
		                      json_pack("{s:i, s:i}", "number", (int)hosts[i].number, "log", hosts[i].log));
	j = json_pack("{s:o}", "hosts", list);
	must(j);
	if (regex.p)
		json_object_set_new(j, "regex", json_stringn(regex.p, regex.n));
	else
		json_object_set(j, "definitions", definitions);
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	must(text);
	buf_z(out, text);
	free(text);
}

struct again {
	json_t *order;
	int say_fd;
	char **logs;
	uint64_t *ends, *done; /* logical lengths of the logs, and how far they are read */
	size_t count;
};

static int say(struct again *a, json_t *j, struct err *e)
{
	_cleanup_free_ char *text = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
	_cleanup_buf_ struct buf line = { 0 };

	json_decref(j);
	must(text);
	buf_f(&line, "%s\n", text);
	return fd_write_all(a->say_fd, line.p, line.n, e);
}

static int say_read(struct again *a, struct err *e)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < a->count; i++)
		sum += a->done[i];
	return say(a, json_pack("{s:I}", "read", (json_int_t)sum), e);
}

/* ---- what there is to be read ---- */

static int measure(const char *path, uint64_t *ret, struct err *e)
{
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct err why = { 0 };

	*ret = 0;
	if (joblog_reader_open(path, &r, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return 0;
		*e = why;
		return -1;
	}
	if (joblog_seek_time(r, (struct wall){ INT64_MAX }, e) < 0)
		return -1;
	*ret = joblog_offset(r);
	return 0;
}

static int take_order(struct again *a, int fd, struct err *e)
{
	_cleanup_free_ char *text = xrealloc(NULL, ORDER_MAX_BYTES);
	const json_t *hosts, *h;
	uint64_t sum = 0;
	size_t got, i;

	if (lseek(fd, 0, SEEK_SET) < 0 || fd_read_full(fd, text, ORDER_MAX_BYTES, &got, e) < 0)
		return err_set(e, ERR_INVALID, "the work order cannot be read");
	a->order = json_loadb(text, got, JSON_REJECT_DUPLICATES, NULL);
	hosts = json_object_get(a->order, "hosts");
	if (!json_is_array(hosts) || json_array_size(hosts) > HOSTS_MAX)
		return err_set(e, ERR_INVALID, "the work order has no hosts");
	a->logs = xcalloc(json_array_size(hosts) + 1, sizeof(*a->logs));
	a->ends = xcalloc(json_array_size(hosts) + 1, sizeof(*a->ends));
	a->done = xcalloc(json_array_size(hosts) + 1, sizeof(*a->done));
	json_array_foreach (hosts, i, h) {
		a->logs[a->count++] = strf("/proc/self/fd/%d/algo-%d",
		                           (int)json_integer_value(json_object_get(h, "log")),
		                           (int)json_integer_value(json_object_get(h, "number")));
	}
	for (i = 0; i < a->count; i++) {
		if (measure(a->logs[i], &a->ends[i], e) < 0)
			return -1;
		sum += a->ends[i];
	}
	return say(a, json_pack("{s:I}", "of", (json_int_t)sum), e);
}

/* ---- trying ---- */

static int on_progress(void *arg, size_t log, uint64_t offset, struct err *e)
{
	struct again *a = arg;

	for (size_t i = 0; i < log; i++)
		a->done[i] = a->ends[i];
	a->done[log] = offset;
	return say_read(a, e);
}

static json_t *text(const char *z)
{
	json_t *j = json_string(z ? z : "");

	return j ? j : json_string("");
}

static json_t *tried_to_json(const struct metric_tried *t)
{
	json_t *values = json_array(), *refused = json_array(), *j;

	for (size_t i = 0; i < t->value_count; i++) {
		const struct metric_try_value *v = &t->values[i];

		json_array_append_new(values, json_pack("{s:f, s:f, s:o}", "Time", (double)v->at.ms / 1000, "Value",
		                                        v->v, "Line", text(v->line)));
	}
	for (size_t i = 0; i < t->refusal_count; i++) {
		const struct metric_try_refused *r = &t->refusals[i];

		json_array_append_new(refused, json_pack("{s:f, s:o, s:s, s:o}", "Time", (double)r->at.ms / 1000,
		                                         "Text", text(r->text), "Why", r->why, "Line", text(r->line)));
	}
	j = json_pack("{s:I, s:I, s:I, s:I, s:o, s:o}", "Lines", (json_int_t)t->lines, "Matched",
	              (json_int_t)t->matched, "Refused", (json_int_t)t->refused, "Limited", (json_int_t)t->limited,
	              "Values", values, "RefusedLines", refused);
	must(j);
	if (t->nearest)
		json_object_set_new(j, "Nearest", text(t->nearest));
	return j;
}

static int try_all(struct again *a, struct str regex, struct err *e)
{
	struct metric_tried t;
	int rc;

	if (metric_try_watched((const char *const *)a->logs, a->count, regex, on_progress, a, &t, e) < 0)
		return -1;
	rc = say(a, json_pack("{s:o}", "tried", tried_to_json(&t)), e);
	metric_tried_fini(&t);
	return rc;
}

/* ---- anew ---- */

/* What retention has removed has no values any more, so all there are would be replaced by fewer. */
static int check_whole(const char *path, struct err *e)
{
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct log_record rec;

	if (joblog_reader_open(path, &r, e) < 0)
		return -1;
	if (joblog_next_lines(r, &rec, e) > 0 && rec.n > 0)
		return err_set(
		        e, ERR_INVALID,
		        "The beginning of the job's log has been removed, so its metrics cannot be extracted again.");
	return 0;
}

static int extract_host(struct again *a, size_t i, struct metric_set *set, struct metric_out *out, struct err *e)
{
	_cleanup_(extract_closep) struct extract *x = NULL;
	struct metric_left none = { 0 };
	struct err why = { 0 };
	int rc;

	if (extract_open(a->logs[i], set, out, &none, &x, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return metric_out_write(out, none.place, e);
		*e = why;
		return -1;
	}
	if (check_whole(a->logs[i], e) < 0)
		return -1;
	while ((rc = extract_more(x, PART_BYTES, e)) > 0)
		if (extract_write(x, false, e) < 0)
			return -1;
	if (rc < 0 || extract_end(x, e) < 0)
		return -1;
	return extract_write(x, true, e);
}

static int refit_all(struct again *a, struct err *e)
{
	struct metric_definition definitions[METRIC_DEFINITIONS_MAX];
	size_t n;

	if (metric_definitions_of(json_object_get(a->order, "definitions"), definitions, &n, e) < 0)
		return -1;
	for (size_t i = 0; i < a->count; i++) {
		_cleanup_(metric_set_freep) struct metric_set *set = NULL;
		_cleanup_(metric_out_closep) struct metric_out *out = metric_out_to(a->say_fd);

		/* each host with counts of its own */
		if (metric_set_new(definitions, n, &set, e) < 0 ||
		    say(a, json_pack("{s:I}", "host", (json_int_t)i), e) < 0 || extract_host(a, i, set, out, e) < 0)
			return -1;
		a->done[i] = a->ends[i];
		if (say_read(a, e) < 0)
			return -1;
	}
	return 0;
}

int again_main(int order_fd, int say_fd)
{
	struct again a = { .say_fd = say_fd };
	struct err e = { 0 };
	uint32_t files;
	int rc = confine_reader(-1, false, &files, &e);
	const json_t *regex;
	char said[2048];

	if (rc == 0)
		rc = take_order(&a, order_fd, &e);
	regex = json_object_get(a.order, "regex");
	if (rc == 0)
		rc = regex ? try_all(&a, (struct str){ json_string_value(regex), json_string_length(regex) }, &e)
		           : refit_all(&a, &e);
	if (rc < 0) {
		json_t *why = json_pack("{s:s, s:b}", "error", err_text(&e, said, sizeof(said)), "invalid",
		                        e.kind == ERR_INVALID);

		/* whoever does not read it sees the status */
		if (why && say(&a, why, NULL) < 0)
			rc = -1;
	}
	for (size_t i = 0; i < a.count; i++)
		free(a.logs[i]);
	free(a.logs);
	free(a.ends);
	free(a.done);
	json_decref(a.order);
	return rc < 0 ? 1 : 0;
}
