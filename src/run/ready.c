/* The barrier of a job of several hosts: data, image, names and the container are there, and its program waits until
 * that is so of all. bloomeryd says when, on the job's socket. SPDX-License-Identifier: Apache-2.0 */
#include "run/phase.h"

enum step phase_ready(struct run *r, struct err *e)
{
	if (r->spec.host_count == 1)
		return STEP_NEXT;
	if (run_fact(r, FACT_READY, NULL, e) < 0)
		return STEP_FAIL;
	return r->go ? STEP_NEXT : STEP_WAIT;
}

void stop_ready(struct run *r)
{
	run_next(r);
}

void run_go(struct run *r)
{
	if (r->go)
		return;
	r->go = true;
	if (r->waiting && r->phases[r->at].run == phase_ready)
		run_next(r);
}
