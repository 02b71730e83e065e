/* ingest.h - the metrics that hosts of running jobs write, on their way into the store: a thread of bloomeryd.
 *
 * <data>/jobs/<host id>/metrics/<host> is a log (joblog/) whose lines are JSON objects (record.h), appended to as the
 * job runs. Each host that is followed is read as its file grows (inotify), and what was read is committed together
 * with the place in the file up to which it was: kill -9 of anything counts every value once. Without hosts, or when
 * their files rest, nothing wakes up.
 *
 * All functions but ingest_new and ingest_free may be called from any thread and do not block.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "series/series.h"

struct ingest;
/* Borrows the store. data_dir is copied. */
struct ingest *ingest_new(struct series_store *s, const char *data_dir);
void ingest_free(
        struct ingest *in); /* waits for the thread; what was not read yet is when its host is followed again */

struct ingest_host {
	const char *id; /* of the host, as its directory is called */
	const char *job_id, *job_name;
	unsigned number; /* algo-<number> */
	const char
	        *instance; /* what its samples call a transform job's host, "i-0" and its id; NULL: a training host */
};
/* From now on the host is followed. Again is fine. */
void ingest_follow(struct ingest *in, const struct ingest_host *h);
/* Nothing will be written any more: reads the file to its end, and then says so (ingest_done) and follows no more. */
void ingest_finish(struct ingest *in, const char *id);

/* The job is deleted: its values go (series_forget_job), some time. Again is fine. */
void ingest_forget(struct ingest *in, const char *job_id);

/* Readable when a host is done. */
int ingest_done_fd(const struct ingest *in);
/* The next host that is done; the caller frees. NULL: no more for now. */
char *ingest_done(struct ingest *in);
