/* SPDX-License-Identifier: Apache-2.0 */
#include "run/feeders.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "channel/channel.h"
#include "channel/feeder.h"
#include "fuse/fastfile.h"
#include "run/feeds.h"
#include "run/phase.h"
#include "run/reason.h"

enum { READY_MS = 120000, END_MS = 2000, LINE_MAX_BYTES = 64 << 10, TROUBLES_SAID = 10, TROUBLE_MAX = 300 };

struct feeder {
	struct feeders *all;
	size_t channel; /* index in the specification */
	const struct channel_spec *ch;
	const char *program;
	pid_t pid; /* 0: not started, or reaped */
	int out;   /* its stdout; -EBADF: at its end */
	struct loop_source *process, *lines;
	struct line_reader *reader;
	bool ready, killed, mounted;
	bool gave_up; /* it has said an error, which is `why` */
	struct err why;
	uint64_t troubles;
	char *trouble; /* the first */
};

struct feeders {
	struct run *run;
	bool starting; /* the phase waits for all to be ready */
	bool ending;   /* they have been told to end */
	bool failed;
	struct err why;
	struct loop_source *deadline;
	size_t count;
	struct feeder feeder[SPEC_MAX_CHANNELS];
};

/* ---- failing ---- */

/* A feeder may have begun with its channel's name, as is said before it here. */
static struct str without_name(const struct feeder *f, struct str s)
{
	struct str rest = s;

	if (str_skip(&rest, STR("channel ")) && str_skip(&rest, str_of(f->ch->name)) &&
	    (str_skip(&rest, STR(": ")) || str_skip(&rest, STR(", "))))
		return rest;
	return s;
}

/* The service's words where it is the data's fault (contract 2.3); the channel's name in any case. */
static void word_failure(const struct feeder *f, const struct err *why, struct err *ret)
{
	char text[4096];
	struct str s = str_of(err_text(why, text, sizeof(text)));

	*ret = (struct err){ 0 };
	str_skip(&s, STR("Data download failed:"));
	s = without_name(f, s);
	if (why->kind == ERR_IO || why->kind == ERR_BUG || why->kind == ERR_BUSY)
		err_set(ret, why->kind, "channel '%s': " PRIstr, f->ch->name, ARGstr(s));
	else
		err_set(ret, ERR_CLIENT, "Data download failed:channel '%s': " PRIstr, f->ch->name, ARGstr(s));
}

static void feeder_failed(struct feeder *f, const struct err *why)
{
	struct feeders *all = f->all;
	struct run *r = all->run;

	if (all->failed) /* one is enough; the others fail by being ended */
		return;
	all->failed = true;
	word_failure(f, why, &all->why);
	if (all->starting) {
		all->starting = false;
		loop_source_free(take_ptr(all->deadline));
		run_failed(r, &all->why);
	} else if (!all->ending) {
		training_failed(r, &all->why);
	}
}

const struct err *feeders_failure(const struct run *r)
{
	return r->feeders && r->feeders->failed ? &r->feeders->why : NULL;
}

/* ---- what they say ---- */

static void be_ready(struct feeder *f)
{
	struct feeders *all = f->all;

	f->ready = true;
	for (size_t i = 0; i < all->count; i++)
		if (!all->feeder[i].ready)
			return;
	if (!all->starting)
		return;
	all->starting = false;
	loop_source_free(take_ptr(all->deadline));
	run_next(all->run);
}

static void take_trouble(struct feeder *f, const char *text)
{
	text = without_name(f, str_of(text)).p;
	f->troubles++;
	if (!f->trouble)
		f->trouble = xstrdup(text);
	if (f->troubles <= TROUBLES_SAID)
		run_say(f->all->run, "channel '%s': %s", f->ch->name, text);
	if (f->troubles == TROUBLES_SAID)
		run_say(f->all->run, "channel '%s': more of the like is not said here.", f->ch->name);
}

void feeders_trouble(const struct run *r, struct buf *out)
{
	for (size_t i = 0; r->feeders && i < r->feeders->count; i++) {
		const struct feeder *f = &r->feeders->feeder[i];

		if (!f->trouble)
			continue;
		buf_f(out, "%sChannel '%s': ", out->n ? " " : "", f->ch->name);
		reason_clean(str_of(f->trouble), TROUBLE_MAX, out);
		if (f->troubles > 1)
			buf_f(out, " (the first of %llu failures)", (unsigned long long)f->troubles);
		if (out->p[out->n - 1] != '.')
			buf_c(out, '.');
	}
}

