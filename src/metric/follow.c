/* SPDX-License-Identifier: Apache-2.0 */
#include "metric/follow.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/fd.h"
#include "base/log.h"
#include "loop/loop.h"
#include "metric/extract.h"
#include "metric/instance.h"
#include "metric/order.h"
#include "metric/tracker.h"
#include "metric/words.h"

enum {
	SAMPLE_MS = 1000,
	PAUSE_MS = 20,          /* between two looks at a log that grows */
	PART_BYTES = 4 << 20,   /* of the log at a time, so that samples come in time */
	FILES_BYTES = 4 << 20,  /* of files of metrics a second */
	FILES_LAST = 16,        /* times that, at the end */
	COUNTS_LEAST_MS = 1000, /* between two notes of the counts */
	COUNTS_MOST_MS = 30000,
	LATE_LINES = 10000, /* by then, or after that time, something should have matched */
	LATE_MS = 60000
};

struct follow {
	struct metric_order order;
	int end_fd, say_fd, inotify_fd, gpu_fd;
	struct metric_set *set;
	struct metric_out *out;
	struct extract *extract; /* NULL: there are no definitions */
	struct instance *instance;
	struct tracker *tracker; /* NULL: no files */
	struct loop *loop;
	struct loop_source *end, *change, *pause, *second;
	struct mono started, looked, counted;
	bool posted, failed;
	struct err why;
};

/* ---- saying ---- */

static void say(void *arg, const char *text)
{
	struct follow *f = arg;
	json_t *j = json_pack("{s:s}", "say", text);
	_cleanup_free_ char *text_json = NULL;
	_cleanup_buf_ struct buf line = { 0 };
	struct err e = { 0 };

	if (!j) /* what a container has named is not always UTF-8 */
		return;
	text_json = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	must(text_json);
	buf_f(&line, "%s\n", text_json);
	if (fd_write_all(f->say_fd, line.p, line.n, &e) < 0)
		log_err(LOG_WARN, &e, "telling the supervisor");
}

static void say_lines(struct follow *f, const struct buf *b)
{
	struct str rest = buf_view(b);

	while (rest.n) {
		_cleanup_free_ char *line = str_dup(str_cut(&rest, '\n'));

		say(f, line);
	}
}

static void say_now(struct follow *f)
{
	_cleanup_buf_ struct buf b = { 0 };

	for (size_t i = 0; f->extract && i < metric_set_count(f->set); i++) {
		const struct metric_counts *c = metric_set_counts(f->set, i);

		metric_words_now(f->set, i, c->lines >= LATE_LINES || mono_ms_since(f->started) >= LATE_MS, &b);
	}
	say_lines(f, &b);
}

static void say_end(struct follow *f)
{
	_cleanup_buf_ struct buf b = { 0 };

	for (size_t i = 0; f->extract && i < metric_set_count(f->set); i++)
		metric_words_end(f->set, i, &b);
	say_lines(f, &b);
}

/* ---- working ---- */

static int write_out(struct follow *f, bool with_counts, struct err *e)
{
	struct metric_place none = { 0 };

	if (with_counts && f->tracker && f->extract)
		tracker_note(f->tracker, f->out);
	if (f->extract)
		return extract_write(f->extract, with_counts, e);
	return metric_out_write(f->out, none, e);
}

static void give_up(struct follow *f, const struct err *why)
{
	f->failed = true;
	f->why = *why;
	loop_stop(f->loop);
}

/* What the log has got more: 1 when there may be more of it. */
static int look(struct follow *f, struct err *e)
{
	int rc = f->extract ? extract_more(f->extract, PART_BYTES, e) : 0;

	f->looked = mono_now();
	if (rc < 0 || (metric_out_pending(f->out) && write_out(f, false, e) < 0))
		return -1;
	return rc;
}

static void look_again(void *arg);

static void look_now(struct follow *f)
{
	struct err e = { 0 };
	int rc = look(f, &e);

	if (rc < 0) {
		give_up(f, &e);
	} else if (rc > 0 && !f->posted) {
		f->posted = true;
		loop_post(f->loop, look_again, f);
	}
}

static void look_again(void *arg)
{
	struct follow *f = arg;

	f->posted = false;
	if (!f->failed)
		look_now(f);
}

