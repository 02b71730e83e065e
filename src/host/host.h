/* host.h - bloomery-host: the root process that starts, watches, adopts and cleans up after supervisors, and relays
 * their facts to bloomeryd (jobdir/hostlink.h).
 *
 * It decides nothing about jobs and keeps nothing that is not also on disk: kill -9 loses no job, and the next one
 * takes over what the last one started. Supervisors are in sessions of their own and are never ended with it. What it
 * reads was written by bloomeryd's user, so ids are checked and every job is opened beneath <data>/jobs.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <sys/types.h>

#include "base/str.h"

struct host_options {
	const char *data_dir;
	const char *config;     /* NULL: bloomery.conf in data_dir; its file systems are handed to supervisors */
	uid_t uid;              /* bloomeryd's; nobody else but root may connect */
	int ready_fd;           /* -1, or gets "ready\n" and is closed when connections are taken */
	const char *supervisor; /* NULL: bloomery-job beside this program */
	const char *cleaner;    /* NULL: this program; run with --data DIR --uid N --clean ID [--forget|--remove] */
};

/* Serves until SIGTERM or SIGINT; jobs go on. ERR_IN_USE: another one serves this data directory. */
int host_run(const struct host_options *o, struct err *e) must_check;

/* What goes of a job whose supervisor is gone. */
enum clean_depth {
	CLEAN_LEFTOVERS, /* processes, cgroups, mounts, loop devices, work/ and sock */
	CLEAN_FORGET,    /* and staged/: the daemon has taken all it wants */
	CLEAN_REMOVE,    /* the whole job directory */
};
/* Undoes it by force. Idempotent; ERR_IN_USE while the supervisor is alive. Blocks, so the host runs it as a process of
 * its own. */
int host_clean(const char *data_dir, struct str id, enum clean_depth depth, struct err *e) must_check;
