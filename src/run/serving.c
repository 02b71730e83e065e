/* The containers of a transform job at work. The driver (driver.h) sends them the records; when it has ended, well or
 * not, they are told to end, and the outputs go their way (outputs.c) meanwhile.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "run/driver.h"
#include "run/phase.h"
#include "run/reason.h"

enum { TAIL_LINES = 12, TAIL_BYTES = 3 << 10 };

struct serving {
	struct run *run;
	struct driver *driver; /* NULL: it has ended */
	size_t alive;          /* containers */
	struct box data_log;   /* where the driver prints what the service calls so */
	struct box *culprit;   /* ended before the driver had */
	struct err why;        /* the driver has failed; kind ERR_NONE: it has not */
	bool left;             /* the containers have been told to end */
	bool drained;          /* what is still to come of their output is not waited for */
	bool transformed;      /* the phase is over */
	struct loop_source *grace, *drain;
};

/* ---- making and starting ---- */

static int prepare(struct box *b, struct err *e)
{
	static const char *const serve[] = { "serve", NULL };
	char **env = environment_of_serving(b);
	int rc;

	b->args = bundle_args(&b->image, NULL, serve);
	rc = box_bundle(b, env, e);
	strv_free(env);
	return rc;
}

static void on_output_ended(struct box *b);

/* One is started as it is made. Several are made first, so that they can share the limits of the host and start within
 * a moment. */
static int start_all(struct run *r, struct err *e)
{
	const struct job_limits *l = &r->spec.limits;
	struct err why = { 0 };

	for (size_t i = 0; i < r->box_count; i++)
		if (prepare(&r->box[i], e) < 0 ||
		    box_begin(&r->box[i], on_output_ended, r->box_count == 1, &r->box[i].pid, e) < 0)
			return r->box_count == 1 ? -1 : err_in(e, "the container %s", r->box[i].hostname);
	if (r->box_count == 1)
		return 0;
	if (cgroup_limit(r->cgroup, l->cpus, l->memory_bytes, l->pids, &why) < 0)
		log_err(LOG_WARN, &why, "limiting the containers together");
	for (size_t i = 0; i < r->box_count; i++)
		if (box_start(&r->box[i], e) < 0)
			return err_in(e, "the container %s", r->box[i].hostname);
	return 0;
}

enum step phase_serve(struct run *r, struct err *e)
{
	if (box_find_runtime(r, e) < 0 || start_all(r, e) < 0)
		return STEP_FAIL;
	r->outcome.started = true;
	return STEP_NEXT;
}

/* ---- why one has ended ---- */

static void explain(struct box *b)
{
	struct run *r = b->run;
	_cleanup_free_ char *log = strf("%s/log/%s", r->job_dir, r->box_count > 1 ? b->hostname : r->spec.host_name);
	_cleanup_buf_ struct buf tail = { 0 }, reason = { 0 };
	const struct outcome *out = &b->outcome;
	struct ending end = { .code = out->code,
		              .signal = out->signal,
		              .serving = b->hostname,
		              .program = b->args[0],
		              .out_of_memory = out->cgroup.oom_kills > 0,
		              .memory_limit_bytes = r->spec.limits.memory_bytes,
		              .memory_peak_bytes = out->cgroup.memory_peak_bytes,
		              .instance_type = r->spec.limits.instance_type,
		              .processes_full = out->cgroup.pids_max_hits > 0,
		              .processes_limit = r->spec.limits.pids };
	struct err e = { 0 };

	if (joblog_tail(log, TAIL_LINES, TAIL_BYTES, &tail, &e) < 0)
		log_err(LOG_WARN, &e, "reading the last lines");
	end.tail = buf_view(&tail);
	reason_of_ending(&end, &reason);
	run_set_reason(r, buf_view(&reason));
}

/* ---- the end of the driver, and of containers ---- */

static bool output_over(const struct serving *s, const struct box *b)
{
	return s->drained || output_ended(b->output);
}

static bool all_left(const struct serving *s)
{
	bool over = s->alive == 0 && output_over(s, &s->data_log);

	for (size_t i = 0; over && i < s->run->box_count; i++)
		over = output_over(s, &s->run->box[i]);
	return over;
}

