/* What the container prints: both of its pipes, read as it comes, into the job's log, until both have ended.
 *
 * Memory is bounded: whole lines go to the log as they are read, the start of a line is kept up to LINE_MAX_BYTES and
 * is then handed over as a piece. What is kept of a line for longer than a moment, a progress bar say, is in the log as
 * a draft (joblog.h), so that it is not lost with us: whoever prints whole lines pays a timer for that. A log that
 * cannot be written is said once and does not stop the reading, as the container would block on a full pipe.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "run/phase.h"

enum { LINE_MAX_BYTES = JOBLOG_DRAFT_MAX, READ_BYTES = 128 << 10, PIPE_BYTES = 1 << 20, DRAFT_MS = 40 };

struct stream {
	struct output *output;
	int fd; /* -EBADF: ended */
	struct loop_source *source;
	struct buf kept;      /* the start of a line */
	size_t drafted;       /* bytes of it that are in the log as drafts */
	uint64_t drafted_at;  /* where those begin */
	uint64_t line, timed; /* which line it is, which one it was when the timer last looked */
};

struct output {
	struct box *box;
	void (*ended)(struct box *b);
	struct stream streams[2];
	char *bytes; /* READ_BYTES, used by both */
	struct loop_source *timer;
	bool timer_set;
	bool log_failed;
};

static void check_stored(struct output *o, int rc, const struct err *e)
{
	if (rc == 0 || o->log_failed)
		return;
	log_err(LOG_ERROR, e, "the container's output is being lost");
	o->log_failed = true;
}

static void store(struct output *o, struct str bytes)
{
	struct err e = { 0 };

	if (bytes.n)
		check_stored(o, joblog_add_lines(o->box->log, wall_now(), LOG_FROM_CONTAINER, bytes, &e), &e);
}

static unsigned pipe_of(const struct stream *s)
{
	return (unsigned)(s - s->output->streams);
}

static void store_kept(struct stream *s)
{
	struct err e = { 0 };

	if (s->drafted)
		check_stored(s->output,
		             joblog_add_drafted(s->output->box->log, wall_now(), pipe_of(s), buf_view(&s->kept), &e),
		             &e);
	else
		store(s->output, buf_view(&s->kept));
	buf_reset(&s->kept);
	s->drafted = 0;
}

/* ---- drafts ---- */

/* Nothing is lost yet when it fails, and with what comes next it is tried again. */
static void draft(struct stream *s, bool all)
{
	struct joblog *log = s->output->box->log;
	size_t from = all ? 0 : s->drafted;
	uint64_t at = joblog_end(log);

	if (joblog_draft(log, wall_now(), pipe_of(s), all, (struct str){ s->kept.p + from, s->kept.n - from }, NULL) <
	    0)
		return;
	s->drafted = s->kept.n;
	if (all)
		s->drafted_at = at;
}

static void set_timer(struct output *o)
{
	if (!o->timer_set)
		loop_timer_set(o->timer, DRAFT_MS, 0);
	o->timer_set = true;
}

/* A line that is still the one which it was the last time has waited long enough. */
static void on_moment_over(void *arg)
{
	struct output *o = arg;

	o->timer_set = false;
	for (size_t i = 0; i < ARRAY_LEN(o->streams); i++) {
		struct stream *s = &o->streams[i];

		if (s->kept.n == s->drafted)
			continue;
		if (s->timed == s->line)
			draft(s, s->drafted == 0);
		else
			set_timer(o);
		s->timed = s->line;
	}
}

/* A draft that everything else has gone past is written again, so that it is found. */
static void draft_far(struct output *o)
{
	for (size_t i = 0; i < ARRAY_LEN(o->streams); i++) {
		struct stream *s = &o->streams[i];

		if (s->drafted && joblog_end(o->box->log) - s->drafted_at > JOBLOG_DRAFT_FAR)
			draft(s, true);
	}
}

/* ---- reading ---- */

/* Whole lines to the log, the rest is kept. */
static void take(struct stream *s, struct str bytes)
{
	const char *last = memrchr(bytes.p, '\n', bytes.n);
	size_t n = last ? (size_t)(last - bytes.p) + 1 : 0;

	if (n && s->kept.n) {
		const char *first = memchr(bytes.p, '\n', bytes.n);
		size_t end = (size_t)(first - bytes.p) + 1;

		buf_add(&s->kept, bytes.p, end);
		store_kept(s);
		store(s->output, (struct str){ bytes.p + end, n - end });
	} else {
		store(s->output, (struct str){ bytes.p, n });
	}
	if (n)
		s->line++;
	buf_add(&s->kept, bytes.p + n, bytes.n - n);
	if (s->kept.n >= LINE_MAX_BYTES)
		store_kept(s);
	else if (s->kept.n > s->drafted)
		set_timer(s->output);
	draft_far(s->output);
}

static void stream_end(struct stream *s)
{
	store_kept(s);
	buf_fini(&s->kept);
	loop_source_free(take_ptr(s->source));
	cleanup_closep(&s->fd);
	s->fd = -EBADF;
}

static void output_at_end(struct output *o);

static void on_bytes(void *arg, uint32_t events)
{
	struct stream *s = arg;
	ssize_t n = read(s->fd, s->output->bytes, READ_BYTES);

	(void)events;
	if (n > 0) {
		take(s, (struct str){ s->output->bytes, (size_t)n });
		return;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	stream_end(s);
	output_at_end(s->output);
}

static int stream_open(struct output *o, struct stream *s, int *ret_fd, struct err *e)
{
	_cleanup_close_ int writer = -EBADF;
	int ends[2];

	s->output = o;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "making a pipe for the container's output");
	s->fd = ends[0];
	writer = ends[1];
	fd_set_nonblock(s->fd, true); /* our end only: the container's blocks, as programs expect */
	if (fcntl(s->fd, F_SETPIPE_SZ, PIPE_BYTES) < 0)
		log_debug("the pipe keeps its size: %s", strerror(errno));
	s->source = loop_fd(o->box->run->loop, s->fd, EPOLLIN, on_bytes, s);
	if (!s->source)
		return err_sys(e, "watching the container's output");
	*ret_fd = take_fd(writer);
	return 0;
}

int output_open(struct box *b, void (*ended)(struct box *b), int *ret_out_fd, int *ret_err_fd, struct err *e)
{
	struct output *o = xcalloc(1, sizeof(*o));
	_cleanup_close_ int out = -EBADF, err_fd = -EBADF;

	o->box = b;
	o->ended = ended;
	o->streams[0].fd = o->streams[1].fd = -EBADF;
	o->bytes = xrealloc(NULL, READ_BYTES);
	o->timer = loop_timer(b->run->loop, -1, 0, on_moment_over, o);
	if (!o->timer) {
		output_close(o);
		return err_sys(e, "making a timer");
	}
	if (stream_open(o, &o->streams[0], &out, e) < 0 || stream_open(o, &o->streams[1], &err_fd, e) < 0) {
		output_close(o);
		return -1;
	}
	b->output = o;
	*ret_out_fd = take_fd(out);
	*ret_err_fd = take_fd(err_fd);
	return 0;
}

bool output_ended(const struct output *o)
{
	return !o || (o->streams[0].fd < 0 && o->streams[1].fd < 0);
}

void output_close(struct output *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < ARRAY_LEN(o->streams); i++)
		if (o->streams[i].fd >= 0)
			stream_end(&o->streams[i]);
	loop_source_free(o->timer);
	free(o->bytes);
	free(o);
}

static void output_at_end(struct output *o)
{
	if (output_ended(o) && o->ended)
		o->ended(o->box);
}
