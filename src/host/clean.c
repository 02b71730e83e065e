/* The cleaner as bloomery-host sees it: a process of its own, as it may have to wait for the kernel.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "host/inside.h"

enum { LIMIT_MS = 120000 };

static void finish(struct job *j, bool ok)
{
	loop_source_free(take_ptr(j->clean.process));
	loop_source_free(take_ptr(j->clean.limit));
	j->clean.pid = 0;
	job_cleaned(j, ok);
}

static void on_cleaner(void *arg, int code, int status)
{
	finish(arg, code == CLD_EXITED && status == 0);
}

static void on_limit(void *arg)
{
	struct job *j = arg;

	log_error("job %s: cleaning up takes more than %d s; giving up", j->id, LIMIT_MS / 1000);
	kill(j->clean.pid, SIGKILL);
}

static void on_not_started(void *arg)
{
	finish(arg, false);
}

static void start_cleaner(struct job *j)
{
	_cleanup_free_ char *uid = strf("%u", (unsigned)j->host->options.uid);
	static const char *const options[] = { [CLEAN_FORGET] = "--forget", [CLEAN_REMOVE] = "--remove" };
	const char *const argv[] = { j->host->cleaner, "--data", j->host->options.data_dir, "--uid", uid,
		                     "--clean",        j->id,    options[j->clean.depth],   NULL };
	const struct spawn_options o = { .argv = argv, .in = -1, .out = -1, .err_fd = 2, .die_with_parent = true };
	struct err e = { 0 };

	if (spawn(&o, &j->clean.pid, &e) == 0) {
		j->clean.process = loop_process(j->host->loop, j->clean.pid, true, on_cleaner, j);
		j->clean.limit = loop_timer(j->host->loop, LIMIT_MS, 0, on_limit, j);
		return;
	}
	log_err(LOG_ERROR, &e, "job %s: cleaning up", j->id);
	j->clean.pid = -1; /* at work, until the loop comes round: the caller still uses j */
	j->clean.limit = loop_timer(j->host->loop, 0, 0, on_not_started, j);
}

void job_clean(struct job *j)
{
	j->clean.depth = !j->clean.wanted ? CLEAN_LEFTOVERS : j->clean.remove ? CLEAN_REMOVE : CLEAN_FORGET;
	j->clean.wanted = false; /* a command that comes while the cleaner is at work is for the next one */
	start_cleaner(j);
}

static bool absent(const struct job *j, const char *leaf)
{
	return faccessat(j->dir_fd, leaf, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

/* A supervisor that has come to its end has written `exit` last: its container's cgroup, its mounts and work/ went
 * before. What it could not remove is still there to be seen, and is the cleaner's. */
bool job_forget_clean(struct job *j)
{
	_cleanup_free_ char *cgroup = strf("/bloomery/%s", j->id);

	if (j->clean.remove || j->at != JOB_ENDED || faccessat(j->dir_fd, "exit", F_OK, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !absent(j, "work") || !absent(j, "sock") || cgroup_exists(cgroup))
		return false;
	if (unlinkat(j->dir_fd, "staged", AT_REMOVEDIR) < 0 && errno != ENOENT) /* not empty */
		return false;
	j->clean.wanted = false;
	return true;
}
