/* Feeders as the supervisor sees them: real children, this very program in their place, beside a "container" that is a
 * child of ours too. What a feeder does is told by its channel's name. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "channel/feeder.h"
#include "harness.h"
#include "jobdir/list.h"
#include "run/phase.h"

/* ---- the feeder ---- */

static volatile sig_atomic_t told;

static void on_term(int signo)
{
	(void)signo;
	told = 1;
}

static void say_error(enum err_kind kind, const char *text)
{
	struct err e = { 0 };

	err_set(&e, kind, "%s", text);
	feeder_say_error(STDOUT_FILENO, &e);
	_exit(1);
}

/* Touches what it was given, as a real one does. */
static void check_order(const struct feeder_order *o)
{
	struct stat st;

	must(strcmp(o->input_mode, "Pipe") == 0 && strcmp(o->bucket, "b") == 0 && o->place == PLACE_EMBEDDED);
	must(fstat(o->list_fd, &st) == 0 && S_ISREG(st.st_mode));
	must(faccessat(o->objects_fd, "object", F_OK, 0) == 0);
	must(mkfifoat(o->data_fd, "fifo", 0644) == 0 || errno == EEXIST);
	must(openat(o->spool_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) >= 0);
}

static void say_feed(uint64_t bytes)
{
	struct feed_stats s = { .epochs = 1, .objects = 2, .bytes = bytes, .active_ms = 2000, .wait_store_ms = 900 };

	feeder_say_feed(STDOUT_FILENO, &s);
}

static _Noreturn void feed(const char *how)
{
	sigset_t term, none;

	sigemptyset(&none);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	signal(SIGTERM, strcmp(how, "stubborn") == 0 ? SIG_IGN : on_term);
	if (strcmp(how, "early") == 0)
		_exit(3);
	if (strcmp(how, "refuses") == 0)
		say_error(ERR_CLIENT, "Data download failed:Object s3://b/k was changed");
	if (strcmp(how, "mute") != 0)
		feeder_say_ready(STDOUT_FILENO);
	for (int i = 0; i < 12 && strcmp(how, "trouble") == 0; i++)
		feeder_say_trouble(STDOUT_FILENO, "object s3://b/k could not be read: no route to host");
	if (strcmp(how, "garbage") == 0)
		must(write(STDOUT_FILENO, "what?\n", 6) == 6);
	if (strcmp(how, "dies") == 0 || strcmp(how, "errs") == 0 || strcmp(how, "leaves") == 0)
		poll(NULL, 0, 50);
	if (strcmp(how, "dies") == 0)
		raise(SIGKILL);
	if (strcmp(how, "errs") == 0)
		say_error(ERR_IO, "the store does not answer");
	if (strcmp(how, "leaves") == 0)
		_exit(0);
	say_feed(10);
	while (!told)
		sigsuspend(&none);
	if (strcmp(how, "crashes") == 0)
		raise(SIGKILL); /* not ours: it had been killed when its reader saw the end of the data */
	say_feed(20);
	_exit(0);
}

__attribute__((constructor)) static void other_life(int argc, char **argv)
{
	struct feeder_order o;
	struct err e = { 0 };

	if (argc != 2 || strcmp(argv[1], "pipe") != 0)
		return;
	must(feeder_order_read(STDIN_FILENO, &o, &e) == 0);
	check_order(&o);
	feed(o.channel);
}

/* ---- the run ---- */

static struct run run;
static struct channel_spec channels[4];
static int64_t container_ms; /* lives so long */
static int container_code;

static enum step run_container(struct run *r, struct err *e)
{
	(void)e;
	r->pid = fork();
	if (r->pid == 0) {
		poll(NULL, 0, (int)container_ms);
		_exit(container_code);
	}
	r->outcome.started = true;
	return STEP_NEXT;
}

/* Takes so long to start the container that a feeder dies meanwhile, without a turn of the loop. */
static enum step run_slow_container(struct run *r, struct err *e)
{
	poll(NULL, 0, 300);
	if (feeders_look(r)) {
		*e = *feeders_failure(r);
		return STEP_FAIL;
	}
	return run_container(r, e);
}

static void undo_it(struct run *r)
{
	if (r->pid > 0)
		kill(r->pid, SIGKILL);
}

static const struct phase phases[] = { { "feeders", phase_feeders, stop_feeders, undo_feeders },
	                               { "container", run_container, NULL, undo_it },
	                               { "training", phase_training, stop_training, undo_training },
	                               { NULL } };

