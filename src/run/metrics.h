/* metrics.h - bloomery-metric (metric/follow.h) beside the container: what it is given, and that it has an end.
 *
 * It is started when the container runs, so that no job starts later for it; when it dies it is started anew, and goes
 * on where it was. When the container's output has ended it is told so, and the run waits for it before anything is
 * undone, for a while. Whatever happens to it, the job goes on: its log says what is missing.
 *
 * A job without definitions, files of metrics and GPUs has nothing foreign to be looked at: its samples are taken here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

struct run;
struct metrics; /* r->metrics; NULL before and when it could not be started */

void metrics_start(struct run *r);
/* The log has got all of the container's output. Twice is fine. */
void metrics_end(struct run *r);
/* It has taken all, or is not waited for any longer. When it is not so yet, run_metrics_ended() follows. */
bool metrics_ended(const struct run *r);
void metrics_free(struct run *r); /* SIGKILL, waits */
