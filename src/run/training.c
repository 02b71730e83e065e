/* The container runs: its clock, its stopping, its end, and why it failed. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "run/phase.h"
#include "run/reason.h"

enum { FAILURE_MAX_BYTES = 8 << 10, TAIL_LINES = 12, TAIL_BYTES = 3 << 10, LARGEST_DIRECTORIES = 3 };
static const uint64_t full_below = 1 << 20; /* free bytes of a volume that counts as full */

/* ---- who gets SIGTERM ---- */

struct receiver {
	char name[32];
	bool handles; /* has a handler, or blocks it to wait for it */
	bool ignores;
	size_t others;
};

/* The value of a line of /proc/PID/status. */
static struct str status_line(struct str status, const char *key)
{
	while (status.n) {
		struct str line = str_cut(&status, '\n');

		if (str_skip(&line, str_of(key)))
			return str_trim(line);
	}
	return STR("");
}

static bool has_signal(struct str hex_mask, int signo)
{
	_cleanup_free_ char *text = str_dup(hex_mask);

	return strtoull(text, NULL, 16) >> (signo - 1) & 1;
}

static size_t count_descendants(pid_t pid, unsigned depth)
{
	_cleanup_free_ char *path = strf("/proc/%d/task/%d/children", (int)pid, (int)pid);
	struct buf b = { 0 };
	struct str rest;
	uint64_t child;
	size_t n = 0;

	if (depth < 64 && file_read(path, 1 << 16, &b, NULL) == 0) {
		rest = buf_view(&b);
		while (rest.n)
			if (str_to_u64(str_cut(&rest, ' '), &child))
				n += 1 + count_descendants((pid_t)child, depth + 1);
	}
	buf_fini(&b);
	return n;
}

bool process_handles(pid_t pid, int signo)
{
	_cleanup_free_ char *path = strf("/proc/%d/status", (int)pid);
	_cleanup_buf_ struct buf b = { 0 };
	struct str s;

	if (file_read(path, 1 << 16, &b, NULL) < 0)
		return false;
	s = buf_view(&b);
	return has_signal(status_line(s, "SigCgt:"), signo) || has_signal(status_line(s, "SigBlk:"), signo);
}

static void look_at(pid_t pid, struct receiver *ret)
{
	_cleanup_free_ char *path = strf("/proc/%d/status", (int)pid);
	struct buf b = { 0 };

	*ret = (struct receiver){ .name = "?", .handles = true };
	if (file_read(path, 1 << 16, &b, NULL) == 0) {
		struct str s = buf_view(&b);

		snprintf(ret->name, sizeof(ret->name), PRIstr, ARGstr(status_line(s, "Name:")));
		ret->ignores = has_signal(status_line(s, "SigIgn:"), SIGTERM);
		ret->handles = has_signal(status_line(s, "SigCgt:"), SIGTERM) ||
		               has_signal(status_line(s, "SigBlk:"), SIGTERM);
	}
	buf_fini(&b);
	ret->others = count_descendants(pid, 0);
}

/* ---- stopping ---- */

static void kill_all(struct run *r)
{
	struct err e = { 0 };

	kill(r->pid, SIGKILL); /* the first process: with it goes its pid namespace */
	if (cgroup_signal(r->cgroup, SIGKILL, &e) < 0)
		log_err(LOG_WARN, &e, "killing the container");
	feeders_end(r); /* who waits for one of them in the kernel dies only when it has gone */
}

static void on_grace_over(void *arg)
{
	struct run *r = arg;

	run_say(r, "The container has not ended %lld s after SIGTERM%s: all of its processes get SIGKILL.",
	        (long long)r->spec.stop_grace_s, r->stop_unheard ? ", for which its first process has no handler" : "");
	kill_all(r);
}

static void say_who(struct run *r, const struct receiver *who)
{
	const char *why = r->stop == STOP_EXPIRED ? "MaxRuntimeInSeconds is over"
	                  : r->stop == STOP_PEER  ? "Another host of the job has failed"
	                                          : "The job is being stopped";

	run_say(r, "%s: SIGTERM goes to the container's first process (%s), which has %lld s to end.", why, who->name,
	        (long long)r->spec.stop_grace_s);
	if (who->ignores)
		run_say(r, "%s ignores SIGTERM.", who->name);
	else if (!who->handles)
		run_say(r,
		        "%s has no handler for SIGTERM, and the first process of a container does not get it without "
		        "one. "
		        "To save a checkpoint, handle SIGTERM there (in a shell: `exec` the program, or `trap`).",
		        who->name);
	if (who->others)
		run_say(r, "%zu other process%s in the container did not get SIGTERM: passing it on is up to %s.",
		        who->others, who->others == 1 ? "" : "es", who->name);
}

