/* SPDX-License-Identifier: Apache-2.0 */
#include "metric/try.h"

#include <stdlib.h>

#include "joblog/joblog.h"
#include "metric/extract.h"
#include "metric/words.h"

enum { PART_BYTES = 4 << 20 };

/* ---- trying ---- */

struct attempt {
	struct metric_tried *t;
	struct metric_set *set;
	struct wall at;
	struct buf partial;                                                     /* the beginning of a line */
	int (*progress)(void *arg, size_t log, uint64_t offset, struct err *e); /* NULL: nobody wants to know */
	void *arg;
};

static char *sample(struct str s)
{
	while (s.n > METRIC_SAMPLE_BYTES || (s.n == METRIC_SAMPLE_BYTES && !utf8_valid(s)))
		s.n = s.n > METRIC_SAMPLE_BYTES ? METRIC_SAMPLE_BYTES : s.n - 1;
	while (s.n && !utf8_valid(s))
		s.n--;
	return str_dup(s);
}

static void on_match(void *arg, const struct metric_match *m)
{
	struct attempt *a = arg;
	struct metric_tried *t = a->t;

	if (m->kind == NUMBER_OK && t->value_count < TRY_SHOWN_MAX) {
		t->values = xrealloc(t->values, (t->value_count + 1) * sizeof(*t->values));
		t->values[t->value_count++] = (struct metric_try_value){ a->at, m->v, sample(m->line) };
	} else if (m->kind != NUMBER_OK && t->refusal_count < TRY_SHOWN_MAX) {
		t->refusals = xrealloc(t->refusals, (t->refusal_count + 1) * sizeof(*t->refusals));
		t->refusals[t->refusal_count++] = (struct metric_try_refused){ a->at, sample(m->text), metric_why(m),
			                                                       sample(m->line) };
	}
}

/* Line by line, as each has its own time and there is no hurry; the pieces of a long one are put together. */
static int try_log(struct attempt *a, const char *log, size_t number, struct err *e)
{
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct log_record rec;
	struct err why = { 0 };
	uint64_t told = 0;
	int rc;

	if (joblog_reader_open(log, &r, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return 0;
		*e = why;
		return -1;
	}
	while ((rc = joblog_next(r, &rec, e)) > 0) {
		if (a->progress && joblog_offset(r) - told >= PART_BYTES) {
			told = joblog_offset(r);
			if (a->progress(a->arg, number, told, e) < 0)
				return -1;
		}
		if (rec.source != LOG_FROM_CONTAINER)
			continue;
		a->at = rec.at;
		if (a->partial.n + rec.bytes.n <= EXTRACT_LINE_MAX_BYTES)
			buf_str(&a->partial, rec.bytes);
		if (!rec.ends_line)
			continue;
		buf_c(&a->partial, '\n');
		metric_set_lines(a->set, buf_view(&a->partial), on_match, a);
		buf_reset(&a->partial);
	}
	if (a->partial.n)
		metric_set_lines(a->set, buf_view(&a->partial), on_match, a);
	buf_reset(&a->partial);
	return rc;
}

static void take_counts(struct attempt *a)
{
	const struct metric_counts *c = metric_set_counts(a->set, 0);
	struct buf says = { 0 };

	a->t->lines = c->lines;
	a->t->matched = c->matched;
	a->t->refused = c->refused;
	a->t->limited = c->limited;
	if (c->nearest.n)
		a->t->nearest = xstrdup(c->nearest.p);
	if (!c->matched) {
		metric_words_never(a->set, 0, &says);
		a->t->says = buf_take(&says);
	}
}

int metric_try(const char *const *logs, size_t count, struct str regex, struct metric_tried *ret, struct err *e)
{
	return metric_try_watched(logs, count, regex, NULL, NULL, ret, e);
}

int metric_try_watched(const char *const *logs, size_t count, struct str regex,
                       int (*progress)(void *arg, size_t log, uint64_t offset, struct err *e), void *arg,
                       struct metric_tried *ret, struct err *e)
{
	struct metric_definition d = { STR("tried"), regex };
	struct metric_tried t = { 0 };
	struct attempt a = { .t = &t, .progress = progress, .arg = arg };
	int rc = metric_check(regex, NULL, e);

	if (rc == 0)
		rc = metric_set_new(&d, 1, &a.set, e);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = try_log(&a, logs[i], i, e);
	if (rc == 0) {
		take_counts(&a);
		*ret = t;
	} else {
		metric_tried_fini(&t);
	}
	metric_set_free(a.set);
	buf_fini(&a.partial);
	return rc < 0 ? -1 : 0;
}

void metric_tried_fini(struct metric_tried *t)
{
	for (size_t i = 0; i < t->value_count; i++)
		free(t->values[i].line);
	for (size_t i = 0; i < t->refusal_count; i++) {
		free(t->refusals[i].text);
		free(t->refusals[i].line);
	}
	free(t->values);
	free(t->refusals);
	free(t->nearest);
	free(t->says);
	*t = (struct metric_tried){ 0 };
}

int metric_counts_read(const char *path, json_t **ret, struct err *e)
{
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct log_record rec;
	struct err why = { 0 };
	int rc;

	if (joblog_reader_open(path, &r, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return 0;
		if (e)
			*e = why;
		return -1;
	}
	if (joblog_seek_time(r, (struct wall){ INT64_MAX }, e) < 0)
		return -1;
	while ((rc = joblog_prev(r, &rec, e)) > 0) {
		json_t *j = str_starts(rec.bytes, STR("{\"counts\":")) ? json_loadb(rec.bytes.p, rec.bytes.n, 0, NULL)
		                                                       : NULL;

		if (!j)
			continue;
		*ret = json_incref(json_object_get(j, "counts"));
		json_decref(j);
		if (*ret)
			return 1;
	}
	return rc;
}
