/* again.h - looks at the whole stored log of a job, which may take minutes: expressions tried on it, and its metrics
 * extracted again with other definitions. Each is a task with a name that whoever started it asks for.
 *
 * A task is a process (metric/again.h), as it applies expressions of users to what containers printed, and a thread
 * here that reads what that says and stores it (series/anew.h). A task that only tries, and that nobody has asked for a
 * while, is ended; one that extracts goes on, and what it does is done whole or not at all, also with kill -9.
 *
 * Functions may be called from any thread and do not block for long.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "op/api.h"
#include "store/store.h"

enum { AGAIN_ID_BYTES = 33, AGAIN_AT_ONCE = 4 };

struct again;
/* program: bloomery-metric. series and answers (may be NULL) are borrowed. */
struct again *again_new(const char *program, const char *data_dir, struct series_store *series,
                        struct answers *answers);
void again_free(struct again *a); /* ends all tasks; NULL is fine */

struct again_job {
	const char *id, *name;
	struct wall created;
	size_t host_count;
	char (*host_ids)[JOB_ID_BYTES]; /* of algo-1, algo-2, ... */
};
/* ERR_BUSY: there are as many as may be at once. */
int again_try(struct again *a, const struct again_job *job, struct str regex, char ret_id[AGAIN_ID_BYTES],
              struct err *e) must_check;
/* definitions: [{"Name", "Regex"}], all that the job's values are from afterwards. names: of the metrics that are
 * extracted, an array of texts; some may not be among the definitions, which then have no values any more. counts:
 * {host id: counts of the definitions in their order, as far as they are not extracted}. ERR_BUSY; ERR_IN_USE: the
 * job's metrics are being extracted already. */
int again_refit(struct again *a, const struct again_job *job, json_t *definitions, json_t *names, json_t *counts,
                char ret_id[AGAIN_ID_BYTES], struct err *e) must_check;

/* How far the task is: {"Done": false, "Bytes": n, "Of": n}, and {"Done": true, "Result": {...}} when it is done, which
 * is told for a minute. Its failure is this one's. ERR_NOT_FOUND: there is no such task of that job. */
int again_ask(struct again *a, struct str job_id, struct str id, json_t **ret, struct err *e) must_check;