static void make_place(const char *const *hows)
{
	_cleanup_free_ char *fetch = strf("%s/bloomery-fetch", test_tmpdir()), *self = realpath("/proc/self/exe", NULL);
	static const char *const dirs[] = { "objects", "job/lists", "job/log", "work/rootfs/opt/ml/input/data",
		                            "work/volume" };
	int dir = open(test_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		CHECK_OK(mkdir_all(dir, dirs[i], 0755, e));
	CHECK_OK(file_put(dir, "objects/object", STR("x"), 0644, e));
	CHECK_OK(file_put(dir, "job/lists/0", STR(""), 0600, e));
	CHECK(symlink(self, fetch) == 0 || errno == EEXIST);
	run = (struct run){ .home_fd = -EBADF, .network_ns = -EBADF, .options.drain_ms = 1000 };
	run.job_dir = strf("%s/job", test_tmpdir());
	run.data_dir = xstrdup(test_tmpdir());
	run.programs_dir = xstrdup(test_tmpdir());
	run.cgroup = xstrdup("/bloomery/0123456789abcdef");
	run.job_fd = openat(dir, "job", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	run.work_fd = openat(dir, "work", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	run.loop = loop_new();
	run.spec = (struct job_spec){
		.host_name = "algo-1", .max_runtime_s = 600, .stop_grace_s = 1, .channels = channels
	};
	run.box_count = 1;
	run.box[0] = (struct box){ .run = &run, .image_fd = -EBADF, .network_ns = -EBADF };
	run.box[0].args = xcalloc(2, sizeof(*run.box[0].args));
	run.box[0].args[0] = xstrdup("train");
	for (; hows[run.spec.channel_count]; run.spec.channel_count++)
		channels[run.spec.channel_count] = (struct channel_spec){
			.name = (char *)hows[run.spec.channel_count],
			.input_mode = "Pipe",
			.record_wrapper = "None",
			.compression = "None",
			.s3_data_type = "S3Prefix",
			.bucket = "b",
			.prefix = "p",
			.list = "0",
			.share_count = 1,
		};
	close(dir);
}

static void fini(void)
{
	feeds_close(&run);
	metrics_free(&run);
	CHECK(!run.feeders);
	if (run.log)
		CHECK_OK(joblog_close(run.log, e));
	journal_close(run.journal);
	loop_free(run.loop);
	strv_free(run.box[0].args);
	buf_fini(&run.reason);
	cleanup_closep(&run.job_fd);
	cleanup_closep(&run.work_fd);
	free(run.job_dir);
	free(run.data_dir);
	free(run.programs_dir);
	free(run.cgroup);
	/* Nobody is left: no feeder, no container. */
	CHECK(waitpid(-1, NULL, 0) < 0 && errno == ECHILD);
}

/* One run of channels that do what they are called, with a container that ends by itself after ms with that code. */
static void drive(const char *const *hows, int64_t ms, int code)
{
	char *log;

	container_ms = ms;
	container_code = code;
	log_init("test", LOG_ERROR);
	make_place(hows);
	CHECK(fchdir(run.work_fd) == 0);
	log = strf("%s/log/algo-1", run.job_dir);
	CHECK_OK(joblog_open(log, &run.log, e));
	CHECK_OK(journal_open(run.job_dir, &run.journal, e));
	feeds_open(&run);
	CHECK_OK(run_drive(&run, phases, e));
	free(log);
}

#define DRIVE(ms, code, ...) drive((const char *const[]){ __VA_ARGS__, NULL }, ms, code)

static void check_said(const char *text, bool want)
{
	_cleanup_free_ char *path = strf("%s/log/algo-1", run.job_dir);
	struct buf all = { 0 };

	CHECK_OK(file_read(path, 1 << 20, &all, e));
	if ((str_find(buf_view(&all), str_of(text)) >= 0) != want)
		test_failed(__FILE__, __LINE__, "%s '%s' in: %s", want ? "no" : "there is", text, all.p);
	buf_fini(&all);
}

static json_t *feeds_json(void)
{
	_cleanup_free_ char *path = strf("%s/feeds.json", run.job_dir);
	json_t *j = json_load_file(path, 0, NULL);

	CHECK(j != NULL);
	return j;
}

TEST(feeders_feed_and_end_with_the_container)
{
	json_t *j, *first;

	DRIVE(50, 0, "a", "b");
	CHECK(!run.failed);
	CHECK_INT(run.outcome.code, 0);
	/* The last figures, which are told after SIGTERM. */
	CHECK_INT(run.feeds[0].stats.bytes, 20);
	CHECK_INT(run.feeds[1].stats.bytes, 20);
	check_said("channel 'b': 1 epoch begun, 2 objects and 20 bytes read in 2.0 s", true);
	check_said("The bottleneck was the data", true);
	j = feeds_json();
	first = json_array_get(json_object_get(j, "channels"), 0);
	CHECK_STR(json_string_value(json_object_get(j, "host")), "algo-1");
	CHECK_STR(json_string_value(json_object_get(first, "channel")), "a");
	CHECK_STR(json_string_value(json_object_get(first, "mode")), "Pipe");
	CHECK_STR(json_string_value(json_object_get(first, "way")), "piped");
	CHECK_STR(json_string_value(json_object_get(first, "bottleneck")), "data");
	CHECK_INT(json_integer_value(json_object_get(json_object_get(first, "feed"), "bytes")), 20);
	json_decref(j);
	fini();
}

TEST(a_feeder_that_dies_fails_the_job_at_once)
{
	struct mono start = mono_now();

	DRIVE(30000, 0, "a", "dies");
	CHECK(mono_ms_since(start) < 10000);
	CHECK(run.failed);
	CHECK_STR(run.reason.p,
	          "InternalServerError: We encountered an internal error. Please try again. (channel 'dies': "
	          "bloomery-fetch, which fed it, was killed by SIGKILL (killed))");
	CHECK_INT(run.outcome.signal, SIGKILL);
	check_said("channel 'dies': bloomery-fetch, which fed it, was killed by", true);
	fini();
}

TEST(a_feeder_that_gives_up_fails_the_job_with_its_words)
{
	DRIVE(30000, 0, "errs");
	CHECK_STR(run.reason.p,
	          "InternalServerError: We encountered an internal error. Please try again. (channel 'errs': "
	          "the store does not answer)");
	CHECK_INT(run.outcome.signal, SIGKILL);
	fini();
	DRIVE(30000, 0, "leaves");
	CHECK(str_find(buf_view(&run.reason), STR("ended with status 0 before the container did")) > 0);
	fini();
}

/* The reader of a FIFO sees an end of file when its writer is killed, and may end well on half of the data. */
TEST(a_container_that_ended_well_on_a_dead_feeder_has_failed)
{
	DRIVE(50, 0, "crashes");
	CHECK(run.failed);
	CHECK_INT(run.outcome.code, 0);
	CHECK(str_find(buf_view(&run.reason), STR("channel 'crashes': bloomery-fetch, which fed it, was killed by")) >
	      0);
	fini();
}

TEST(no_container_before_all_are_ready)
{
	DRIVE(50, 0, "a", "refuses");
	CHECK_STR(run.reason.p, "ClientError: Data download failed:channel 'refuses': Object s3://b/k was changed");
	CHECK(!run.outcome.started);
	fini();
	DRIVE(50, 0, "early", "a");
	CHECK(str_find(buf_view(&run.reason), STR("channel 'early': bloomery-fetch, which fed it, ended with status 3 "
	                                          "before the data could be read")) > 0);
	CHECK(!run.outcome.started);
	fini();
}

static void on_stop(void *arg)
{
	run_stop(arg, STOP_ASKED);
}

static enum step stop_soon(struct run *r, struct err *e)
{
	(void)e;
	loop_timer(r->loop, 50, 0, on_stop, r); /* freed with the loop */
	return STEP_NEXT;
}

TEST(a_stop_does_not_wait_for_who_is_not_ready)
{
	static const struct phase slow[] = { { "stop", stop_soon, NULL, NULL },
		                             { "feeders", phase_feeders, stop_feeders, undo_feeders },
		                             { "container", run_container, NULL, undo_it },
		                             { NULL } };
	struct mono start = mono_now();

	make_place((const char *const[]){ "a", "mute", NULL });
	CHECK(fchdir(run.work_fd) == 0);
	CHECK_OK(journal_open(run.job_dir, &run.journal, e));
	feeds_open(&run);
	CHECK_OK(run_drive(&run, slow, e));
	CHECK(!run.failed && !run.outcome.started && run.stop == STOP_ASKED);
	CHECK(mono_ms_since(start) < 10000);
	fini();
}

TEST(a_death_is_seen_while_the_container_is_being_started)
{
	static const struct phase slow[] = { { "feeders", phase_feeders, stop_feeders, undo_feeders },
		                             { "container", run_slow_container, NULL, undo_it },
		                             { NULL } };

	make_place((const char *const[]){ "a", "dies", NULL });
	CHECK(fchdir(run.work_fd) == 0);
	CHECK_OK(journal_open(run.job_dir, &run.journal, e));
	feeds_open(&run);
	CHECK_OK(run_drive(&run, slow, e));
	CHECK(run.failed && !run.outcome.started);
	CHECK(str_find(buf_view(&run.reason), STR("channel 'dies': bloomery-fetch, which fed it, was killed by")) > 0);
	fini();
}

TEST(who_does_not_end_is_ended)
{
	struct mono start = mono_now();

	DRIVE(50, 0, "stubborn");
	CHECK(mono_ms_since(start) >= 2000 && mono_ms_since(start) < 10000);
	CHECK(!run.failed);
	fini();
}

TEST(troubles_are_said_and_told_when_the_job_fails)
{
	DRIVE(100, 7, "trouble");
	CHECK(run.failed);
	CHECK(str_starts(buf_view(&run.reason), STR("AlgorithmError: , exit code: 7.")));
	CHECK(str_find(buf_view(&run.reason),
	               STR(" Channel 'trouble': object s3://b/k could not be read: no route to host (the "
	                   "first of 12 failures).")) > 0);
	check_said("channel 'trouble': object s3://b/k could not be read", true);
	check_said("more of the like is not said", true);
	fini();
	DRIVE(100, 0, "trouble", "garbage"); /* neither is a failure by itself */
	CHECK(!run.failed);
	fini();
}
