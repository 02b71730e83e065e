/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"
#include "loop/loop.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

struct seen {
	struct loop *loop;
	struct loop_source *source, *other;
	int count, code, status, value;
};

static void on_tick(void *arg)
{
	struct seen *s = arg;

	if (++s->count == 3)
		loop_stop(s->loop);
}

TEST(timers_fire_once_or_often)
{
	struct seen often = { .loop = loop_new() }, once = { .loop = often.loop };
	struct loop_source *a = loop_timer(often.loop, 1, 2, on_tick, &often);
	struct loop_source *b = loop_timer(often.loop, 0, 0, on_tick, &once);
	struct loop_source *off = loop_timer(often.loop, -1, 0, on_tick, &once);
	struct mono start = mono_now();

	CHECK_OK(loop_run(often.loop, e));
	CHECK_INT(often.count, 3);
	CHECK_INT(once.count, 1);
	CHECK(mono_ms_since(start) >= 4);
	loop_source_free(a);
	loop_source_free(b);
	loop_timer_set(off, 0, 1);
	CHECK_OK(loop_run(often.loop, e));
	CHECK_INT(once.count, 3);
	loop_free(often.loop); /* frees `off` */
}

static void on_end(void *arg, int code, int status)
{
	struct seen *s = arg;

	s->code = code;
	s->status = status;
	loop_source_free(s->source); /* from inside the callback */
	loop_stop(s->loop);
}

static struct seen wait_for(const char *script)
{
	const char *argv[] = { "/bin/sh", "-c", script, NULL };
	struct spawn_options o = { .argv = argv, .in = -1, .out = -1, .err_fd = -1 };
	struct seen s = { .loop = loop_new() };
	pid_t pid = 0;

	CHECK_OK(spawn(&o, &pid, e));
	s.source = loop_process(s.loop, pid, true, on_end, &s);
	CHECK(s.source);
	CHECK_OK(loop_run(s.loop, e));
	CHECK(waitpid(pid, NULL, WNOHANG) < 0 && errno == ECHILD); /* reaped */
	loop_free(s.loop);
	return s;
}

TEST(children_end_with_code_or_signal)
{
	struct seen s = wait_for("exit 7");

	CHECK(s.code == CLD_EXITED && s.status == 7);
	s = wait_for("kill -9 $$");
	CHECK(s.code == CLD_KILLED && s.status == SIGKILL);
}

TEST(a_foreign_process_is_seen_going)
{
	int pipefd[2];
	struct seen s = { .loop = loop_new(), .code = 5 };
	pid_t middle, far = 0;

	CHECK(pipe(pipefd) == 0);
	middle = fork();
	if (middle == 0) { /* the grandchild is init's, or the nearest subreaper's, when its parent has gone */
		far = fork();
		if (far == 0) {
			pause();
			_exit(0);
		}
		_exit(write(pipefd[1], &far, sizeof(far)) != sizeof(far));
	}
	CHECK(read(pipefd[0], &far, sizeof(far)) == sizeof(far) && waitpid(middle, NULL, 0) == middle);
	s.source = loop_process(s.loop, far, false, on_end, &s);
	CHECK(s.source);
	kill(far, SIGKILL);
	CHECK_OK(loop_run(s.loop, e));
	CHECK_INT(s.code, -1);
	loop_free(s.loop);
	CHECK(!loop_process(NULL, -5, false, on_end, &s) && errno == EINVAL);
}

static void on_both(void *arg, uint32_t events)
{
	struct seen *s = arg;

	CHECK(events & EPOLLIN);
	s->count++;
	loop_source_free(s->source);
	loop_source_free(s->other);
	loop_stop(s->loop);
}

/* Both are ready in one round; whichever is first frees both, and the second must not be called. */
TEST(sources_may_be_freed_by_each_other)
{
	struct seen s = { .loop = loop_new() };
	int a[2], b[2];

	CHECK(pipe(a) == 0 && pipe(b) == 0 && write(a[1], "x", 1) == 1 && write(b[1], "x", 1) == 1);
	s.source = loop_fd(s.loop, a[0], EPOLLIN, on_both, &s);
	s.other = loop_fd(s.loop, b[0], EPOLLIN, on_both, &s);
	CHECK_OK(loop_run(s.loop, e));
	CHECK_INT(s.count, 1);
	loop_free(s.loop);
}

static void on_sig(void *arg, int signo)
{
	struct seen *s = arg;

	s->value = signo;
	loop_stop(s->loop);
}

TEST(signals_arrive_in_the_loop)
{
	struct seen s = { .loop = loop_new() };

	CHECK(loop_signal(s.loop, SIGTERM, on_sig, &s));
	kill(getpid(), SIGTERM);
	CHECK_OK(loop_run(s.loop, e));
	CHECK_INT(s.value, SIGTERM);
	loop_free(s.loop);
}

enum { CALLS = 2000 };

static void add_one(void *arg)
{
	((struct seen *)arg)->value++;
}

static void stop_it(void *arg)
{
	loop_stop(((struct seen *)arg)->loop);
}

static void *caller(void *arg)
{
	struct seen *s = arg;

	for (int i = 0; i < CALLS; i++) {
		int before = __atomic_load_n(&s->value, __ATOMIC_RELAXED);

		loop_call(s->loop, add_one, s);
		CHECK(__atomic_load_n(&s->value, __ATOMIC_RELAXED) > before); /* it has run when the call returns */
		loop_post(s->loop, add_one, s);
	}
	loop_post(s->loop, stop_it, s);
	return NULL;
}

TEST(calls_and_posts_reach_the_loop_in_order)
{
	struct seen s = { .loop = loop_new() };
	pthread_t t;

	CHECK(pthread_create(&t, NULL, caller, &s) == 0);
	CHECK_OK(loop_run(s.loop, e));
	CHECK_INT(s.value, 2 * CALLS);
	pthread_join(t, NULL);
	loop_call(s.loop, add_one, &s); /* on its own thread: at once */
	CHECK_INT(s.value, 2 * CALLS + 1);
	loop_post(s.loop, add_one, &s);
	loop_free(s.loop); /* runs what is left */
	CHECK_INT(s.value, 2 * CALLS + 2);
}

/* ---- lines ---- */

static void note_line(void *arg, struct str line, bool whole)
{
	buf_f(arg, "[" PRIstr "]%s", ARGstr(line), whole ? "" : "~");
}

/* Every way of cutting the input into two feeds must give the same lines. */
static void check_lines(const char *input, size_t max, const char *want)
{
	struct str in = str_of(input);

	for (size_t cut = 0; cut <= in.n; cut++) {
		_cleanup_buf_ struct buf got = { 0 };
		struct line_reader *r = line_reader_new(max, note_line, &got);

		line_reader_feed(r, (struct str){ in.p, cut });
		line_reader_feed(r, (struct str){ in.p + cut, in.n - cut });
		line_reader_flush(r);
		line_reader_flush(r);
		CHECK_STR(got.n ? got.p : "", want);
		line_reader_free(r);
	}
}

TEST(lines_are_split_the_same_however_they_arrive)
{
	check_lines("", 4, "");
	check_lines("\n\na\n", 4, "[][][a]");
	check_lines("abcd\nabcde\nx", 4, "[abcd][abcd]~[e][x]~");
	check_lines("abcdefghij\r\n", 4, "[abcd]~[efgh]~[ij\r]");
	check_lines("abcd", 4, "[abcd]~");
}
