/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/up.h"

/* ---- in the child ---- */

/* Exactly these capabilities, in every set that counts; the ambient one carries them through exec. */
static int keep_capability(int cap, struct err *e)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	data[CAP_TO_INDEX(cap)] = (struct __user_cap_data_struct){ .effective = CAP_TO_MASK(cap),
		                                                   .permitted = CAP_TO_MASK(cap),
		                                                   .inheritable = CAP_TO_MASK(cap) };
	if (syscall(SYS_capset, &head, data) < 0 || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
		return err_sys(e, "keeping the capability to search directories");
	return 0;
}

/* No capability can come back, by no exec. */
static int drop_bounding(int except, struct err *e)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		if (cap != except && prctl(PR_CAPBSET_DROP, cap) < 0)
			return err_sys(e, "dropping capabilities");
	return 0;
}

static int become(const struct up_daemon *d, struct err *e)
{
	int cap = d->may_search ? CAP_DAC_READ_SEARCH : -1;

	umask(022);
	if (drop_bounding(cap, e) < 0)
		return -1;
	if (prctl(PR_SET_KEEPCAPS, d->may_search) < 0 || setgroups(0, NULL) < 0 ||
	    setresgid(d->gid, d->gid, d->gid) < 0 || setresuid(d->uid, d->uid, d->uid) < 0)
		return err_sys(e, "becoming user %u", (unsigned)d->uid);
	if (d->may_search && keep_capability(cap, e) < 0)
		return -1;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? err_sys(e, "giving up new privileges") : 0;
}

static int prepare(const struct up_daemon *d, pid_t parent, struct err *e)
{
	sigset_t none;
	int in = open("/dev/null", O_RDONLY | O_CLOEXEC);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Ctrl-C is for `bloomery up`, which then ends both in order. */
	if (setpgid(0, 0) < 0 || in < 0 || dup2(in, 0) < 0)
		return err_sys(e, "setting up");
	if (d->as_user && become(d, e) < 0)
		return -1;
	/* After the change of user, which clears it. */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
		return err_sys(e, "tying it to bloomery up");
	if (getppid() != parent)
		_exit(EXIT_FAILURE); /* which has died before the line above */
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	if (fcntl(d->ready_fd, F_SETFD, 0) < 0 || (d->fetch_fd >= 0 && fcntl(d->fetch_fd, F_SETFD, 0) < 0) ||
	    (d->metric_fd >= 0 && fcntl(d->metric_fd, F_SETFD, 0) < 0) ||
	    (d->conf_fd >= 0 && fcntl(d->conf_fd, F_SETFD, 0) < 0))
		return err_sys(e, "handing over a descriptor");
	return 0;
}

/* ---- in bloomery up ---- */

int up_start(const struct up_daemon *d, pid_t *ret_pid, struct err *e)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return err_sys(e, "starting %s", d->argv[0]);
	if (pid == 0) {
		/* A home directory is mode 0700 in Debian: the daemon's user need not be able to reach its program. */
		int program = open(d->argv[0], O_PATH | O_CLOEXEC);
		struct err why = { 0 };

		if (prepare(d, parent, &why) == 0) {
			execv(d->argv[0], (char *const *)d->argv);
			if (errno == EACCES && program >= 0)
				syscall(SYS_execveat, program, "", d->argv, environ, AT_EMPTY_PATH);
			err_sys(&why, "executing it");
		}
		err_in(&why, "starting %s", d->argv[0]);
		err_print(&why, "bloomery");
		_exit(EXIT_FAILURE);
	}
	*ret_pid = pid;
	return 0;
}
