/* run.h - the supervisor of one training host of one job, as bloomery-job runs it.
 *
 * Takes its whole work order from spec.json of a job directory and reports numbered facts to the journal there
 * (jobdir/jobdir.h). Runs as root, in its own session and mount namespace, and does not care who started it or who is
 * alive meanwhile. The phases are in phase.h; each has an undo, and the end undoes all of them in reverse.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

struct run_options {
	const char *job_dir;      /* <data>/jobs/<id> */
	const char *data_dir;     /* NULL: two levels above job_dir */
	const char *programs_dir; /* where bloomery-image, bloomery-fetch ... are; NULL: beside this program */
	int conf_fd;              /* what conf_host_write wrote; 0 or less: no file systems and registries here */
	const char *no_network;   /* why jobs cannot have networks of their own here; NULL: they can */
	unsigned ping_timeout_s;  /* of a transform job: until its containers must be healthy; 0: 240 s */
	int64_t drain_ms;         /* from the container's end until its output must have ended; 0: 5 s */
};

/* Runs the job to its end and returns 0 when its facts are complete (also when the job failed: that is a fact like any
 * other, and when there was nothing left to do because it has ended before). A journal that another supervisor has left
 * unfinished is finished with ENDED failed, never run again. -1: nothing was or could be done; ERR_IN_USE: a supervisor
 * is at work in this directory. Changes the process: session, mount namespace, umask, working directory. */
int run_job(const struct run_options *o, struct err *e) must_check;