static void on_line(void *arg, struct str line, bool whole)
{
	struct feeder *f = arg;
	struct feeder_answer answer = { 0 };
	struct err e = { 0 };

	if (!whole || feeder_answer_parse(line, &answer, &e) < 0) {
		log_warn("channel %s: %s said '" PRIstr "'", f->ch->name, f->program, ARGstr(line));
		buf_fini(&answer.text);
		return;
	}
	switch (answer.word) {
	case FEEDER_READY: be_ready(f); break;
	case FEEDER_FEED: feeds_told(f->all->run, f->channel, &answer.feed); break;
	case FEEDER_TROUBLE: take_trouble(f, answer.text.p); break;
	case FEEDER_ERROR:
		f->gave_up = true;
		f->why = (struct err){ 0 };
		err_set(&f->why, answer.kind, "%s", answer.text.p);
		break;
	}
	buf_fini(&answer.text);
}

static void lines_end(struct feeder *f)
{
	loop_source_free(take_ptr(f->lines));
	cleanup_closep(&f->out);
	f->out = -EBADF;
}

/* Reads what is there. False at the end of file. */
static bool read_lines(struct feeder *f)
{
	char bytes[4096];
	ssize_t n;

	if (f->out < 0)
		return false;
	while ((n = read(f->out, bytes, sizeof(bytes))) != 0) {
		if (n > 0)
			line_reader_feed(f->reader, (struct str){ bytes, (size_t)n });
		else if (errno != EINTR)
			return errno == EAGAIN;
	}
	return false;
}

static void on_lines(void *arg, uint32_t events)
{
	struct feeder *f = arg;

	(void)events;
	if (!read_lines(f)) {
		line_reader_flush(f->reader);
		lines_end(f);
	}
	/* Its end follows, but need not be waited for. */
	if (f->gave_up && !f->all->failed && !f->all->ending)
		feeder_failed(f, &f->why);
}

/* ---- their end ---- */

/* How it ended, when it should not have. 0: as it should. */
static int look_at_end(struct feeder *f, int code, int status, struct err *e)
{
	bool told = f->all->ending;

	if (f->gave_up) {
		*e = f->why;
		return -1;
	}
	if (told && ((code == CLD_EXITED && status == 0) || (code != CLD_EXITED && status == SIGTERM)))
		return 0;
	if (f->killed && code != CLD_EXITED && status == SIGKILL)
		return 0;
	if (code == CLD_EXITED)
		return err_set(e, ERR_IO, "%s, which fed it, ended with status %d%s", f->program, status,
		               told       ? ""
		               : f->ready ? " before the container did"
		                          : " before the data could be read");
	return err_set(e, ERR_IO, "%s, which fed it, was killed by %s", f->program, reason_signal(status));
}

static void on_process(void *arg, int code, int status)
{
	struct feeder *f = arg;
	struct feeders *all = f->all;
	struct run *r = all->run;
	struct err e = { 0 };

	loop_source_free(take_ptr(f->process));
	f->pid = 0;
	(void)read_lines(f); /* its last words */
	line_reader_flush(f->reader);
	lines_end(f);
	if (look_at_end(f, code, status, &e) < 0)
		feeder_failed(f, &e);
	if (all->ending && feeders_ended(r)) {
		loop_source_free(take_ptr(all->deadline));
		training_feeders_ended(r);
	}
}

