/* SPDX-License-Identifier: Apache-2.0 */
#include "metric/extract.h"

#include <stdlib.h>

#include "joblog/joblog.h"

struct extract {
	struct metric_set *set;
	struct metric_out *out;
	struct joblog_reader *log;
	char **quoted; /* the names, as JSON */
	/* All before `here.at` is extracted, and `here.done` values have come of what begins there. It moves when a
	 * line ends where a piece of the log does. */
	struct metric_place here, written;
	struct metric_place out_until; /* values before it are in the file already */
	struct buf partial;            /* the beginning of a line */
	bool open, cut;                /* there is one; more than that of it is left out */
	struct wall t;
	struct err why; /* of a write inside metric_set_lines */
	bool failed;
};

/* ---- values ---- */

static bool is_out(const struct extract *x)
{
	const struct metric_place *h = &x->here, *o = &x->out_until;

	return h->at < o->at || (h->at == o->at && h->done <= o->done);
}

static void on_match(void *arg, const struct metric_match *m)
{
	struct extract *x = arg;

	if (m->kind != NUMBER_OK || x->failed)
		return;
	x->here.done++;
	if (is_out(x))
		return;
	metric_out_value(x->out, x->t, x->quoted[m->definition], m->v, m->text);
	if (metric_out_pending(x->out) >= METRIC_FRAME_BYTES && extract_write(x, false, &x->why) < 0)
		x->failed = true;
}

int extract_write(struct extract *x, bool with_counts, struct err *e)
{
	if (with_counts && !x->here.done && !x->open)
		metric_out_counts(x->out, x->set, x->here.at);
	if (metric_out_write(x->out, is_out(x) ? x->out_until : x->here, e) < 0)
		return -1;
	x->written = x->here;
	return 0;
}

bool extract_moved(const struct extract *x)
{
	return x->here.at != x->written.at || x->here.done != x->written.done;
}

/* ---- lines ---- */

static void add_partial(struct extract *x, struct str bytes)
{
	size_t room = EXTRACT_LINE_MAX_BYTES - x->partial.n;

	x->open = true;
	x->cut |= bytes.n > room;
	buf_add(&x->partial, bytes.p, bytes.n < room ? bytes.n : room);
}

static void finish_partial(struct extract *x)
{
	buf_c(&x->partial, '\n'); /* an empty one is a line as well */
	metric_set_lines(x->set, buf_view(&x->partial), on_match, x);
	buf_reset(&x->partial);
	x->open = x->cut = false;
}

static void take_piece(struct extract *x, struct str bytes)
{
	const char *last;
	size_t whole;

	if (x->open) {
		const char *nl = memchr(bytes.p, '\n', bytes.n);
		size_t n = nl ? (size_t)(nl - bytes.p) : bytes.n;

		add_partial(x, (struct str){ bytes.p, n });
		if (!nl)
			return;
		finish_partial(x);
		bytes.p += n + 1;
		bytes.n -= n + 1;
	}
	last = bytes.n ? memrchr(bytes.p, '\n', bytes.n) : NULL;
	whole = last ? (size_t)(last + 1 - bytes.p) : 0;
	metric_set_lines(x->set, (struct str){ bytes.p, whole }, on_match, x);
	if (whole < bytes.n)
		add_partial(x, (struct str){ bytes.p + whole, bytes.n - whole });
}

int extract_more(struct extract *x, size_t max_bytes, struct err *e)
{
	size_t seen = 0;
	struct log_record rec;
	int rc = 1;

	while (seen < max_bytes && (rc = joblog_next_lines(x->log, &rec, e)) > 0) {
		seen += rec.bytes.n;
		x->t = rec.at;
		if (rec.source == LOG_FROM_CONTAINER)
			take_piece(x, rec.bytes);
		if (x->failed) {
			*e = x->why;
			return -1;
		}
		if (!x->open)
			x->here = (struct metric_place){ joblog_offset(x->log), 0 };
	}
	return rc;
}

int extract_end(struct extract *x, struct err *e)
{
	if (!x->open)
		return 0;
	finish_partial(x);
	if (x->failed) {
		*e = x->why;
		return -1;
	}
	x->here = (struct metric_place){ joblog_offset(x->log), 0 };
	return 0;
}

/* ---- opening ---- */

/* From the last counts on all is looked at again, so that they are right; what is out already is not written again. */
static int go_on(struct extract *x, const struct metric_left *left, struct err *e)
{
	uint64_t from = left->counts && metric_counts_restore(x->set, left->counts) ? left->counted_at : 0;

	x->out_until = left->place;
	if (from && joblog_seek(x->log, from, e) < 0)
		return err_in(e, "going on with the metrics");
	x->here = (struct metric_place){ from, 0 };
	x->written = left->place;
	return 0;
}

int extract_open(const char *log_path, struct metric_set *set, struct metric_out *out, const struct metric_left *left,
                 struct extract **ret, struct err *e)
{
	_cleanup_(extract_closep) struct extract *x = xcalloc(1, sizeof(*x));
	size_t n = metric_set_count(set);

	x->set = set;
	x->out = out;
	x->quoted = xcalloc(n + 1, sizeof(*x->quoted));
	for (size_t i = 0; i < n; i++)
		x->quoted[i] = metric_quote(metric_set_name(set, i));
	if (joblog_reader_open(log_path, &x->log, e) < 0 || go_on(x, left, e) < 0)
		return -1;
	*ret = take_ptr(x);
	return 0;
}

void extract_close(struct extract *x)
{
	if (!x)
		return;
	for (size_t i = 0; x->quoted && x->quoted[i]; i++)
		free(x->quoted[i]);
	free(x->quoted);
	joblog_reader_close(x->log);
	buf_fini(&x->partial);
	free(x);
}
