/* SPDX-License-Identifier: Apache-2.0 */
#include "run/metrics.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "metric/instance.h"
#include "metric/order.h"
#include "metric/out.h"
#include "net/net.h"
#include "run/phase.h"
#include "run/reason.h"

enum {
	STARTS = 20,
	AGAIN_MS = 100, /* before the second start anew, and as much more before each later one */
	END_MS = 30000, /* what there is of the log must be taken by then */
	LINE_MAX_BYTES = 64 << 10,
	LINES_SAID = 400, /* of one process */
	SAMPLE_MS = 1000,
	NOBODY = 65534
};

struct given {
	struct metric_order order;
	int text; /* the order, as a file */
};

struct metrics {
	struct run *run;
	/* Without anything foreign to look at we sample the instance ourselves. */
	struct given own;
	struct instance *instance;
	struct metric_out *samples;
	struct loop_source *second;
	/* Else there is bloomery-metric. */
	pid_t pid;  /* 0: not running */
	int end_fd; /* it ends when this is closed */
	int out;    /* what it says */
	struct loop_source *process, *lines, *again, *deadline;
	struct line_reader *reader;
	unsigned starts, said;
	bool ending, late, done;
};

/* ---- what it gets ---- */

static const struct given nothing = { { .log = -1, .metrics = -1, .root = -1, .instance = { -1, -1, -1, -1, -1, -1 } },
	                              -1 };

static void given_fini(struct given *g)
{
	int *all[] = { &g->order.log,          &g->order.metrics,         &g->order.root,
		       &g->order.instance.cpu, &g->order.instance.memory, &g->order.instance.io,
		       &g->order.instance.net, &g->order.instance.volume, &g->text };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		cleanup_closep(all[i]);
}

/* Where it writes, as `owner`; in a directory of another user, so made or looked at, but not followed. */
static int open_directory(struct run *r, uid_t owner, struct err *e)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	if (mkdirat(r->job_fd, "metrics", 0755) < 0 && errno != EEXIST)
		return err_sys(e, "making metrics");
	fd = openat(r->job_fd, "metrics", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "opening metrics");
	if (st.st_uid != geteuid() && st.st_uid != NOBODY)
		return err_set(e, ERR_DENIED, "metrics in the job directory belongs to user %u", (unsigned)st.st_uid);
	if (geteuid() == 0 && st.st_uid != owner && fchown(fd, owner, owner) < 0)
		return err_sys(e, "handing over metrics");
	return take_fd(fd);
}