const struct err *feeders_look(struct run *r)
{
	for (size_t i = 0; r->feeders && i < r->feeders->count; i++) {
		struct feeder *f = &r->feeders->feeder[i];
		siginfo_t info = { 0 };
		struct err e = { 0 };

		if (f->pid <= 0 || waitid(P_PID, (id_t)f->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || !info.si_pid)
			continue;
		(void)read_lines(f);
		if (look_at_end(f, info.si_code, info.si_status, &e) < 0)
			feeder_failed(f, &e);
	}
	return feeders_failure(r);
}

bool feeders_ended(const struct run *r)
{
	for (size_t i = 0; r->feeders && i < r->feeders->count; i++)
		if (r->feeders->feeder[i].pid > 0)
			return false;
	return true;
}

static void on_end_late(void *arg)
{
	struct feeders *all = arg;

	loop_source_free(take_ptr(all->deadline));
	for (size_t i = 0; i < all->count; i++) {
		struct feeder *f = &all->feeder[i];

		if (f->pid <= 0)
			continue;
		log_warn("channel %s: %s has not ended %d s after SIGTERM", f->ch->name, f->program, END_MS / 1000);
		f->killed = true;
		kill(f->pid, SIGKILL);
	}
}

void feeders_end(struct run *r)
{
	struct feeders *all = r->feeders;

	if (!all || all->ending)
		return;
	all->ending = true;
	if (feeders_ended(r))
		return;
	for (size_t i = 0; i < all->count; i++)
		if (all->feeder[i].pid > 0)
			kill(all->feeder[i].pid, SIGTERM);
	all->deadline = loop_timer(r->loop, END_MS, 0, on_end_late, all);
	if (!all->deadline)
		on_end_late(all); /* rather at once than never */
}

void feeders_kill(struct run *r)
{
	for (size_t i = 0; r->feeders && i < r->feeders->count; i++) {
		struct feeder *f = &r->feeders->feeder[i];

		loop_source_free(take_ptr(f->process));
		if (f->pid > 0)
			kill(f->pid, SIGKILL);
	}
	for (size_t i = 0; r->feeders && i < r->feeders->count; i++) {
		struct feeder *f = &r->feeders->feeder[i];

		while (f->pid > 0 && waitpid(f->pid, NULL, 0) < 0 && errno == EINTR)
			;
		f->pid = 0;
		lines_end(f);
	}
}

void feeders_free(struct run *r)
{
	struct feeders *all = r->feeders;

	if (!all)
		return;
	feeders_kill(r);
	loop_source_free(all->deadline);
	for (size_t i = 0; i < all->count; i++) {
		struct feeder *f = &all->feeder[i];
		_cleanup_free_ char *point = strf("fast/%s", f->ch->name);

		if (f->mounted && umount2(point, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			log_warn("unmounting %s: %s", point, strerror(errno));
		line_reader_free(f->reader);
		free(f->trouble);
	}
	free(all);
	r->feeders = NULL;
}

/* ---- starting ---- */

/* The file system, without anybody who serves it yet; the descriptor that its server is to have. */
static int mount_fuse(struct feeder *f, struct err *e)
{
	_cleanup_free_ char *point = strf("fast/%s", f->ch->name);
	int fd = -EBADF;

	if (mkdir_all(AT_FDCWD, point, 0755, e) < 0 || fastfile_mount(point, "bloomery", &fd, e) < 0)
		return -1;
	f->mounted = true;
	return fd;
}

struct descriptors {
	int list, objects, data, spool, fuse;
};

static void descriptors_fini(struct descriptors *d)
{
	cleanup_closep(&d->list);
	cleanup_closep(&d->objects);
	cleanup_closep(&d->data);
	cleanup_closep(&d->spool);
	cleanup_closep(&d->fuse);
}

/* Where Pipe's FIFOs are made: through the container's own root, as a FIFO of the layer below is another pipe. And
 * where it may keep what does not fit into memory: on the job's volume. */
static int open_for_pipe(struct run *r, struct descriptors *d, struct err *e)
{
	_cleanup_close_ int rootfs = openat(r->work_fd, "rootfs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (rootfs < 0)
		return err_sys(e, "opening the container's root");
	d->data = inside_open(rootfs, "/opt/ml/input/data", O_RDONLY | O_DIRECTORY, e);
	if (d->data < 0)
		return -1;
	if (mkdirat(r->work_fd, "volume/spool", 0700) < 0 && errno != EEXIST)
		return err_sys(e, "making a directory for what is unpacked");
	d->spool = openat(r->work_fd, "volume/spool", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return d->spool < 0 ? err_sys(e, "opening the directory for what is unpacked") : 0;
}

static int open_descriptors(struct feeder *f, enum channel_way way, struct descriptors *d, struct err *e)
{
	struct run *r = f->all->run;
	_cleanup_free_ char *objects = strf("%s/objects", r->data_dir);

	d->list = channel_open_list(f->ch, r->job_fd, e);
	if (d->list < 0)
		return -1;
	if (f->ch->place == PLACE_EMBEDDED) {
		d->objects = open(objects, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (d->objects < 0)
			return err_sys(e, "opening the object store");
	}
	if (way == CHANNEL_PIPED)
		return open_for_pipe(r, d, e);
	d->fuse = mount_fuse(f, e);
	return d->fuse < 0 ? -1 : 0;
}

static char *order_text(const struct feeder *f, const struct descriptors *d)
{
	const struct channel_spec *ch = f->ch;
	const struct s3_target none = { 0 };
	struct feeder_order o = {
		.channel = ch->name,
		.input_mode = ch->input_mode,
		.place = ch->place,
		.bucket = ch->bucket,
		.prefix = ch->prefix,
		.lines = ch->s3_data_type && strcmp(ch->s3_data_type, "AugmentedManifestFile") == 0,
		.record_io = strcmp(ch->record_wrapper, "RecordIO") == 0,
		.gzip = strcmp(ch->compression, "Gzip") == 0,
		.order = unit_order_of(ch),
		.s3 = ch->place == PLACE_REMOTE ? f->all->run->spec.s3 : none,
		.list_fd = d->list,
		.objects_fd = d->objects,
		.data_fd = d->data,
		.spool_fd = d->spool,
		.fuse_fd = d->fuse,
	};

	return feeder_order_text(&o);
}

/* A pipe that holds the order already: it is far less than a pipe takes. */
static int order_fd(const struct feeder *f, const struct descriptors *d, struct err *e)
{
	_cleanup_free_ char *text = order_text(f, d);
	_cleanup_close_ int writer = -EBADF, reader = -EBADF;
	int ends[2], rc;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "making a pipe");
	reader = ends[0];
	writer = ends[1];
	rc = fd_write_all(writer, text, strlen(text), e);
	explicit_bzero(text, strlen(text));
	return rc < 0 ? -1 : take_fd(reader);
}

static int spawn_feeder(struct feeder *f, enum channel_way way, const struct descriptors *d, int out, struct err *e)
{
	struct run *r = f->all->run;
	_cleanup_close_ int in = order_fd(f, d, e);
	_cleanup_free_ char *program = strf("%s/%s", r->programs_dir, f->program);
	const char *const argv[] = { program, way == CHANNEL_PIPED ? "pipe" : NULL, NULL };
	const int all[] = { d->list, d->objects, d->data, d->spool, d->fuse };
	int keep[ARRAY_LEN(all)];
	struct spawn_options o = { .argv = argv,
		                   .in = in,
		                   .out = out,
		                   .err_fd = STDERR_FILENO,
		                   .keep = keep,
		                   .die_with_parent = true,
		                   .setsid = true };

	if (in < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (all[i] >= 0)
			keep[o.keep_count++] = all[i];
	return spawn(&o, &f->pid, e);
}

static int start_feeder(struct feeder *f, enum channel_way way, struct err *e)
{
	struct run *r = f->all->run;
	_cleanup_(descriptors_fini) struct descriptors d = { -EBADF, -EBADF, -EBADF, -EBADF, -EBADF };
	_cleanup_close_ int writer = -EBADF;
	int ends[2];

	f->program = way == CHANNEL_PIPED ? "bloomery-fetch" : "bloomery-fuse";
	if (open_descriptors(f, way, &d, e) < 0)
		return -1;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "making a pipe");
	f->out = ends[0];
	writer = ends[1];
	fd_set_nonblock(f->out, true);
	f->reader = line_reader_new(LINE_MAX_BYTES, on_line, f);
	if (spawn_feeder(f, way, &d, writer, e) < 0)
		return -1;
	f->process = loop_process(r->loop, f->pid, true, on_process, f);
	f->lines = loop_fd(r->loop, f->out, EPOLLIN, on_lines, f);
	return f->process && f->lines ? 0 : err_sys(e, "watching %s", f->program);
}

static void on_not_ready(void *arg)
{
	struct feeders *all = arg;
	struct err e = { 0 };

	for (size_t i = 0; i < all->count; i++) {
		struct feeder *f = &all->feeder[i];

		if (f->ready)
			continue;
		err_set(&e, ERR_IO, "%s has not got the data ready to be read within %d s", f->program,
		        READY_MS / 1000);
		feeder_failed(f, &e);
		return;
	}
}

/* ---- the phase ---- */

static bool is_fed(const struct run *r, size_t channel)
{
	enum channel_way way = channel_way(&r->spec.channels[channel], &r->spec);

	return way == CHANNEL_PIPED || way == CHANNEL_FUSED;
}

enum step phase_feeders(struct run *r, struct err *e)
{
	struct feeders *all;
	struct err why = { 0 };
	size_t fed = 0;

	for (size_t i = 0; i < r->spec.channel_count; i++)
		fed += is_fed(r, i);
	if (fed == 0)
		return STEP_NEXT;
	all = r->feeders = xcalloc(1, sizeof(*all));
	all->run = r;
	for (size_t i = 0; i < r->spec.channel_count; i++) {
		struct feeder *f = &all->feeder[all->count];

		if (!is_fed(r, i))
			continue;
		*f = (struct feeder){ .all = all, .channel = i, .ch = &r->spec.channels[i], .out = -EBADF };
		all->count++;
		if (start_feeder(f, channel_way(f->ch, &r->spec), &why) < 0) {
			word_failure(f, &why, e);
			return STEP_FAIL;
		}
	}
	all->starting = true;
	all->deadline = loop_timer(r->loop, READY_MS, 0, on_not_ready, all);
	if (!all->deadline) {
		all->starting = false;
		err_sys(e, "setting the time for the channels to be ready");
		return STEP_FAIL;
	}
	return STEP_WAIT;
}

void stop_feeders(struct run *r)
{
	struct err e = { 0 };

	if (!r->feeders || !r->feeders->starting)
		return;
	r->feeders->starting = false;
	loop_source_free(take_ptr(r->feeders->deadline));
	feeders_kill(r);
	err_set(&e, ERR_BUSY, "stopped");
	run_failed(r, &e);
}

void undo_feeders(struct run *r)
{
	feeders_free(r);
}
