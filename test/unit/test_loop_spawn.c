/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"
#include "loop/loop.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int shell(const char *script, struct buf *out, size_t max)
{
	const char *argv[] = { "/bin/sh", "-c", script, NULL };
	struct spawn_options o = { .argv = argv, .in = -1, .out = -1, .err_fd = -1 };
	int status = -1;

	CHECK_OK(spawn_wait(&o, out, max, &status, e));
	return status;
}

TEST(output_and_status_come_back)
{
	_cleanup_buf_ struct buf out = { 0 };
	int status = shell("echo one; echo two >&2; exit 3", &out, 1000);

	CHECK_STR(out.p, "one\ntwo\n");
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
	CHECK(WIFSIGNALED(shell("kill -9 $$", NULL, 0)));
}

TEST(output_beyond_the_limit_is_read_and_dropped)
{
	_cleanup_buf_ struct buf out = { 0 };
	int status = shell("head -c 3000000 /dev/zero; exit 4", &out, 5);

	CHECK_INT(out.n, 5);
	CHECK(WEXITSTATUS(status) == 4);
}

TEST(somebody_left_behind_does_not_hold_us)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct mono start = mono_now();

	shell("sleep 20 & echo $!", &out, 100);
	CHECK(mono_ms_since(start) < 10000);
	CHECK(atoll(out.p) > 1 && kill((pid_t)atoll(out.p), SIGKILL) == 0);
}

TEST(failure_to_execute_is_the_parents_to_know)
{
	const char *none[] = { "/nonexistent/program", NULL }, *dir[] = { "/tmp", NULL };
	const char *ok[] = { "/bin/true", NULL };
	struct spawn_options o = { .argv = none, .in = -1, .out = -1, .err_fd = -1 };
	struct err err = { 0 };
	char text[2000];
	pid_t pid = 77;

	CHECK(spawn(&o, &pid, &err) == -1 && err.os == ENOENT && pid == 77);
	CHECK_STR(err_text(&err, text, sizeof(text)),
	          "starting /nonexistent/program: executing it: No such file or directory");
	o.argv = dir;
	CHECK(spawn(&o, &pid, &err) == -1 && err.os == EACCES);
	o.argv = ok;
	o.cwd = "/nonexistent";
	CHECK(spawn(&o, &pid, &err) == -1 && err.os == ENOENT);
	CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD); /* nothing to reap */
}

TEST(only_kept_descriptors_survive)
{
	_cleanup_buf_ struct buf out = { 0 };
	int leaky = open("/dev/null", O_RDONLY), kept = open("/dev/zero", O_RDONLY | O_CLOEXEC), status;
	const int keep[] = { 123 };
	const char *argv[] = { "/bin/sh", "-c", "exec /bin/ls /proc/self/fd", NULL };
	struct spawn_options o = { .argv = argv, .in = -1, .out = -1, .err_fd = -1, .keep = keep, .keep_count = 1 };

	CHECK(leaky > 2 && dup3(kept, 123, O_CLOEXEC) == 123);
	CHECK_OK(spawn_wait(&o, &out, 1000, &status, e));
	CHECK_STR(out.p, "0\n1\n123\n2\n3\n");                                  /* 3: ls looking */
	CHECK(fcntl(123, F_GETFD) == FD_CLOEXEC && fcntl(leaky, F_GETFD) == 0); /* ours are as they were */
}

/* 0, 1 and 2 of the child may come from each other: here out and error are swapped, and in is our standard error. */
TEST(standard_descriptors_may_be_swapped)
{
	const char *argv[] = { "/bin/sh", "-c", "read x; echo out$x; echo err >&2", NULL };
	struct spawn_options o = { .argv = argv, .in = 2, .out = 0, .err_fd = 1 };
	int a[2], b[2], c[2], status, out = dup(1);
	char text[100] = "";
	pid_t pid = 0;

	CHECK(pipe(a) == 0 && pipe(b) == 0 && pipe(c) == 0 && write(a[1], "7\n", 2) == 2);
	dup2(a[0], 2);
	dup2(b[1], 0);
	dup2(c[1], 1);
	CHECK(spawn(&o, &pid, NULL) == 0);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	dup2(out, 1);
	CHECK(read(b[0], text, sizeof(text) - 1) == 5);
	CHECK_STR(text, "out7\n");
	CHECK(read(c[0], text, sizeof(text)) == 4 && memcmp(text, "err\n", 4) == 0);
}

TEST(the_child_starts_with_clean_signals)
{
	_cleanup_buf_ struct buf out = { 0 };
	unsigned long long blocked, ignored;
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	shell("grep -E '^Sig(Blk|Ign)' /proc/self/status", &out, 1000);
	/* Signals 32 and 33 are glibc's own: nobody can set them, and its posix_spawn (make uses it) has one ignored.
	 */
	CHECK_INT(sscanf(out.p, "SigBlk: %llx SigIgn: %llx", &blocked, &ignored), 2);
	CHECK_INT(blocked, 0);
	CHECK_INT(ignored & ~(3ULL << 31), 0);
	sigprocmask(SIG_BLOCK, NULL, &set);
	CHECK(sigismember(&set, SIGTERM) && !sigismember(&set, SIGUSR1)); /* and ours is unchanged */
}

TEST(a_tied_child_dies_with_its_parent)
{
	int pipefd[2], status;
	char c;
	pid_t middle;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	CHECK(pipe(pipefd) == 0);
	middle = fork();
	if (middle == 0) {
		const char *argv[] = { "/bin/sleep", "100", NULL };
		struct spawn_options o = {
			.argv = argv, .in = -1, .out = pipefd[1], .err_fd = -1, .die_with_parent = true, .setsid = true
		};
		pid_t pid;

		_exit(spawn(&o, &pid, NULL) < 0);
	}
	close(pipefd[1]);
	CHECK(waitpid(middle, &status, 0) == middle && status == 0);
	CHECK(read(pipefd[0], &c, 1) == 0); /* end of file: nobody has it open any more */
}
