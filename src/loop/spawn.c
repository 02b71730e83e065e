/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pthread.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "loop/loop.h"

/* What the child could not do; the child of vfork shares our memory, so it simply writes it here. */
struct child_failure {
	int os;
	const char *doing;
};

/* Puts in/out/err_fd at 0, 1 and 2, whatever numbers they have now, also when they are among 0, 1 and 2 themselves. */
static int place_stdio(const struct spawn_options *o)
{
	int from[3] = { o->in, o->out, o->err_fd };

	for (int i = 0; i < 3; i++) {
		if (from[i] >= 0 && from[i] < 3 && from[i] != i)
			from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 3);
		else if (from[i] < 0)
			from[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (from[i] < 0)
			return -1;
		if (from[i] < 3 && from[i] != i) { /* open() filled a hole that is somebody else's place */
			from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 3);
			if (from[i] < 0)
				return -1;
		}
	}
	for (int i = 0; i < 3; i++)
		if (from[i] == i ? fcntl(i, F_SETFD, 0) < 0 : dup2(from[i], i) < 0)
			return -1;
	return 0;
}

static int keep_descriptors(const struct spawn_options *o)
{
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC); /* also what others opened without O_CLOEXEC */
	for (size_t i = 0; i < o->keep_count; i++)
		if (fcntl(o->keep[i], F_SETFD, 0) < 0)
			return -1;
	return 0;
}

static void default_signals(void)
{
	struct sigaction act = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		sigaction(signo, &act, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Runs between vfork and exec: async-signal-safe calls only, and our own memory is the parent's. Out of line, so that
 * the parent's frame stays as it was and *fail is memory to both. */
__attribute__((noinline)) static _Noreturn void child_main(const struct spawn_options *o, pid_t parent,
                                                           volatile struct child_failure *fail)
{
	fail->doing = "making a session";
	if (o->setsid && setsid() < 0)
		goto failed;
	fail->doing = "tying it to its parent";
	if (o->die_with_parent && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		goto failed;
	if (o->die_with_parent && getppid() != parent)
		_exit(127); /* the parent died before the line above */
	fail->doing = "setting up standard input and output";
	if (place_stdio(o) < 0)
		goto failed;
	fail->doing = "handing over descriptors";
	if (keep_descriptors(o) < 0)
		goto failed;
	fail->doing = "entering its directory";
	if (o->cwd && chdir(o->cwd) < 0)
		goto failed;
	default_signals();
	fail->doing = "executing it";
	execve(o->path ? o->path : o->argv[0], (char *const *)o->argv,
	       (char *const *)(o->envp ? o->envp : (const char *const *)environ));
failed:
	fail->os = errno;
	_exit(127);
}

int spawn(const struct spawn_options *o, pid_t *ret_pid, struct err *e)
{
	volatile struct child_failure fail = { 0 };
	sigset_t all, before;
	pid_t parent = getpid(), pid;
	int os;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* no handler of ours may run in the child */
	pid = vfork();
	if (pid == 0)
		child_main(o, parent, &fail);
	os = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid < 0) {
		errno = os;
		return err_sys(e, "starting %s", o->argv[0]);
	}
	if (fail.os) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		errno = fail.os;
		return err_sys(e, "starting %s: %s", o->argv[0], fail.doing);
	}
	*ret_pid = pid;
	return 0;
}

/* Reads what is there, at most what a pipe can hold; keeps at most max bytes in all. 0: end of file, 1: more may come,
 * -1: error. */
static int drain(int fd, struct buf *out, size_t start, size_t max)
{
	char piece[16384];

	for (int i = 0; i < 64; i++) {
		ssize_t n = read(fd, piece, sizeof(piece));
		size_t room = max - (out->n - start);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 1 : -1;
		if (n == 0)
			return 0;
		buf_add(out, piece, (size_t)n < room ? (size_t)n : room);
	}
	return 1;
}

/* Until end of file, or until the process is gone: whom it left behind may hold the pipe open for ever. */
static int collect(int fd, pid_t pid, struct buf *out, size_t max, struct err *e)
{
	_cleanup_close_ int pidfd = pidfd_open(pid, 0);
	size_t start = out->n;
	int more = 1;

	if (pidfd < 0 || fd_set_nonblock(fd, true) < 0)
		return err_sys(e, "watching process %d", (int)pid);
	while (more > 0) {
		struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = pidfd, .events = POLLIN } };

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return err_sys(e, "waiting for process %d", (int)pid);
		more = drain(fd, out, start, max);
		if (more < 0)
			return err_sys(e, "reading the output of process %d", (int)pid);
		if (p[1].revents)
			break;
	}
	return 0;
}

int spawn_wait(const struct spawn_options *o, struct buf *out, size_t max_out, int *ret_status, struct err *e)
{
	_cleanup_close_ int rd = -EBADF, wr = -EBADF;
	struct spawn_options opt = *o;
	int rc = 0, pipefd[2];
	pid_t pid;

	if (out) {
		if (pipe2(pipefd, O_CLOEXEC) < 0)
			return err_sys(e, "making a pipe");
		rd = pipefd[0];
		opt.out = opt.err_fd = wr = pipefd[1];
	}
	if (spawn(&opt, &pid, e) < 0)
		return -1;
	cleanup_closep(&wr);
	wr = -EBADF;
	if (out)
		rc = collect(rd, pid, out, max_out, e);
	cleanup_closep(&rd); /* so that a child still writing ends */
	rd = -EBADF;
	while (waitpid(pid, ret_status, 0) < 0)
		if (errno != EINTR)
			return err_sys(e, "waiting for %s", o->argv[0]);
	return rc;
}
