/* anew.h - metrics of a job that are extracted from its log once more, with other definitions, in place of the old.
 *
 * The new values are committed bit by bit (series_batch_value, series_commit) as those of a job that nobody asks for,
 * which series_anew_begin names, so other writers wait for none of it. series_anew_commit then puts them in the place
 * of the old ones, with the series that follow from them, in one transaction that is on the disk when it returns:
 * kill -9 before or in it leaves the old values, after it the new. What has been replaced, and what a crash has left
 * unfinished, is told of no more and removed a little with every commit that comes after.
 *
 * Any thread, but one for a job at a time. Errors are ERR_IO unless said otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "series/series.h"

/* The id under which new values are to be committed; the caller frees. What an earlier one has left there is gone. */
int series_anew_begin(struct series_store *s, struct str job, char **ret_staged, struct err *e) must_check;
/* It comes to nothing: what was committed so far is left to be removed. */
int series_anew_drop(struct series_store *s, struct str job, struct err *e) must_check;

struct series_anew_host {
	const char *id, *counts; /* JSON, of the definitions below in their order */
};
struct series_anew {
	struct str job, job_name; /* the id, and what its series are called by */
	const struct str *names;  /* the metrics that are replaced; values of others, and those that are not from the */
	size_t count;             /* log, stay */
	struct wall since;        /* no value of the job is older */
	const char *definitions;  /* JSON: [{"Name", "Regex"}], what the job's values are from afterwards */
	const struct series_anew_host *hosts;
	size_t host_count;
};
/* points: of the new values, without any of the job's (series_batch_add); what stays is added. It is empty afterwards.
 * ERR_NOT_FOUND: the job was deleted meanwhile. */
int series_anew_commit(struct series_store *s, const struct series_anew *a, struct series_batch *points,
                       struct wall now, struct err *e) must_check;
/* The definitions of the last series_anew_commit; *ret is the caller's, NULL when there was none. */
int series_job_definitions(struct series_store *s, struct str job, char **ret, struct err *e) must_check;

/* The series that a metric of a training job is in (contract 6.3); adds the value, in the resolutions that are still
 * kept at that age. */
void series_anew_point(struct series_batch *points, struct str job_name, struct str metric, struct wall at,
                       double value, struct wall now);