void stop_training(struct run *r)
{
	struct receiver who;

	if (!r->process || r->outcome.exited || r->grace_timer)
		return;
	loop_timer_set(r->runtime_timer, -1, 0);
	look_at(r->pid, &who);
	r->stop_unheard = !who.handles;
	say_who(r, &who);
	kill(r->pid, SIGTERM);
	r->grace_timer = loop_timer(r->loop, r->spec.stop_grace_s * 1000, 0, on_grace_over, r);
	if (!r->grace_timer)
		kill_all(r); /* rather at once than never */
}

static void on_runtime_over(void *arg)
{
	run_stop(arg, STOP_EXPIRED);
}

/* ---- why it failed ---- */

static void note_disk(struct run *r, struct ending *end, struct buf *largest)
{
	uint64_t size, left, inodes;
	struct err e = { 0 };
	struct statvfs machine;
	int fd;

	end->machine_disk_full = fstatvfs(r->work_fd, &machine) == 0 &&
	                         machine.f_bavail * machine.f_frsize < full_below;
	if (!r->volume_enforced || volume_space(r, &size, &left, &inodes, &e) < 0)
		return;
	end->disk_full = left < full_below || inodes == 0;
	end->volume_bytes = r->volume_bytes;
	fd = end->disk_full ? openat(r->work_fd, "volume/upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -EBADF;
	if (fd >= 0)
		inside_largest(fd, LARGEST_DIRECTORIES, largest);
	cleanup_closep(&fd);
	end->largest = largest->p;
}

static void explain(struct run *r)
{
	_cleanup_free_ char *log = strf("%s/log/%s", r->job_dir, r->spec.host_name);
	_cleanup_close_ int rootfs = openat(r->work_fd, "rootfs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct buf failure = { 0 }, tail = { 0 }, largest = { 0 }, trouble = { 0 }, reason = { 0 };
	const struct outcome *out = &r->outcome;
	struct ending end = { .code = out->code,
		              .signal = out->signal,
		              .program = r->box[0].args[0],
		              .out_of_memory = out->cgroup.oom_kills > 0,
		              .memory_limit_bytes = r->spec.limits.memory_bytes,
		              .memory_peak_bytes = out->cgroup.memory_peak_bytes,
		              .instance_type = r->spec.limits.instance_type,
		              .processes_full = out->cgroup.pids_max_hits > 0,
		              .processes_limit = r->spec.limits.pids };
	struct err e = { 0 };

	if (rootfs >= 0)
		inside_read(rootfs, "/opt/ml/output/failure", FAILURE_MAX_BYTES, &failure);
	if (joblog_tail(log, TAIL_LINES, TAIL_BYTES, &tail, &e) < 0)
		log_err(LOG_WARN, &e, "reading the last lines");
	note_disk(r, &end, &largest);
	end.failure = buf_view(&failure);
	end.tail = buf_view(&tail);
	feeders_trouble(r, &trouble);
	end.trouble = buf_view(&trouble);
	reason_of_ending(&end, &reason);
	run_set_reason(r, buf_view(&reason));
	buf_fini(&failure);
	buf_fini(&tail);
	buf_fini(&largest);
	buf_fini(&trouble);
	buf_fini(&reason);
}

/* ---- a feeder fails ---- */

static void set_reason(struct run *r, const struct err *why)
{
	struct buf reason = { 0 };

	reason_of_error(why, &reason);
	run_set_reason(r, buf_view(&reason));
	buf_fini(&reason);
}

void training_failed(struct run *r, const struct err *why)
{
	char text[2048];

	log_err(LOG_ERROR, why, "while the container runs");
	if (!r->process || r->outcome.exited || r->stop != STOP_NONE)
		return; /* not yet there: the phases look; stopping or gone: it makes no difference any more */
	run_say(r, "%s. The container is ended.", err_text(why, text, sizeof(text)));
	set_reason(r, why);
	loop_timer_set(r->runtime_timer, -1, 0);
	kill_all(r);
}

/* ---- the end ---- */

static void say_how_it_stopped(struct run *r)
{
	if (r->outcome.signal == SIGKILL)
		return; /* said already */
	if (r->outcome.signal)
		run_say(r, "The container has ended after SIGTERM, by %s.", reason_signal(r->outcome.signal));
	else
		run_say(r, "The container has ended after SIGTERM, with exit code %d.", r->outcome.code);
}

/* What it was fed with is as good as what fed it: also when it has ended well, it may have seen an end of the data that
 * was none. */
static void look_at_feeders(struct run *r)
{
	const struct err *why = feeders_failure(r);
	char text[2048];

	if (!why || r->failed || r->stop != STOP_NONE)
		return;
	run_say(r, "%s.", err_text(why, text, sizeof(text)));
	set_reason(r, why);
}

/* All have come: the end of the process, of its output, and of what fed it. */
static void training_ended(struct run *r)
{
	struct outcome *out = &r->outcome;
	struct err e = { 0 };

	loop_source_free(take_ptr(r->drain_timer));
	output_close(take_ptr(r->box[0].output));
	if (run_fact(r, FACT_EXITED,
	             json_pack("{s:i, s:i, s:b, s:I}", "code", out->code, "signal", out->signal, "oom",
	                       out->cgroup.oom_kills > 0, "peak_memory_bytes",
	                       (json_int_t)out->cgroup.memory_peak_bytes),
	             &e) < 0) {
		run_failed(r, &e);
		return;
	}
	look_at_feeders(r);
	if (r->stop != STOP_NONE)
		say_how_it_stopped(r);
	else if (out->code != 0 && !r->failed)
		explain(r);
	feeds_end(r);
	metrics_end(r);
	network_end(r);
	run_next(r);
}

static void end_when_all_have(struct run *r)
{
	if (r->outcome.exited && (r->drained || output_ended(r->box[0].output)) && feeders_ended(r))
		training_ended(r);
}

void training_output_ended(struct box *b)
{
	end_when_all_have(b->run);
}

void training_feeders_ended(struct run *r)
{
	end_when_all_have(r);
}

/* Processes outside the container's pid namespace could hold its output open; nothing waits for them for ever. */
static void on_drain_over(void *arg)
{
	struct run *r = arg;

	run_say(r, "Something has kept the container's output open for %lld ms after its end; it is not waited for.",
	        (long long)r->options.drain_ms);
	r->drained = true;
	end_when_all_have(r);
}

static void on_process(void *arg, int code, int status)
{
	struct run *r = arg;
	struct outcome *out = &r->outcome;
	struct err e = { 0 };

	out->exited = true;
	out->signal = code == CLD_EXITED ? 0 : status;
	out->code = code == CLD_EXITED ? status : 128 + status;
	loop_source_free(take_ptr(r->process));
	loop_source_free(take_ptr(r->runtime_timer));
	loop_source_free(take_ptr(r->grace_timer));
	if (cgroup_stats(r->cgroup, &out->cgroup, &e) < 0)
		log_err(LOG_WARN, &e, "reading the cgroup's counters");
	if (cgroup_signal(r->cgroup, SIGKILL, &e) < 0)
		log_err(LOG_WARN, &e, "ending what the container has left behind");
	feeders_end(r);
	r->drain_timer = loop_timer(r->loop, r->options.drain_ms, 0, on_drain_over, r);
	r->drained = !r->drain_timer;
	end_when_all_have(r);
}

enum step phase_training(struct run *r, struct err *e)
{
	if (run_fact(r, FACT_TRAINING, json_pack("{s:i}", "pid", (int)r->pid), e) < 0)
		return STEP_FAIL;
	r->runtime_timer = loop_timer(r->loop, r->spec.max_runtime_s * 1000, 0, on_runtime_over, r);
	r->process = loop_process(r->loop, r->pid, true, on_process, r);
	if (!r->process || !r->runtime_timer) {
		err_sys(e, "watching the container");
		return STEP_FAIL;
	}
	metrics_start(r);
	if (r->stop != STOP_NONE) /* it came while the container was being started */
		stop_training(r);
	else if (feeders_failure(r))
		training_failed(r, feeders_failure(r));
	return STEP_WAIT;
}

void undo_training(struct run *r)
{
	loop_source_free(take_ptr(r->process));
	loop_source_free(take_ptr(r->runtime_timer));
	loop_source_free(take_ptr(r->grace_timer));
	loop_source_free(take_ptr(r->drain_timer));
}