/* A log that grows all the time is looked at every PAUSE_MS. */
static void on_change(void *arg, uint32_t events)
{
	struct follow *f = arg;
	char bytes[4096];

	(void)events;
	while (read(f->inotify_fd, bytes, sizeof(bytes)) > 0)
		;
	if (mono_ms_since(f->looked) < PAUSE_MS) {
		loop_fd_events(f->change, 0);
		loop_timer_set(f->pause, PAUSE_MS, 0);
	} else {
		look_now(f);
	}
}

static void on_pause_over(void *arg)
{
	struct follow *f = arg;

	loop_fd_events(f->change, EPOLLIN);
	look_now(f);
}

static int read_files(struct follow *f, bool last, struct err *e)
{
	int more = 1;

	for (unsigned i = 0; f->tracker && more && i < (last ? FILES_LAST : 1U); i++) {
		size_t left = FILES_BYTES;

		/* What is put together is written in between, with how far its files are read. */
		do {
			more = tracker_read(f->tracker, left, last, f->out);
			left -= left < METRIC_FRAME_BYTES ? left : METRIC_FRAME_BYTES;
			if (metric_out_pending(f->out) && write_out(f, false, e) < 0)
				return -1;
		} while (more && left);
	}
	return 0;
}

/* The counts need not be written as often as a job is old. */
static bool counts_due(struct follow *f)
{
	int64_t pause = mono_ms_since(f->started) / 20;

	pause = pause < COUNTS_LEAST_MS ? COUNTS_LEAST_MS : pause > COUNTS_MOST_MS ? COUNTS_MOST_MS : pause;
	if (!f->extract || !extract_moved(f->extract) || mono_ms_since(f->counted) < pause)
		return false;
	f->counted = mono_now();
	return true;
}

static void on_second(void *arg)
{
	struct follow *f = arg;
	struct err e = { 0 };
	bool due;

	if (f->failed)
		return;
	say_now(f);
	due = counts_due(f);
	instance_sample(f->instance, false, f->out);
	if (((metric_out_pending(f->out) || due) && write_out(f, due, &e) < 0) || read_files(f, false, &e) < 0)
		give_up(f, &e);
}

/* From here on nothing of the container is open, and nobody need wait for us: what is left is to sync the file. */
static void say_done(struct follow *f)
{
	const struct instance_sources *s = &f->order.instance;
	const int all[] = { s->cpu, s->memory, s->io, s->net, s->volume, f->order.root };
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (all[i] >= 0)
			close(all[i]);
	if (fd_write_all(f->say_fd, "{\"done\":true}\n", 14, &e) < 0)
		log_err(LOG_WARN, &e, "telling the supervisor");
}

static int finish(struct follow *f, struct err *e)
{
	int rc;

	while ((rc = look(f, e)) > 0)
		;
	if (rc < 0 || (f->extract && extract_end(f->extract, e) < 0) || read_files(f, true, e) < 0)
		return -1;
	instance_sample(f->instance, true, f->out);
	say_end(f);
	return write_out(f, true, e);
}

static void on_end(void *arg, uint32_t events)
{
	struct follow *f = arg;
	struct err e = { 0 };
	char byte;

	(void)events;
	if (f->failed || (read(f->end_fd, &byte, 1) < 0 && (errno == EINTR || errno == EAGAIN)))
		return;
	if (finish(f, &e) < 0)
		give_up(f, &e);
	else
		say_done(f);
	loop_stop(f->loop);
}

/* ---- starting ---- */

static bool find_program(const char *name, char **ret)
{
	struct str path = str_of(getenv("PATH"));

	while (path.n) {
		struct str dir = str_cut(&path, ':');
		_cleanup_free_ char *file = dir.n ? strf(PRIstr "/%s", ARGstr(dir), name) : NULL;

		if (file && access(file, X_OK) == 0) {
			*ret = take_ptr(file);
			return true;
		}
	}
	return false;
}

/* "--id=0,GPU-..." */
static char *gpus_option(const json_t *gpus)
{
	struct buf b = { 0 };
	const json_t *gpu;
	size_t i;

	buf_z(&b, "--id=");
	json_array_foreach (gpus, i, gpu)
		buf_f(&b, "%s%s", i ? "," : "", json_string_value(gpu) ? json_string_value(gpu) : "");
	return buf_take(&b);
}

