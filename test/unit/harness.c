/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct test_case *tests;
static bool failed;
static bool skipped;
static char tmpdir[64];

void test_register(struct test_case *t)
{
	struct test_case **at = &tests;

	while (*at)
		at = &(*at)->next;
	*at = t;
}

void test_failed(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	failed = true;
	printf("# %s:%d: ", file, line);
	va_start(ap, fmt);
	for (char text[8192], *p = (vsnprintf(text, sizeof(text), fmt, ap), text); *p; p++) {
		putchar(*p);
		if (*p == '\n')
			fputs("# ", stdout);
	}
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

void test_skip(const char *why)
{
	skipped = true;
	printf("# %s\n", why);
}

int test_kill(const char *file, int line, pid_t pid, int signo)
{
	if (pid > 1)
		return (kill)(pid, signo);
	test_failed(file, line, "process %d is not to be sent a signal", (int)pid);
	errno = ESRCH;
	return -1;
}

bool test_same_text(const char *got, const char *want)
{
	return got && want ? strcmp(got, want) == 0 : got == want;
}

const char *test_tmpdir(void)
{
	if (!tmpdir[0]) {
		const char *in = getenv("TMPDIR");

		snprintf(tmpdir, sizeof(tmpdir), "%s/bloomery-test-XXXXXX", in && strlen(in) < 40 ? in : "/tmp");
		must(mkdtemp(tmpdir));
	}
	return tmpdir;
}

void test_golden(const char *file, int line, const char *name, struct str got)
{
	_cleanup_free_ char *path = strf("test/golden/%s", name);
	_cleanup_buf_ struct buf want = { 0 };
	const char *update = getenv("UPDATE");
	FILE *f;

	if (update && *update == '1') {
		f = fopen(path, "w");
		must(f && fwrite(got.p, 1, got.n, f) == got.n && fclose(f) == 0);
		return;
	}
	f = fopen(path, "r");
	if (!f) {
		test_failed(file, line, "no golden file %s (UPDATE=1 writes it)", path);
		return;
	}
	for (int c; (c = getc(f)) != EOF;)
		buf_c(&want, (char)c);
	fclose(f);
	if (!str_eq(buf_view(&want), got))
		test_failed(file, line, "%s differs\n  got:  " PRIstr "\n  want: %s", path, ARGstr(got),
		            want.p ? want.p : "");
}

/* *ret_skipped: it said that it cannot run here, and nothing in it failed. */
static bool run_one(const struct test_case *t, bool *ret_skipped)
{
	int status, pipefd[2];
	char result[2] = { 0 };
	pid_t pid;

	must(pipe2(pipefd, O_CLOEXEC) == 0);
	fflush(stdout);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		signal(SIGPIPE, SIG_IGN); /* as in everything of ours; what is spawned has it as ever */
		t->run();
		fflush(stdout);
		result[0] = failed;
		result[1] = skipped;
		must(write(pipefd[1], result, 2) == 2);
		if (tmpdir[0] && fork() == 0) {
			execlp("rm", "rm", "-rf", "--", tmpdir, NULL);
			_exit(127); /* a test may have given up what that takes; exit() could wait for a thread that was
			               not forked */
		}
		while (wait(NULL) > 0)
			;
		exit(0); /* LeakSanitizer reports here, by its exit code */
	}
	close(pipefd[1]);
	result[0] = 1;
	if (read(pipefd[0], result, 2) != 2)
		printf("# %s died\n", t->name);
	close(pipefd[0]);
	must(waitpid(pid, &status, 0) == pid);
	if (WIFSIGNALED(status))
		printf("# %s: signal %d\n", t->name, WTERMSIG(status));
	*ret_skipped = result[1];
	return !result[0] && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
	int n = 0, bad = 0;

	for (struct test_case *t = tests; t; t = t->next)
		if (argc < 2 || strstr(t->name, argv[1]))
			n++;
	printf("1..%d\n", n);
	n = 0;
	for (struct test_case *t = tests; t; t = t->next) {
		bool ok, skip;

		if (argc > 1 && !strstr(t->name, argv[1]))
			continue;
		ok = run_one(t, &skip);
		bad += !ok;
		printf("%s %d - %s%s\n", ok ? "ok" : "not ok", ++n, t->name, ok && skip ? " # SKIP" : "");
	}
	return bad ? 1 : 0;
}