static void kill_box(struct box *b)
{
	struct err e = { 0 };

	if (!b->outcome.exited)
		kill(b->pid, SIGKILL); /* the first process: with it goes its pid namespace */
	if (cgroup_signal(b->cgroup, SIGKILL, &e) < 0)
		log_err(LOG_WARN, &e, "killing the container");
}

static void on_grace_over(void *arg)
{
	struct serving *s = arg;

	for (size_t i = 0; i < s->run->box_count; i++) {
		struct box *b = &s->run->box[i];

		if (b->outcome.exited)
			continue;
		run_say(s->run,
		        "The container %s has not ended %lld s after SIGTERM: all of its processes get SIGKILL.",
		        b->hostname, (long long)s->run->spec.stop_grace_s);
		kill_box(b);
	}
}

/* Who has no handler for SIGTERM would not get it, as the first process of its pid namespace, and is not waited for. */
static void leave(struct serving *s)
{
	bool any = false;

	if (s->left)
		return;
	s->left = true;
	for (size_t i = 0; i < s->run->box_count; i++) {
		struct box *b = &s->run->box[i];

		if (b->outcome.exited)
			continue;
		if (process_handles(b->pid, SIGTERM) && kill(b->pid, SIGTERM) == 0)
			any = true;
		else
			kill_box(b);
	}
	if (!any)
		return;
	s->grace = loop_timer(s->run->loop, s->run->spec.stop_grace_s * 1000, 0, on_grace_over, s);
	if (!s->grace)
		on_grace_over(s); /* rather at once than never */
}

/* The phase is over when the driver has ended and, where a container is to blame, its last words have been read. */
static void end_if_over(struct serving *s)
{
	struct run *r = s->run;
	struct err why = s->why;

	if (s->driver || s->transformed || (s->culprit && !output_over(s, s->culprit)))
		return;
	s->transformed = true;
	if (r->stop == STOP_NONE && s->culprit) {
		explain(s->culprit);
	} else if (r->stop == STOP_NONE && why.kind != ERR_NONE) {
		_cleanup_buf_ struct buf reason = { 0 };

		log_err(LOG_ERROR, &why, "transforming");
		reason_of_error(&why, &reason);
		run_set_reason(r, buf_view(&reason));
	}
	metrics_end(r);
	leave(s);
	run_next(r);
}

static void go_on(struct serving *s)
{
	struct run *r = s->run;

	end_if_over(s);
	if (r->waiting && r->phases[r->at].run == phase_leave && all_left(s)) {
		network_end(r);
		run_next(r);
	}
}

static void on_output_ended(struct box *b)
{
	if (b->run->serving)
		go_on(b->run->serving);
}

/* Processes outside of a container's pid namespace could hold its output open; nothing waits for them for ever. */
static void on_drain_over(void *arg)
{
	struct serving *s = arg;

	s->drained = true;
	go_on(s);
}

/* From now on, for those that have ended by now. */
static void drain(struct serving *s)
{
	loop_source_free(take_ptr(s->drain));
	s->drain = loop_timer(s->run->loop, s->run->options.drain_ms, 0, on_drain_over, s);
	s->drained = !s->drain;
}

static void take_end(struct box *b, int code, int status)
{
	struct outcome *out = &b->outcome;
	struct err e = { 0 };

	out->exited = true;
	out->signal = code == CLD_EXITED ? 0 : status;
	out->code = code == CLD_EXITED ? status : 128 + status;
	loop_source_free(take_ptr(b->process));
	if (cgroup_stats(b->cgroup, &out->cgroup, &e) < 0)
		log_err(LOG_WARN, &e, "reading the cgroup's counters");
	if (cgroup_signal(b->cgroup, SIGKILL, &e) < 0)
		log_err(LOG_WARN, &e, "ending what the container has left behind");
}

static void on_container(void *arg, int code, int status)
{
	struct box *b = arg;
	struct run *r = b->run;
	struct serving *s = r->serving;
	struct err e = { 0 };

	take_end(b, code, status);
	s->alive--;
	if (!s->left && !s->culprit && r->stop == STOP_NONE && !driver_is_done(s->driver)) {
		s->culprit = b;
		if (run_fact(r, FACT_EXITED,
		             json_pack("{s:i, s:i, s:b, s:I}", "code", b->outcome.code, "signal", b->outcome.signal,
		                       "oom", b->outcome.cgroup.oom_kills > 0, "peak_memory_bytes",
		                       (json_int_t)b->outcome.cgroup.memory_peak_bytes),
		             &e) < 0)
			log_err(LOG_ERROR, &e, "reporting the container's end");
		drain(s);
		driver_stop(s->driver);
	}
	if (s->alive == 0)
		drain(s);
	go_on(s);
}

