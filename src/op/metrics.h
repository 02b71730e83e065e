/* metrics.h - the numbers of this server as Prometheus reads them: text exposition format 0.0.4.
 *
 * Used by own.c for GET /metrics, on a worker thread: collecting reads a small file of every job that runs. How many
 * series there are is bounded: only jobs that have not ended, or did within METRICS_KEEP_S (so that a scrape still sees
 * the last numbers of a short job), and no more than METRICS_CHANNELS channels of the newest of them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/feeds.h"
#include "state/state.h"

struct api;

enum { METRICS_KEEP_S = 15 * 60, METRICS_JOBS = 1000, METRICS_CHANNELS = 2000 };

/* What metrics_write() prints. */
struct metrics_job {
	char *name;
	struct feeds feeds;
};
struct metrics {
	const char *version;              /* of this program */
	uint64_t counts[JOB_STATE_COUNT]; /* see store_job_counts */
	struct metrics_job *jobs;         /* those that have a feeds.json */
	size_t job_count;
	size_t unreadable; /* jobs whose feeds.json is there and cannot be understood */
	size_t omitted;    /* jobs left out because of the bounds */
	uint64_t disk_bytes, disk_free_bytes;
	double start_s, cpu_s; /* the process's: when it started, since 1970; the processor time it used */
	uint64_t resident_bytes, virtual_bytes, open_fds, max_fds;
};

/* ERR_IO when the store cannot be read; what else cannot be found out is 0. The caller finishes *ret. */
int metrics_collect(const struct api *api, struct metrics *ret, struct err *e) must_check;
void metrics_fini(struct metrics *m);
/* Appends the text. Pure. */
void metrics_write(const struct metrics *m, struct buf *out);

/* Appends what is known of each of the same jobs: status, time, the last value of each metric, and the last sample of
 * each host's instance metrics; a bounded number. metrics_jobs.c. ERR_IO: nothing useful is appended. */
int metrics_write_jobs(const struct api *api, struct buf *out, struct err *e) must_check;

/* Appends NAME="VALUE" with the value escaped as the format wants it; bytes that are not UTF-8 become '?'. */
void metrics_label(struct buf *out, const char *name, struct str value);
