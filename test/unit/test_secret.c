/* Processes that hold secrets leave no core dump. SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/secret.h"
#include "harness.h"

enum how { AS_OTHERS, OURS, BELOW };

/* In a directory of its own, with all the room there may be for a dump. */
static void prepare(enum how how)
{
	struct rlimit most;

	if (getrlimit(RLIMIT_CORE, &most) == 0) {
		most.rlim_cur = most.rlim_max;
		(void)setrlimit(RLIMIT_CORE, &most);
	}
	if (chdir(test_tmpdir()) < 0)
		_exit(99);
	if (how == OURS)
		no_core_dump();
	if (how == BELOW)
		no_core_dumps_below();
}

static int crash(enum how how, bool executed)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		prepare(how);
		signal(SIGABRT, SIG_DFL); /* a sanitizer's */
		if (executed)
			execl("/bin/sh", "sh", "-c", "kill -ABRT $$", (char *)NULL);
		else
			raise(SIGABRT);
		_exit(98);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	return status;
}

TEST(no_core_dump_of_ours_or_of_what_we_execute)
{
	if (!WCOREDUMP(crash(AS_OTHERS, false)))
		return test_skip("this machine dumps no core at all");
	CHECK(!WCOREDUMP(crash(OURS, false)));
	CHECK(!WCOREDUMP(crash(BELOW, false)));
	CHECK(!WCOREDUMP(crash(BELOW, true)));
}

TEST(what_we_execute_is_limited_only_where_it_is_meant)
{
	struct rlimit before, after;

	CHECK(getrlimit(RLIMIT_CORE, &before) == 0);
	no_core_dump();
	CHECK_INT(prctl(PR_GET_DUMPABLE), 0);
	CHECK(getrlimit(RLIMIT_CORE, &after) == 0);
	CHECK(before.rlim_cur == after.rlim_cur && before.rlim_max == after.rlim_max);
	no_core_dumps_below();
	CHECK(getrlimit(RLIMIT_CORE, &after) == 0);
	CHECK_INT(after.rlim_max, before.rlim_max || geteuid() == 0 ? 1 : 0);
	CHECK_INT(after.rlim_cur, after.rlim_max);
}
