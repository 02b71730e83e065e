/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/confined.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/fd.h"

enum { CONFINED_CPU_S = 2 * 3600, CONFINED_FILES = 2048, RESULT_MAX_BYTES = 48 << 10 };
#define CONFINED_MEMORY_BYTES (UINT64_C(3) << 30) /* the largest windows of xz and zstd, and room */

/* What a child sends: this head, then its result. */
struct reply {
	int ok;
	struct err err;
};

static void lower(int what, uint64_t value)
{
	struct rlimit rl;

	if (getrlimit(what, &rl) < 0)
		return;
	if (rl.rlim_max == RLIM_INFINITY || rl.rlim_max > value)
		rl.rlim_max = value;
	if (rl.rlim_cur == RLIM_INFINITY || rl.rlim_cur > rl.rlim_max)
		rl.rlim_cur = rl.rlim_max;
	(void)setrlimit(what, &rl); /* lowering is always allowed */
}

/* What is mapped now: the limit is on what comes on top of it, which for a program under a sanitizer is terabytes. 0
 * when it cannot be told. */
static uint64_t mapped_bytes(void)
{
	_cleanup_buf_ struct buf statm = { 0 };
	struct str rest;
	uint64_t pages;

	if (file_read("/proc/self/statm", 256, &statm, NULL) < 0)
		return 0;
	rest = buf_view(&statm);
	return str_to_u64(str_cut(&rest, ' '), &pages) ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* Owners, modes, other people's files, file capabilities: no more. */
static int keep_few_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	const uint32_t kept = 1U << CAP_CHOWN | 1U << CAP_DAC_OVERRIDE | 1U << CAP_FOWNER | 1U << CAP_FSETID |
	                      1U << CAP_SETFCAP;

	if (syscall(SYS_capget, &head, data) < 0)
		return -1;
	data[0].permitted &= kept;
	data[0].effective = data[0].permitted;
	data[0].inheritable = 0;
	data[1] = (struct __user_cap_data_struct){ 0 };
	return (int)syscall(SYS_capset, &head, data);
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Closes every descriptor from 3 on that is not in the list. */
static void close_others(const int *keep, size_t n)
{
	int *sorted = calloc(n + 1, sizeof(*sorted));
	unsigned from = 3;

	if (!sorted)
		return;
	if (n)
		memcpy(sorted, keep, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), by_number);
	for (size_t i = 0; i < n; i++) {
		if (sorted[i] < (int)from)
			continue;
		if (sorted[i] > (int)from)
			close_range(from, (unsigned)sorted[i] - 1, 0);
		from = (unsigned)sorted[i] + 1;
	}
	close_range(from, ~0U, 0);
	free(sorted);
}

static int drop_privileges(struct err *e)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || keep_few_capabilities() < 0)
		return err_sys(e, "dropping privileges");
	return 0;
}

static int confine(const struct confined_options *o, int reply_fd, struct err *e)
{
	uint64_t mapped = mapped_bytes(); /* before /proc is gone */
	int keep[1024];
	size_t n = 0;

	/* Namespaces of its own where we may have them; in a container without that right the rest must do. */
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) < 0 && errno != EPERM)
		return err_sys(e, "leaving the network");
	if (fchdir(o->confine_to) < 0 || chroot(".") < 0)
		return err_sys(e, "entering the work directory");
	keep[n++] = reply_fd;
	for (size_t i = 0; i < o->keep_count && n < sizeof(keep) / sizeof(*keep); i++)
		keep[n++] = o->keep[i];
	close_others(keep, n);
	if (o->only_reads ? confine_searcher(e) < 0 : drop_privileges(e) < 0)
		return -1;
	lower(RLIMIT_AS, mapped + CONFINED_MEMORY_BYTES);
	lower(RLIMIT_CPU, CONFINED_CPU_S);
	lower(RLIMIT_NOFILE, CONFINED_FILES);
	lower(RLIMIT_CORE, 0);
	if (o->file_bytes_max)
		lower(RLIMIT_FSIZE, o->file_bytes_max);
	signal(SIGXFSZ, SIG_IGN); /* then the write fails with EFBIG */
	return 0;
}

static _Noreturn void child(const struct confined_options *o, int (*fn)(void *arg, void *result, struct err *e),
                            void *arg, size_t result_bytes, int fd, pid_t parent)
{
	char *all = calloc(1, sizeof(struct reply) + result_bytes);
	struct reply *reply = (struct reply *)all;

	if (!all || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(1);
	signal(SIGPIPE, SIG_IGN);
	umask(022);
	if ((o->confine_to < 0 || confine(o, fd, &reply->err) == 0) && fn(arg, all + sizeof(*reply), &reply->err) == 0)
		reply->ok = 1;
	if (fd_write_all(fd, all, sizeof(*reply) + result_bytes, NULL) < 0)
		_exit(1);
	_exit(0);
}

int confined_start(const struct confined_options *o, int (*fn)(void *arg, void *result, struct err *e), void *arg,
                   size_t result_bytes, struct confined *ret, struct err *e)
{
	pid_t parent = getpid(), pid;
	int fds[2];

	must(result_bytes <= RESULT_MAX_BYTES); /* so that a reply fits into the pipe whole */
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "making a pipe");
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		child(o, fn, arg, result_bytes, fds[1], parent);
	close(fds[1]);
	if (pid < 0) {
		err_sys(e, "starting a child");
		close(fds[0]);
		return -1;
	}
	*ret = (struct confined){ pid, fds[0], result_bytes, o->doing ? o->doing : "unpacking" };
	return 0;
}

static int reap(struct confined *w)
{
	int status = 0;

	while (waitpid(w->pid, &status, 0) < 0)
		if (errno != EINTR)
			break;
	cleanup_closep(&w->fd);
	*w = (struct confined){ .fd = -EBADF };
	return status;
}

int confined_finish(struct confined *w, void *result, struct err *e)
{
	size_t bytes = sizeof(struct reply) + w->result_bytes, n = w->result_bytes, got = 0;
	_cleanup_free_ char *all = calloc(1, bytes);
	struct reply *reply = (struct reply *)all;
	const char *doing = w->doing;
	int status, rc;

	must(all);
	rc = fd_read_full(w->fd, all, bytes, &got, e);
	status = reap(w);
	if (rc < 0)
		return err_in(e, "waiting for the %s", doing);
	if (WIFSIGNALED(status))
		return err_set(e, ERR_INVALID,
		               "%s it was ended by signal %d (%s): it is damaged, or asks for more memory or time "
		               "than it may have",
		               doing, WTERMSIG(status), strsignal(WTERMSIG(status)));
	if (got != bytes)
		return err_set(e, ERR_IO, "%s it ended without a result", doing);
	if (!reply->ok) {
		if (e)
			*e = reply->err;
		return -1;
	}
	memcpy(result, all + sizeof(*reply), n);
	return 0;
}

void confined_kill(struct confined *w)
{
	if (w->pid <= 0)
		return;
	kill(w->pid, SIGKILL);
	reap(w);
}