/* nvidia-smi tells of itself every second, and dies with us. */
static void start_gpu(struct follow *f)
{
	_cleanup_free_ char *program = NULL, *gpus = gpus_option(f->order.gpus);
	_cleanup_close_ int reader = -EBADF, writer = -EBADF;
	const char *const argv[] = { "nvidia-smi", INSTANCE_GPU_QUERY, "--format=csv,noheader,nounits",
		                     gpus,         "--loop=1",         NULL };
	struct spawn_options o = { .argv = argv, .in = -1, .err_fd = -1, .die_with_parent = true };
	struct err e = { 0 };
	int ends[2];
	pid_t pid;

	if (!json_array_size(f->order.gpus) || !find_program(argv[0], &program) || pipe2(ends, O_CLOEXEC) < 0)
		return;
	reader = ends[0];
	writer = ends[1];
	o.path = program;
	o.out = writer;
	fd_set_nonblock(reader, true);
	if (spawn(&o, &pid, &e) < 0) {
		log_err(LOG_WARN, &e, "starting nvidia-smi");
		return;
	}
	f->gpu_fd = f->order.instance.gpu = take_fd(reader);
}

static int open_files(struct follow *f, struct metric_left *left, struct err *e)
{
	_cleanup_free_ char *log = strf("/proc/self/fd/%d/%s", f->order.log, f->order.host);
	_cleanup_free_ char *metrics = strf("/proc/self/fd/%d/%s", f->order.metrics, f->order.host);
	_cleanup_free_ char *watched = strf("/proc/self/fd/%d", f->order.log);
	struct metric_definition definitions[METRIC_DEFINITIONS_MAX];
	size_t n = metric_order_definitions(&f->order, definitions);

	if (metric_set_new(definitions, n, &f->set, e) < 0 || metric_out_open(metrics, &f->out, left, e) < 0)
		return -1;
	if (n == 0)
		return 0;
	f->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (f->inotify_fd < 0 || inotify_add_watch(f->inotify_fd, watched, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
		return err_sys(e, "watching the log");
	return extract_open(log, f->set, f->out, left, &f->extract, e);
}

static int start(struct follow *f, struct err *e)
{
	struct metric_left left = { 0 };
	int rc = open_files(f, &left, e);

	if (rc == 0) {
		start_gpu(f);
		f->instance = instance_new(&f->order.instance);
		if (f->order.root >= 0)
			f->tracker = tracker_new(f->order.root, left.files, say, f);
		rc = confine_writer(f->order.metrics, e);
	}
	metric_left_fini(&left);
	if (rc < 0)
		return -1;
	f->loop = loop_new();
	f->end = loop_fd(f->loop, f->end_fd, EPOLLIN, on_end, f);
	f->second = loop_timer(f->loop, SAMPLE_MS, SAMPLE_MS, on_second, f);
	if (f->extract) {
		f->change = loop_fd(f->loop, f->inotify_fd, EPOLLIN, on_change, f);
		f->pause = loop_timer(f->loop, -1, 0, on_pause_over, f);
	}
	if (!f->end || !f->second || (f->extract && (!f->change || !f->pause)))
		return err_sys(e, "watching");
	instance_sample(f->instance, false, f->out);
	return look(f, e) < 0 ? -1 : 0;
}

static void follow_fini(struct follow *f)
{
	loop_source_free(f->end);
	loop_source_free(f->change);
	loop_source_free(f->pause);
	loop_source_free(f->second);
	loop_free(f->loop);
	extract_close(f->extract);
	metric_out_close(f->out);
	metric_set_free(f->set);
	instance_free(f->instance);
	tracker_free(f->tracker);
	cleanup_closep(&f->inotify_fd);
	cleanup_closep(&f->gpu_fd);
	metric_order_fini(&f->order);
}

int follow_main(int order_fd, int end_fd, int say_fd)
{
	struct follow f = { .end_fd = end_fd, .say_fd = say_fd, .inotify_fd = -EBADF, .gpu_fd = -EBADF };
	struct err e = { 0 };
	int rc;

	f.started = f.counted = mono_now();
	rc = metric_order_read(order_fd, &f.order, &e);
	if (rc == 0)
		rc = start(&f, &e);
	if (rc == 0)
		look_again(&f);
	if (rc == 0)
		rc = loop_run(f.loop, &e);
	if (rc == 0 && f.failed) {
		e = f.why;
		rc = -1;
	}
	if (rc < 0)
		log_err(LOG_ERROR, &e, "the metrics of a host");
	follow_fini(&f);
	return rc < 0 ? 1 : 0;
}