/* A container that has ended is why requests fail, also when its end is heard of later than theirs. */
static struct box *find_dead(struct run *r)
{
	for (size_t i = 0; i < r->box_count; i++) {
		siginfo_t info = { 0 };

		if (!r->box[i].outcome.exited &&
		    waitid(P_PID, (id_t)r->box[i].pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid)
			return &r->box[i];
	}
	return NULL;
}

static void on_driver_ended(void *arg, const struct err *why)
{
	struct serving *s = arg;
	struct box *dead = why && !s->culprit ? find_dead(s->run) : NULL;
	siginfo_t info = { 0 };

	if (why)
		s->why = *why;
	if (dead && s->run->stop == STOP_NONE) {
		must(waitid(P_PID, (id_t)dead->pid, &info, WEXITED) == 0);
		on_container(dead, info.si_code, info.si_status);
	}
	driver_free(take_ptr(s->driver));
	go_on(s);
}

/* ---- the phases ---- */

/* *ret_fd: where the driver writes to. */
static int open_data_log(struct serving *s, int *ret_fd, struct err *e)
{
	struct run *r = s->run;
	_cleanup_close_ int dir = openat(r->job_fd, "log", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_free_ char *path = strf("/proc/self/fd/%d/data-log", dir);
	_cleanup_close_ int unused = -EBADF;

	if (dir < 0)
		return err_sys(e, "opening log");
	s->data_log = (struct box){ .run = r, .image_fd = -EBADF, .network_ns = -EBADF };
	if (joblog_open(path, &s->data_log.log, e) < 0)
		return -1;
	return output_open(&s->data_log, on_output_ended, ret_fd, &unused, e);
}

static void close_data_log(struct serving *s)
{
	struct err e = { 0 };

	output_close(take_ptr(s->data_log.output));
	if (s->data_log.log && joblog_close(take_ptr(s->data_log.log), &e) < 0)
		log_err(LOG_WARN, &e, "closing the data-log");
}

static int watch(struct serving *s, struct err *e)
{
	struct run *r = s->run;

	for (size_t i = 0; i < r->box_count; i++) {
		struct box *b = &r->box[i];

		b->outcome.started = true;
		b->process = loop_process(r->loop, b->pid, true, on_container, b);
		if (!b->process)
			return err_sys(e, "watching the container");
		s->alive++;
	}
	return 0;
}

enum step phase_transform(struct run *r, struct err *e)
{
	struct serving *s = r->serving = xcalloc(1, sizeof(*s));

	_cleanup_close_ int log = -EBADF;

	s->run = r;
	if (run_fact(r, FACT_TRAINING, json_pack("{s:i}", "pid", (int)r->box[0].pid), e) < 0 || watch(s, e) < 0 ||
	    open_data_log(s, &log, e) < 0 || driver_start(r, log, on_driver_ended, s, &s->driver, e) < 0)
		return STEP_FAIL;
	metrics_start(r);
	if (r->stop != STOP_NONE) /* it came while the containers were being started */
		stop_transform(r);
	return STEP_WAIT;
}

void stop_transform(struct run *r)
{
	if (!r->serving || !r->serving->driver)
		return;
	run_say(r, "The job is being stopped: no more records are sent, and the containers have %lld s to end.",
	        (long long)r->spec.stop_grace_s);
	driver_stop(r->serving->driver);
}

enum step phase_leave(struct run *r, struct err *e)
{
	struct serving *s = r->serving;

	(void)e;
	if (!all_left(s))
		return STEP_WAIT;
	network_end(r);
	return STEP_NEXT;
}

void undo_transform(struct run *r)
{
	struct serving *s = r->serving;

	if (!s)
		return;
	driver_free(s->driver);
	loop_source_free(s->grace);
	loop_source_free(s->drain);
	for (size_t i = 0; i < r->box_count; i++)
		loop_source_free(take_ptr(r->box[i].process));
	close_data_log(s);
	r->serving = NULL;
	free(s);
}
