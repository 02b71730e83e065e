/* job_metrics.h - the metrics of one training job, as `bloomery metrics JOB` asks for them (own.h):
 *
 *   GET  /bloomery/jobs/NAME/metrics[?points=N][&metric=M][&instance=1]
 *        each metric (of the instance: of each host), with at most about 2 N points of a curve, and each definition
 * with what it has matched GET  /bloomery/jobs/NAME/metrics/values?metric=M[&after=T.N] every value, in pages:
 * [seconds, host's number or 0, step or null, "log"|"file"|"api", value] POST /bloomery/jobs/NAME/metrics/try {"Regex":
 * R}                        -> {"Task": ID} POST /bloomery/jobs/NAME/metrics/refit    {"Definitions": [{"Name",
 * "Regex"}]} -> {"Task": ID} GET  /bloomery/jobs/NAME/metrics/tasks/ID                                     (again.h)
 *
 * Used by own.c alone, on HTTP worker threads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/api.h"

struct http_request;

enum job_metrics_what {
	JOB_METRICS_NONE, /* it is another path */
	JOB_METRICS_ALL,
	JOB_METRICS_VALUES,
	JOB_METRICS_TRY,
	JOB_METRICS_REFIT,
	JOB_METRICS_TASK
};
struct job_metrics_path {
	enum job_metrics_what what;
	bool posted;     /* it takes POST, and nothing else */
	struct buf name; /* of the job */
	struct str task; /* a view into the path */
};
/* False, and what stays 0: it is none of these. */
bool job_metrics_path(struct str path, struct job_metrics_path *ret);
void job_metrics_path_fini(struct job_metrics_path *p);
/* What a session must be allowed. */
const char *job_metrics_action(const struct job_metrics_path *p);

/* Appends the answer, JSON. ERR_NOT_FOUND, ERR_INVALID, ERR_IN_USE, ERR_BUSY with a sentence for the client; ERR_IO. */
int job_metrics_answer(const struct api *api, const struct http_request *r, const struct job_metrics_path *p,
                       struct buf *out, struct err *e) must_check;
