/* series.h - the store of metrics: <data>/metrics.db, SQLite.
 *
 * A metric is a namespace, a name and a set of dimensions; a series is a metric in one unit. What is known of a series
 * is kept by resolution (series_tiers): one second for 3 hours, a minute for 15 days, five minutes for 63 days, an hour
 * for 455 days. Every value goes into each of them when it is written, so a question reads the coarsest that fits and
 * no more. A point is count, sum, minimum, maximum and a sketch (sketch.h); all but the sketch is exact. Beside the
 * series are the values of training jobs, each as it was reported (time, step, value), as long as the job.
 *
 * Who writes fills a struct series_batch and commits it: one transaction, with the place up to which the file was read
 * that the values are from (series_batch_cursor), so that nothing is counted twice or lost by kill -9 of anybody.
 *
 * All functions on a struct series_store may be called from any thread; writers wait for each other. Errors are ERR_IO
 * unless said otherwise. Strings in structures that are passed in are borrowed for the call.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "series/stat.h"

enum {
	SERIES_PAST_S = 14 * 86400,    /* how far in the past ... */
	SERIES_FUTURE_S = 2 * 3600,    /* ... and in the future a value may be */
	SERIES_JOB_METRICS_MAX = 2000, /* of one job; more names than that are not kept */
};

/* Finest first. keep_s: how long points are told of. */
struct series_tier {
	int64_t seconds, keep_s;
};
extern const struct series_tier series_tiers[4];

struct series_store;
int series_store_open(const char *path, struct series_store **ret, struct err *e) must_check;
void series_store_close(struct series_store *s); /* NULL is fine */
DEFINE_CLEANUP(struct series_store, series_store_close)

struct series_dimension {
	struct str name, value;
};
struct series_key {
	struct str ns, name;
	const struct series_dimension *dims; /* in any order */
	size_t dim_count;
	struct str unit; /* "None" where there is none; p NULL: any, only for reading */
};

/* Dimensions by name as one text, "4:Host7:j/algo-1", which is the same for the same set. */
void series_dims_text(const struct series_dimension *dims, size_t count, struct buf *out);
/* Views into text; the caller frees *ret. False: not such a text. */
bool series_dims_split(struct str text, struct series_dimension **ret, size_t *ret_count);

/* ---- writing ---- */

struct series_batch;
struct series_batch *series_batch_new(void);
void series_batch_free(struct series_batch *b);
DEFINE_CLEANUP(struct series_batch, series_batch_free)

/* The number of a key in this batch. */
unsigned series_batch_key(struct series_batch *b, const struct series_key *key);
/* `count` times the value, finite. fine: also in the resolution of a second. */
void series_batch_add(struct series_batch *b, unsigned key, struct wall at, double value, double count, bool fine);
/* Values of which only this is known: count > 0, min <= max. */
void series_batch_set(struct series_batch *b, unsigned key, struct wall at, double count, double sum, double min,
                      double max, bool fine);

/* Where the value of a job is from: its log, a file of /opt/ml/output/metrics/sagemaker, or the API. */
enum series_source { SERIES_FROM_LOG, SERIES_FROM_FILE, SERIES_FROM_API };
struct series_value {
	struct str job; /* the job's id */
	struct str metric;
	struct wall at;
	bool has_step;
	int64_t step;
	double value;
	enum series_source source;
	unsigned host; /* algo-<host>; 0: not told */
};
void series_batch_value(struct series_batch *b, const struct series_value *v);
/* The newest sample of an instance metric of a host, "algo-1", of the job. */
void series_batch_sample(struct series_batch *b, struct str job, struct str host, struct str metric, struct wall at,
                         double value);
/* The file of the host (by its own id) has been read up to here. counts: JSON of what each definition matched; p NULL:
 * nothing new. Only the last one for a host counts. */
void series_batch_cursor(struct series_batch *b, struct str host_id, struct str job, uint64_t offset,
                         struct str counts);

/* Everything or nothing. durable: it is on the disk when this returns, else only safe from kill -9. The batch is empty
 * afterwards when this returns 0. ERR_LIMIT: more than SERIES_JOB_METRICS_MAX metrics of a job in a batch that is
 * strict; else those beyond are left out. */
int series_commit(struct series_store *s, struct series_batch *b, struct wall now, bool durable,
                  struct err *e) must_check;
void series_batch_be_strict(struct series_batch *b);

/* ---- reading ---- */

struct series_window {
	int64_t start, end; /* seconds; end is not in it */
	int64_t period;     /* intervals begin at start, start + period, ... */
	bool sketch;        /* points have their sketch */
};
/* The points that are there, merged into intervals; none of a resolution that does not divide the period, or that is
 * not kept so long. No such series: none. *ret is the caller's. */
int series_read_points(struct series_store *s, const struct series_key *key, const struct series_window *w,
                       struct wall now, struct series_points *ret, struct err *e) must_check;
/* In which units the metric was reported; the caller frees each and the list. */
int series_units(struct series_store *s, const struct series_key *key, char ***ret, size_t *ret_count,
                 struct err *e) must_check;

struct series_metric {
	int64_t id; /* grows with the time of the first value */
	char *ns, *name;
	struct series_dimension *dims; /* by name; views into text */
	size_t dim_count;
	char *text;
	struct wall last; /* the latest time of a value */
};
struct series_metrics {
	struct series_metric *v;
	size_t n;
};
void series_metrics_fini(struct series_metrics *m);
struct series_filter {
	struct str ns, name;                 /* p NULL: any */
	const struct series_dimension *dims; /* each must be there; value.p NULL: with any value */
	size_t dim_count;
	struct wall since; /* last at or after this; 0: any */
	int64_t after;     /* only ids greater */
	size_t limit;
};
/* By id, the first `limit`. */
int series_list(struct series_store *s, const struct series_filter *f, struct series_metrics *ret,
                struct err *e) must_check;

/* ---- jobs ---- */

/* Up to where the host's file is in the store; 0: nothing is. */
int series_cursor(struct series_store *s, struct str host_id, uint64_t *ret, struct err *e) must_check;
/* Each metric of a job. host: "" for what the job reported, else of the instance. */
struct series_job_metric {
	struct str host, metric;
	struct wall at; /* the last value by time, and what came later of the same time */
	double value;
	bool is_final; /* it has a value from the log: final_at and final_value are the last of those */
	struct wall final_at;
	double final_value;
	uint64_t count;
};
int series_job_metrics(struct series_store *s, struct str job,
                       void (*each)(void *arg, const struct series_job_metric *m), void *arg, struct err *e) must_check;
/* Every value of one metric that the job reported, by time. p of `job` may not be NULL. */
int series_job_values(struct series_store *s, struct str job, struct str metric,
                      void (*each)(void *arg, const struct series_value *v), void *arg, struct err *e) must_check;
/* The same in pages: at most `limit` of those behind (after, after_n) of the last one of the page before; at first
 * (INT64_MIN, 0). n: of the value, for the next page. */
int series_job_values_page(struct series_store *s, struct str job, struct str metric, struct wall after,
                           uint64_t after_n, size_t limit,
                           void (*each)(void *arg, const struct series_value *v, uint64_t n), void *arg,
                           struct err *e) must_check;
/* The counts of each host of the job, as JSON (series_batch_cursor). */
int series_job_counts(struct series_store *s, struct str job,
                      void (*each)(void *arg, struct str host_id, struct str counts), void *arg,
                      struct err *e) must_check;
/* The job's values are gone; its series stay as long as any. */
int series_forget_job(struct series_store *s, struct str job, struct err *e) must_check;