static int open_net(const struct run *r)
{
	_cleanup_free_ char *path = NULL;
	char port[NET_NAME_BYTES];

	if (r->network_ns < 0)
		return -1;
	net_port_name(strrchr(r->job_dir, '/') + 1, port);
	path = strf("/sys/class/net/%s/statistics", port);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static const json_t *algorithm_of(const struct run *r)
{
	return json_object_get(r->spec.request, "AlgorithmSpecification");
}

static bool wants_files(const struct run *r)
{
	return json_is_true(json_object_get(algorithm_of(r), "EnableSageMakerMetricsTimeSeries"));
}

/* Whether there is more to do than to read a few files of the kernel's. */
static bool needs_program(const struct run *r)
{
	return json_array_size(json_object_get(algorithm_of(r), "MetricDefinitions")) || wants_files(r) ||
	       r->spec.gpu_count;
}

/* NVIDIA's are "nvidia.com/gpu=0" in CDI, else an index or a UUID. */
static json_t *gpus_of(const struct run *r)
{
	json_t *all = json_array();

	for (size_t i = 0; i < r->spec.gpu_count; i++) {
		struct str name = str_of(r->spec.gpu[i]);

		str_skip(&name, STR("nvidia.com/gpu="));
		if (!str_has_byte(name, '=') && !str_has_byte(name, ','))
			json_array_append_new(all, json_stringn(name.p, name.n));
	}
	return all;
}

static int open_given(struct run *r, struct given *g, struct err *e)
{
	struct instance_sources *s = &g->order.instance;

	g->order.log = openat(r->job_fd, "log", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (g->order.log < 0)
		return err_sys(e, "opening the log's directory");
	g->order.metrics = open_directory(r, needs_program(r) ? NOBODY : geteuid(), e);
	if (g->order.metrics < 0)
		return -1;
	if (wants_files(r))
		g->order.root = openat(r->work_fd, "rootfs", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	s->unified = cgroup_version() == 2;
	s->cpu = cgroup_open(r->cgroup, "cpuacct");
	s->memory = cgroup_open(r->cgroup, "memory");
	s->io = cgroup_open(r->cgroup, "blkio");
	s->net = open_net(r);
	if (r->volume_mounted)
		s->volume = openat(r->work_fd, "volume", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	s->cpus = r->spec.limits.cpus;
	s->memory_bytes = r->spec.limits.memory_bytes;
	s->started_ns = r->container_started.ns;
	return 0;
}

static int write_order(const struct run *r, struct given *g, struct err *e)
{
	json_t *none = json_array(), *definitions = json_object_get(algorithm_of(r), "MetricDefinitions"), *j;
	_cleanup_free_ char *text = NULL;

	g->order.host = r->spec.host_name;
	g->order.definitions = definitions ? definitions : none;
	g->order.gpus = gpus_of(r);
	j = metric_order_to_json(&g->order);
	json_decref(take_ptr(g->order.gpus));
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	json_decref(none);
	must(text);
	g->text = memfd_create("order", MFD_CLOEXEC);
	if (g->text < 0)
		return err_sys(e, "making a file for the work order");
	return fd_write_all(g->text, text, strlen(text), e);
}

static int spawn_it(struct metrics *m, const struct given *g, int in, int out, struct err *e)
{
	_cleanup_free_ char *program = strf("%s/bloomery-metric", m->run->programs_dir);
	char number[16];
	const char *const argv[] = { program, number, m->run->job_dir, NULL };
	const struct instance_sources *s = &g->order.instance;
	const int all[] = { g->order.log, g->order.metrics, g->order.root, s->cpu, s->memory,
		            s->io,        s->net,           s->volume,     g->text };
	int keep[ARRAY_LEN(all)];
	struct spawn_options o = { .argv = argv,
		                   .in = in,
		                   .out = out,
		                   .err_fd = STDERR_FILENO,
		                   .keep = keep,
		                   .die_with_parent = true,
		                   .setsid = true };

	snprintf(number, sizeof(number), "%d", g->text);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (all[i] >= 0)
			keep[o.keep_count++] = all[i];
	return spawn(&o, &m->pid, e);
}

/* ---- what it says ---- */

static void be_done(struct metrics *m);

static void on_line(void *arg, struct str line, bool whole)
{
	struct metrics *m = arg;
	json_t *j = whole ? json_loadb(line.p, line.n, 0, NULL) : NULL;
	const char *text = json_string_value(json_object_get(j, "say"));

	if (json_is_true(json_object_get(j, "done")))
		be_done(m);
	else if (text && m->said++ < LINES_SAID)
		run_say(m->run, "%s", text);
	else if (!text)
		log_warn("bloomery-metric said '" PRIstr "'", ARGstr(line));
	json_decref(j);
}

/* Reads what is there. False at the end of file. */
static bool read_lines(struct metrics *m)
{
	char bytes[4096];
	ssize_t n;

	while (m->out >= 0 && (n = read(m->out, bytes, sizeof(bytes))) != 0) {
		if (n > 0)
			line_reader_feed(m->reader, (struct str){ bytes, (size_t)n });
		else if (errno != EINTR)
			return errno == EAGAIN;
	}
	return false;
}

static void lines_end(struct metrics *m)
{
	loop_source_free(take_ptr(m->lines));
	cleanup_closep(&m->out);
	m->out = -EBADF;
}

static void on_lines(void *arg, uint32_t events)
{
	struct metrics *m = arg;

	(void)events;
	if (!read_lines(m))
		lines_end(m);
}

/* ---- its life ---- */

static void start(struct metrics *m);

static void be_done(struct metrics *m)
{
	if (m->done)
		return;
	loop_source_free(take_ptr(m->deadline));
	loop_source_free(take_ptr(m->again));
	m->done = true;
	run_metrics_ended(m->run);
}

static void on_again(void *arg)
{
	struct metrics *m = arg;

	loop_source_free(take_ptr(m->again));
	start(m);
}

static void start_again(struct metrics *m, const char *how, int status)
{
	if (m->starts >= STARTS) {
		run_say(m->run,
		        "The metrics of this host are not complete: bloomery-metric has ended %u times, at last %s %d.",
		        m->starts, how, status);
		be_done(m);
		return;
	}
	m->again = loop_timer(m->run->loop, (int64_t)AGAIN_MS * (m->starts - 1) + 1, 0, on_again, m);
	if (!m->again)
		start(m);
}

static void on_process(void *arg, int code, int status)
{
	struct metrics *m = arg;
	const char *how = code == CLD_EXITED ? "with status" : "by signal";

	loop_source_free(take_ptr(m->process));
	m->pid = 0;
	(void)read_lines(m); /* its last words */
	lines_end(m);
	cleanup_closep(&m->end_fd);
	m->end_fd = -EBADF;
	if (m->done)
		return;
	if (m->late || (m->ending && code == CLD_EXITED && status == 0)) {
		be_done(m);
		return;
	}
	log_warn("bloomery-metric has ended %s %d", how, status);
	start_again(m, how, status);
}

static int try_start(struct metrics *m, struct err *e)
{
	_cleanup_(given_fini) struct given g = nothing;
	_cleanup_close_ int in = -EBADF, out = -EBADF;
	int ends[2];

	if (open_given(m->run, &g, e) < 0 || write_order(m->run, &g, e) < 0)
		return -1;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "making a pipe");
	in = ends[0];
	m->end_fd = ends[1];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "making a pipe");
	m->out = ends[0];
	out = ends[1];
	fd_set_nonblock(m->out, true);
	if (spawn_it(m, &g, in, out, e) < 0)
		return -1;
	m->process = loop_process(m->run->loop, m->pid, true, on_process, m);
	m->lines = loop_fd(m->run->loop, m->out, EPOLLIN, on_lines, m);
	return m->process && m->lines ? 0 : err_sys(e, "watching bloomery-metric");
}

static void start(struct metrics *m)
{
	struct err e = { 0 };
	char text[2048];

	m->starts++;
	m->said = 0;
	if (try_start(m, &e) < 0) {
		run_say(m->run, "This host has no metrics: %s.", err_text(&e, text, sizeof(text)));
		be_done(m);
	} else if (m->ending) {
		cleanup_closep(&m->end_fd);
		m->end_fd = -EBADF;
	}
}

/* ---- samples of our own ---- */

static void sample(struct metrics *m, bool last)
{
	const struct metric_place none = { 0 };
	struct err e = { 0 };

	instance_sample(m->instance, last, m->samples);
	if (!metric_out_pending(m->samples) || metric_out_write(m->samples, none, &e) == 0)
		return;
	log_err(LOG_WARN, &e, "sampling the instance");
	loop_source_free(take_ptr(m->second)); /* one that cannot be written need not be tried every second */
}

static void on_second(void *arg)
{
	sample(arg, false);
}

static int start_samples(struct metrics *m, struct err *e)
{
	_cleanup_free_ char *path = NULL;
	struct metric_left left = { 0 };

	if (open_given(m->run, &m->own, e) < 0)
		return -1;
	path = strf("/proc/self/fd/%d/%s", m->own.order.metrics, m->run->spec.host_name);
	if (metric_out_open(path, &m->samples, &left, e) < 0)
		return -1;
	metric_left_fini(&left);
	m->instance = instance_new(&m->own.order.instance);
	m->second = loop_timer(m->run->loop, SAMPLE_MS, SAMPLE_MS, on_second, m);
	if (!m->second)
		return err_sys(e, "setting the time of samples");
	sample(m, false);
	return 0;
}

/* The last one; before anything of what it looks at is undone. The file is synced when the end has been told. */
static void end_samples(struct metrics *m)
{
	loop_source_free(take_ptr(m->second));
	if (m->instance)
		sample(m, true);
	instance_free(take_ptr(m->instance));
	given_fini(&m->own);
	m->own = nothing;
}

/* ---- from outside ---- */

void metrics_start(struct run *r)
{
	struct metrics *m = r->metrics = xcalloc(1, sizeof(*m));
	struct err e = { 0 };
	char text[2048];

	m->run = r;
	m->own = nothing;
	m->end_fd = m->out = -EBADF;
	if (needs_program(r)) {
		m->reader = line_reader_new(LINE_MAX_BYTES, on_line, m);
		start(m);
	} else if (start_samples(m, &e) < 0) {
		run_say(r, "This host has no metrics: %s.", err_text(&e, text, sizeof(text)));
		end_samples(m);
		m->done = true;
	}
}

static void on_late(void *arg)
{
	struct metrics *m = arg;

	run_say(m->run,
	        "The metrics of this host are not complete: not all of its log had been looked at %d s after its end.",
	        END_MS / 1000);
	m->late = true;
	if (m->pid > 0)
		kill(m->pid, SIGKILL); /* it has things open that are to be undone, so its end is waited for */
	else
		be_done(m);
}

void metrics_end(struct run *r)
{
	struct metrics *m = r->metrics;

	if (!m || m->ending || m->done)
		return;
	m->ending = true;
	if (!m->reader) {
		end_samples(m);
		m->done = true;
		return;
	}
	cleanup_closep(&m->end_fd);
	m->end_fd = -EBADF;
	m->deadline = loop_timer(r->loop, END_MS, 0, on_late, m);
	if (!m->deadline)
		on_late(m); /* rather at once than never */
}

bool metrics_ended(const struct run *r)
{
	return !r->metrics || r->metrics->done;
}

void metrics_free(struct run *r)
{
	struct metrics *m = r->metrics;

	if (!m)
		return;
	loop_source_free(m->process);
	loop_source_free(m->again);
	loop_source_free(m->deadline);
	lines_end(m);
	cleanup_closep(&m->end_fd);
	if (m->pid > 0) {
		kill(m->pid, SIGKILL);
		while (waitpid(m->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	end_samples(m);
	metric_out_close(m->samples);
	line_reader_free(m->reader);
	free(m);
	r->metrics = NULL;
}
