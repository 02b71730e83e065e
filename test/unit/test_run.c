/* The driver of the phases, the children that work for them, and the socket. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "jobdir/hostlink.h"
#include "run/phase.h"
#include "run/worker.h"

/* ---- a run without a job: its own directory, journal and loop ---- */

struct rig {
	struct run run;
	struct buf trace; /* what the phases below have done */
	struct loop_source *later;
	int64_t wait_ms;
};

static struct rig rig;
static struct loop_source *stop_later;

static void rig_open(void)
{
	struct err why = { 0 };

	rig.run = (struct run){ .job_fd = -EBADF, .work_fd = -EBADF, .home_fd = -EBADF };
	rig.run.job_dir = xstrdup(test_tmpdir());
	rig.run.job_fd = open(test_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rig.run.loop = loop_new();
	CHECK(journal_open(test_tmpdir(), &rig.run.journal, &why) == 0);
}

static void rig_close(void)
{
	loop_source_free(take_ptr(rig.later));
	loop_source_free(take_ptr(stop_later));
	control_close(rig.run.control);
	journal_close(rig.run.journal);
	loop_free(rig.run.loop);
	buf_fini(&rig.run.reason);
	buf_fini(&rig.trace);
	cleanup_closep(&rig.run.job_fd);
	free(rig.run.job_dir);
}

static int add_name(const struct fact *f, void *arg, struct err *e)
{
	(void)e;
	buf_f(arg, "%s ", fact_name[f->kind]);
	return 0;
}

static char *facts(void)
{
	struct buf b = { 0 };
	uint64_t offset = 0;
	struct err why = { 0 };

	CHECK(journal_read(test_tmpdir(), 0, &offset, add_name, &b, &why) == 0);
	return buf_take(&b);
}

/* ---- phases that only leave a trace ---- */

static enum step run_a(struct run *r, struct err *e)
{
	(void)r, (void)e;
	buf_z(&rig.trace, "a ");
	return STEP_NEXT;
}

static void undo_a(struct run *r)
{
	(void)r;
	buf_z(&rig.trace, "undo-a ");
}

static void on_later(void *arg)
{
	buf_z(&rig.trace, "later ");
	run_next(arg);
}

static enum step run_wait(struct run *r, struct err *e)
{
	(void)e;
	buf_z(&rig.trace, "wait ");
	rig.later = loop_timer(r->loop, rig.wait_ms ? rig.wait_ms : 1, 0, on_later, r);
	return STEP_WAIT;
}

static void stop_wait(struct run *r)
{
	buf_z(&rig.trace, "stop-wait ");
	loop_source_free(take_ptr(rig.later));
	run_next(r);
}

static void undo_wait(struct run *r)
{
	(void)r;
	buf_z(&rig.trace, "undo-wait ");
}

static enum step run_c(struct run *r, struct err *e)
{
	(void)r, (void)e;
	buf_z(&rig.trace, "c ");
	return STEP_NEXT;
}

static void undo_c(struct run *r)
{
	(void)r;
	buf_z(&rig.trace, "undo-c ");
}

static enum step run_fails(struct run *r, struct err *e)
{
	(void)r;
	buf_z(&rig.trace, "fails ");
	err_set(e, ERR_CLIENT, "no data");
	return STEP_FAIL;
}

static void on_fail_later(void *arg)
{
	struct err why = { 0 };

	err_set(&why, ERR_IO, "disk broken");
	run_failed(arg, &why);
}

static enum step run_fails_later(struct run *r, struct err *e)
{
	(void)e;
	rig.later = loop_timer(r->loop, 1, 0, on_fail_later, r);
	return STEP_WAIT;
}

static enum step run_stops(struct run *r, struct err *e)
{
	(void)e;
	buf_z(&rig.trace, "stops ");
	run_stop(r, STOP_ASKED);
	return STEP_NEXT;
}

static enum step run_starts(struct run *r, struct err *e)
{
	(void)e;
	r->outcome.started = true;
	return STEP_NEXT;
}

static void drive(const struct phase *phases)
{
	CHECK_OK(run_drive(&rig.run, phases, e));
}

TEST(run_phases_go_in_order_and_are_undone_in_reverse)
{
	static const struct phase phases[] = { { "a", run_a, NULL, undo_a },
		                               { "wait", run_wait, stop_wait, undo_wait },
		                               { "c", run_c, NULL, undo_c },
		                               { NULL } };

	rig_open();
	drive(phases);
	CHECK_STR(rig.trace.p, "a wait later c undo-c undo-wait undo-a ");
	CHECK(!rig.run.failed);
	rig_close();
}

TEST(run_a_failing_phase_is_undone_with_those_before_it)
{
	static const struct phase phases[] = { { "a", run_a, NULL, undo_a },
		                               { "f", run_fails, NULL, undo_wait },
		                               { "c", run_c, NULL, undo_c },
		                               { NULL } };

	rig_open();
	drive(phases);
	CHECK_STR(rig.trace.p, "a fails undo-wait undo-a ");
	CHECK(rig.run.failed);
	CHECK_STR(rig.run.reason.p, "ClientError: no data");
	rig_close();
}

TEST(run_a_failure_from_a_callback)
{
	static const struct phase phases[] = { { "a", run_a, NULL, undo_a },
		                               { "f", run_fails_later, NULL, NULL },
		                               { "c", run_c, NULL, undo_c },
		                               { NULL } };

	rig_open();
	drive(phases);
	CHECK_STR(rig.trace.p, "a undo-a ");
	CHECK_STR(rig.run.reason.p,
	          "InternalServerError: We encountered an internal error. Please try again. (disk broken)");
	rig_close();
}

TEST(run_the_first_reason_stays)
{
	rig_open();
	run_set_reason(&rig.run, STR("first"));
	run_set_reason(&rig.run, STR("second"));
	CHECK_STR(rig.run.reason.p, "first");
	rig_close();
}

TEST(run_a_stop_before_the_container_ends_it_there)
{
	static const struct phase phases[] = {
		{ "a", run_a, NULL, undo_a }, { "s", run_stops, NULL, NULL }, { "c", run_c, NULL, undo_c }, { NULL }
	};
	char *told;

	rig_open();
	drive(phases);
	CHECK_STR(rig.trace.p, "a stops undo-c undo-a ");
	CHECK(!rig.run.failed);
	CHECK_INT(rig.run.stop, STOP_ASKED);
	told = facts();
	CHECK_STR(told, "STOPPING ");
	free(told);
	rig_close();
}

static void stop_now(void *arg)
{
	run_stop(arg, STOP_ASKED);
	run_stop(arg, STOP_EXPIRED); /* the first wins */
}

TEST(run_a_stop_cuts_a_wait_short)
{
	static const struct phase phases[] = { { "wait", run_wait, stop_wait, undo_wait },
		                               { "c", run_c, NULL, undo_c },
		                               { NULL } };

	rig_open();
	rig.wait_ms = 60000;
	stop_later = loop_timer(rig.run.loop, 20, 0, stop_now, &rig.run);
	drive(phases);
	CHECK_STR(rig.trace.p, "wait stop-wait undo-c undo-wait ");
	CHECK_INT(rig.run.stop, STOP_ASKED);
	rig_close();
}

TEST(run_a_stop_before_a_phase_begins_is_not_told_to_it)
{
	static const struct phase phases[] = { { "wait", run_wait, stop_wait, undo_wait }, { NULL } };

	rig_open();
	loop_post(rig.run.loop, stop_now, &rig.run);
	drive(phases);
	CHECK_STR(rig.trace.p, "undo-wait ");
	rig_close();
}

TEST(run_a_stop_after_the_containers_start_goes_on)
{
	static const struct phase phases[] = { { "start", run_starts, NULL, undo_a },
		                               { "s", run_stops, NULL, NULL },
		                               { "c", run_c, NULL, undo_c },
		                               { NULL } };

	rig_open();
	drive(phases);
	CHECK_STR(rig.trace.p, "stops c undo-c undo-a ");
	rig_close();
}

TEST(run_a_stop_after_the_containers_end_is_no_stop)
{
	char *told;

	rig_open();
	rig.run.outcome.started = rig.run.outcome.exited = true;
	run_stop(&rig.run, STOP_ASKED);
	CHECK_INT(rig.run.stop, STOP_NONE);
	told = facts();
	CHECK_STR(told, "");
	free(told);
	rig_close();
}

TEST(run_expiry_is_told_before_the_stopping)
{
	char *told;

	rig_open();
	run_stop(&rig.run, STOP_EXPIRED);
	told = facts();
	CHECK_STR(told, "EXPIRED STOPPING ");
	free(told);
	rig_close();
}

/* ---- workers ---- */

struct hearing {
	struct loop *loop;
	struct buf heard;
	struct worker *worker;
	bool ended, well;
	struct err why;
	bool refuse;
};

static int hear(void *arg, const json_t *msg, struct err *e)
{
	struct hearing *h = arg;

	if (h->refuse)
		return err_set(e, ERR_LIMIT, "enough");
	buf_f(&h->heard, "%s ", json_string_value(json_object_get(msg, "text")));
	return 0;
}

static void hear_end(void *arg, const struct err *e)
{
	struct hearing *h = arg;

	worker_free(take_ptr(h->worker)); /* allowed, and e stays */
	h->ended = true;
	h->well = !e;
	if (e)
		h->why = *e;
	loop_stop(h->loop);
}

static struct hearing listen_to(int (*work)(struct worker_link *, void *, struct err *), bool kill_it, bool refuse)
{
	struct hearing h = { .loop = loop_new(), .refuse = refuse };
	struct worker_task task = {
		.work = work, .report = hear, .ended = hear_end, .arg = &h, .name = "the test's work"
	};

	CHECK_OK(worker_start(h.loop, &task, &h.worker, e));
	if (kill_it)
		worker_kill(h.worker);
	CHECK_OK(loop_run(h.loop, e));
	CHECK(h.ended);
	worker_free(h.worker);
	loop_free(h.loop);
	buf_c(&h.heard, '.');
	return h;
}

static int work_well(struct worker_link *link, void *arg, struct err *e)
{
	(void)arg, (void)e;
	for (int i = 0; i < 500; i++) { /* more than a socket holds */
		char text[16];

		snprintf(text, sizeof(text), "%d", i);
		worker_say(link, text);
	}
	return 0;
}

static int work_badly(struct worker_link *link, void *arg, struct err *e)
{
	(void)arg;
	worker_say(link, "trying");
	err_set(e, ERR_CLIENT, "the file \xff is bad");
	return err_in(e, "placing channel x");
}

static int work_crashing(struct worker_link *link, void *arg, struct err *e)
{
	(void)link, (void)arg, (void)e;
	signal(SIGABRT, SIG_DFL);
	raise(SIGABRT);
	return 0;
}

static int work_for_ever(struct worker_link *link, void *arg, struct err *e)
{
	(void)link, (void)arg, (void)e;
	return pause(); /* until a signal ends the process */
}

static int work_with_bad_text(struct worker_link *link, void *arg, struct err *e)
{
	(void)arg;
	return worker_report(link, json_pack("{s:s, s:s}", "t", "say", "text", "\xff"), e);
}

TEST(worker_every_report_arrives_before_the_end)
{
	struct hearing h = listen_to(work_well, false, false);

	CHECK(h.well);
	CHECK(str_starts(buf_view(&h.heard), STR("0 1 2 3 ")));
	CHECK(str_ends(buf_view(&h.heard), STR(" 498 499 .")));
	buf_fini(&h.heard);
}

TEST(worker_an_error_keeps_its_kind_and_words)
{
	struct hearing h = listen_to(work_badly, false, false);
	char text[512];

	CHECK(!h.well);
	CHECK_STR(h.heard.p, "trying .");
	CHECK_INT(h.why.kind, ERR_CLIENT);
	CHECK_STR(err_text(&h.why, text, sizeof(text)), "placing channel x: the file \xef\xbf\xbd is bad");
	buf_fini(&h.heard);
}

TEST(worker_a_crash_is_a_sentence)
{
	struct hearing h = listen_to(work_crashing, false, false);

	CHECK(!h.well);
	CHECK_STR(h.why.frame[0], "the test's work was killed by SIGABRT (aborted)");
	buf_fini(&h.heard);
}

TEST(worker_can_be_killed)
{
	struct hearing h = listen_to(work_for_ever, true, false);

	CHECK(!h.well);
	CHECK_STR(h.why.frame[0], "the test's work was killed by SIGKILL (killed)");
	buf_fini(&h.heard);
}

TEST(worker_a_refused_report_ends_it)
{
	struct hearing h = listen_to(work_well, false, true);

	CHECK(!h.well);
	CHECK_INT(h.why.kind, ERR_LIMIT);
	buf_fini(&h.heard);
}

TEST(worker_a_report_that_is_no_json_is_an_error)
{
	struct hearing h = listen_to(work_with_bad_text, false, false);

	CHECK(!h.well);
	CHECK_INT(h.why.kind, ERR_BUG);
	buf_fini(&h.heard);
}

TEST(worker_free_kills_and_waits)
{
	struct hearing h = { .loop = loop_new() };
	struct worker_task task = { .work = work_for_ever, .report = hear, .ended = hear_end, .arg = &h, .name = "w" };

	CHECK_OK(worker_start(h.loop, &task, &h.worker, e));
	worker_free(h.worker);
	CHECK(!h.ended);
	loop_free(h.loop);
}

/* ---- the socket ---- */

static int dial(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/sock", test_tmpdir());
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

struct talk {
	int fd;
	const char *const *lines;
	struct buf heard;
	struct loop_source *source;
};

/* Sends one line after each answer, and stops the loop after the last or at the end of the connection. */
static void talk_on(void *arg, uint32_t events)
{
	struct talk *t = arg;
	char bytes[256];
	ssize_t n = recv(t->fd, bytes, sizeof(bytes) - 1, 0);

	(void)events;
	if (n > 0) {
		buf_add(&t->heard, bytes, (size_t)n);
		buf_c(&t->heard, ' ');
	}
	if (n <= 0 || !*t->lines) {
		loop_stop(rig.run.loop);
		return;
	}
	CHECK(send(t->fd, *t->lines, strlen(*t->lines), 0) > 0);
	t->lines++;
}

static char *talk(const char *const *lines)
{
	struct talk t = { .fd = dial(), .lines = lines + 1 };

	CHECK(t.fd >= 0);
	t.source = loop_fd(rig.run.loop, t.fd, 1 /* EPOLLIN */, talk_on, &t);
	CHECK(send(t.fd, lines[0], strlen(lines[0]), 0) > 0);
	CHECK_OK(loop_run(rig.run.loop, e));
	loop_source_free(t.source);
	close(t.fd);
	return buf_take(&t.heard);
}

TEST(control_answers_and_stops)
{
	static const char *const lines[] = { "{\"t\":\"ping\"}", "{\"t\":\"dance\"}", "{\"t\":\"stop\"}",
		                             "{\"t\":\"stop\"}", NULL };
	_cleanup_free_ char *want = strf(
	        "{\"t\":\"pong\",\"pid\":%d} {\"t\":\"error\",\"text\":\"this command is not known\"} "
	        "{\"t\":\"ok\"} {\"t\":\"ok\"} ",
	        (int)getpid());
	char *heard;

	rig_open();
	CHECK_OK(control_open(&rig.run, e));
	heard = talk(lines);
	CHECK_STR(heard, want);
	CHECK_INT(rig.run.stop, STOP_ASKED);
	free(heard);
	rig_close();
}

TEST(control_hangs_up_on_nonsense_and_goes_on)
{
	static const char *const nonsense[] = { "not json", NULL }, *const ping[] = { "{\"t\":\"ping\"}", NULL };
	char *heard;

	rig_open();
	CHECK_OK(control_open(&rig.run, e));
	heard = talk(nonsense);
	CHECK_STR(heard ? heard : "", "");
	free(heard);
	heard = talk(ping);
	CHECK(str_starts(str_of(heard), STR("{\"t\":\"pong\"")));
	free(heard);
	rig_close();
}

TEST(control_takes_the_place_of_a_dead_ones_socket)
{
	rig_open();
	CHECK_OK(file_put(rig.run.job_fd, "sock", STR("left"), 0600, e));
	CHECK_OK(control_open(&rig.run, e));
	rig_close();
}

static void raise_term(void *arg)
{
	(void)arg;
	kill(getpid(), SIGTERM);
}

static void end_loop(void *arg)
{
	if (((struct run *)arg)->stop != STOP_NONE)
		loop_stop(((struct run *)arg)->loop);
}

TEST(control_sigterm_is_a_shutdown)
{
	struct loop_source *first, *then;

	rig_open();
	CHECK_OK(control_open(&rig.run, e));
	first = loop_timer(rig.run.loop, 0, 0, raise_term, NULL);
	then = loop_timer(rig.run.loop, 5, 5, end_loop, &rig.run);
	CHECK_OK(loop_run(rig.run.loop, e));
	CHECK_INT(rig.run.stop, STOP_SHUTDOWN);
	loop_source_free(first);
	loop_source_free(then);
	rig_close();
}

/* ---- the volume, which is made while other phases run ---- */

/* mkfs.ext4 is made to wait for ever, for its configuration. */
static void volume_rig_open(void)
{
	_cleanup_free_ char *config = strf("%s/mke2fs.conf", test_tmpdir());

	rig_open();
	CHECK(mkfifo(config, 0600) == 0 && setenv("MKE2FS_CONFIG", config, 1) == 0);
	rig.run.work_fd = open(test_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rig.run.spec.limits.volume_bytes = 64 << 20;
	CHECK(fchdir(rig.run.work_fd) == 0);
}

static void no_child_is_left(void)
{
	CHECK(waitpid(-1, NULL, 0) < 0 && errno == ECHILD);
	CHECK(!rig.run.volume && !rig.run.volume_mounted);
	cleanup_closep(&rig.run.work_fd);
}

TEST(a_failure_while_the_volume_is_made_ends_its_maker)
{
	static const struct phase phases[] = { { "volume", phase_volume, NULL, undo_volume },
		                               { "fails", run_fails, NULL, NULL },
		                               { "mount", phase_mount, stop_mount, NULL },
		                               { NULL } };

	volume_rig_open();
	drive(phases);
	CHECK_STR(rig.trace.p, "fails ");
	CHECK(rig.run.failed);
	no_child_is_left();
	rig_close();
}

TEST(a_stop_while_the_volume_is_made_ends_its_maker)
{
	static const struct phase phases[] = { { "volume", phase_volume, NULL, undo_volume },
		                               { "mount", phase_mount, stop_mount, NULL },
		                               { "c", run_c, NULL, undo_c },
		                               { NULL } };

	volume_rig_open();
	stop_later = loop_timer(rig.run.loop, 50, 0, stop_now, &rig.run);
	drive(phases);
	CHECK_STR(rig.trace.p, "undo-c ");
	CHECK(!rig.run.failed);
	no_child_is_left();
	rig_close();
}
