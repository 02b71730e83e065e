/* SPDX-License-Identifier: Apache-2.0 */
#include "transform/transform.h"

#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/fd.h"
#include "transform/capture.h"
#include "transform/datalog.h"
#include "transform/deal.h"
#include "transform/negotiate.h"
#include "transform/text.h"

enum { REPORT_EVERY_MS = 500, PATIENCE_S = 120 };

struct program {
	int out_fd, signal_fd, stop_fd;
	pthread_t watcher; /* reports, and waits for SIGTERM, or for the end */
	bool watched;
	struct work work;
	struct s3 *s3;
	struct capture *capture;
	struct dialer dialer;
	struct poster_to to[CONTAINERS_MAX];
	_Atomic uint64_t records, bytes, objects;
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		bool ended; /* the last line is out */
	} shared;
};

/* ---- answers ---- */

/* Writes one line; consumes j. */
static void answer(struct program *p, json_t *j, bool last)
{
	char *text = json_dumps(j, JSON_COMPACT);
	_cleanup_free_ char *line = text ? strf("%s\n", text) : NULL;

	pthread_mutex_lock(&p->shared.mu);
	if (line && !p->shared.ended)
		(void)!fd_write_all(p->out_fd, line, strlen(line), NULL); /* who asked is gone, and will end us */
	p->shared.ended |= last;
	pthread_mutex_unlock(&p->shared.mu);
	free(text);
	json_decref(j);
}

static json_t *error_object(const struct err *e)
{
	char text[ERR_FRAMES * ERR_FRAME_BYTES];

	return json_pack("{s:{s:s, s:o}}", "error", "kind", err_info[e->kind].name, "text",
	                 text_json(str_of(err_text(e, text, sizeof(text)))));
}

static void report(struct program *p)
{
	answer(p,
	       json_pack("{s:{s:I, s:I}}", "progress", "records", (json_int_t)atomic_load(&p->records), "bytes",
	                 (json_int_t)atomic_load(&p->bytes)),
	       false);
}

static void on_progress(void *arg, uint64_t records, uint64_t bytes)
{
	struct program *p = arg;

	atomic_fetch_add(&p->records, records);
	atomic_fetch_add(&p->bytes, bytes);
}

static void on_done(void *arg, const struct deal_object *o)
{
	struct program *p = arg;
	_cleanup_buf_ struct buf key = { 0 };

	work_out_key(str_of(p->work.prefix), o->key, &key);
	atomic_fetch_add(&p->objects, 1);
	capture_add(p->capture, o->bucket, o->key, buf_view(&key));
	answer(p,
	       json_pack("{s:{s:I, s:o, s:o, s:I, s:I}}", "object", "number", (json_int_t)o->number, "bucket",
	                 text_json(o->bucket), "key", text_json(buf_view(&key)), "records", (json_int_t)o->records,
	                 "bytes", (json_int_t)o->bytes),
	       false);
}

static void on_capture(void *arg, const char *leaf, const char *uri, uint64_t bytes)
{
	answer(arg,
	       json_pack("{s:{s:s, s:o, s:I}}", "capture", "file", leaf, "uri", text_json(str_of(uri)), "bytes",
	                 (json_int_t)bytes),
	       false);
}

/* ---- the end by SIGTERM ---- */

static void *watch(void *arg)
{
	struct program *p = arg;
	struct pollfd fds[] = { { .fd = p->signal_fd, .events = POLLIN }, { .fd = p->stop_fd, .events = POLLIN } };
	struct err e = { 0 };
	int n;

	while ((n = poll(fds, ARRAY_LEN(fds), REPORT_EVERY_MS)) == 0 || (n < 0 && errno == EINTR))
		if (n == 0)
			report(p);
	if (!fds[0].revents)
		return NULL;
	(void)err_set(&e, ERR_IO, "ended by SIGTERM");
	answer(p, error_object(&e), true);
	_exit(1);
}

static int watch_start(struct program *p, struct err *e)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	p->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	p->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (p->signal_fd < 0 || p->stop_fd < 0)
		return err_sys(e, "making descriptors to wait on");
	errno = pthread_create(&p->watcher, NULL, watch, p);
	if (errno)
		return err_sys(e, "starting a thread");
	p->watched = true;
	return 0;
}

static void watch_stop(struct program *p)
{
	if (p->watched) {
		must(eventfd_write(p->stop_fd, 1) == 0);
		pthread_join(p->watcher, NULL);
	}
	cleanup_closep(&p->signal_fd);
	cleanup_closep(&p->stop_fd);
}

/* ---- the work ---- */

static int open_s3(struct program *p, struct err *e)
{
	const struct work *w = &p->work;
	struct s3_options o = { .endpoint = w->endpoint,
		                .region = w->region,
		                .access_key = w->access_key,
		                .secret_key = w->secret_key,
		                .session_token = w->session_token,
		                .patience_s = w->patience_s ? w->patience_s : PATIENCE_S };

	return w->access_key ? s3_new(&o, &p->s3, e) : 0;
}

/* Waits for the container and asks it. */
static int agree(struct program *p, struct terms *ret, struct err *e)
{
	struct mono begin = mono_now();
	_cleanup_buf_ struct buf parameters = { 0 }, ignored = { 0 };
	_cleanup_free_ char *line = NULL;
	struct terms t;
	json_t *j;

	for (unsigned i = 0; i < p->work.container_count; i++) {
		_cleanup_(poster_freep) struct poster *poster = poster_new(&p->to[i]);

		if (negotiate_ping(poster, p->to[i].name, begin, p->work.ping_timeout_s, p->stop_fd, e) < 0)
			return -1;
		if (i == 0) /* records are sent to this one */
			negotiate_parameters(poster, &parameters);
	}
	t = work_terms(&p->work, buf_view(&parameters), &ignored);
	line = strf("MaxConcurrentTransforms=%u, MaxPayloadInMB=%u, BatchStrategy=%s", t.concurrent, t.payload_mb,
	            t.single ? "SINGLE_RECORD" : "MULTI_RECORD");
	datalog_write(p->work.log, STR(""), str_of(line));
	j = json_pack("{s:i, s:i, s:s}", "MaxConcurrentTransforms", (int)t.concurrent, "MaxPayloadInMB",
	              (int)t.payload_mb, "BatchStrategy", t.single ? "SINGLE_RECORD" : "MULTI_RECORD");
	if (ignored.n)
		json_object_set_new(j, "ignored", text_json(buf_view(&ignored)));
	answer(p, json_pack("{s:o}", "ready", j), false);
	*ret = t;
	return 0;
}

static int run(struct program *p, int in_fd, struct err *e)
{
	struct reader_place from;
	struct deal_options o;
	int rc;

	/* Who reads what a stranger's container says has no rights. */
	if (work_read(in_fd, &p->work, e) < 0 || confine_owner(p->work.out, e) < 0 || watch_start(p, e) < 0 ||
	    open_s3(p, e) < 0)
		return -1;
	p->dialer.fd = p->work.sockets;
	for (unsigned i = 0; i < p->work.container_count; i++)
		p->to[i] = (struct poster_to){ p->work.containers[i], p->work.names[i], &p->dialer, i };
	from = (struct reader_place){
		.objects_fd = p->work.objects, .s3 = p->s3, .bucket = str_of(p->work.bucket), .gzip = p->work.gzip
	};
	o = (struct deal_options){ .work = &p->work,
		                   .to = p->to,
		                   .from = &from,
		                   .done = on_done,
		                   .progress = on_progress,
		                   .arg = p,
		                   .stop_fd = p->stop_fd };
	if (agree(p, &o.terms, e) < 0 || capture_open(&p->work, &p->capture, e) < 0)
		return -1;
	rc = deal(&o, e);
	return capture_close(p->capture, on_capture, p, rc < 0 ? NULL : e) < 0 ? -1 : rc;
}

int transform_main(int in_fd, int out_fd)
{
	struct program p = { .out_fd = out_fd, .signal_fd = -EBADF, .stop_fd = -EBADF };
	struct err e = { 0 };
	int rc;

	pthread_mutex_init(&p.shared.mu, NULL);
	dialer_init(&p.dialer, -EBADF);
	rc = run(&p, in_fd, &e);
	watch_stop(&p);
	if (rc == 0)
		answer(&p,
		       json_pack("{s:{s:I, s:I}}", "done", "objects", (json_int_t)atomic_load(&p.objects), "records",
		                 (json_int_t)atomic_load(&p.records)),
		       true);
	else
		answer(&p, error_object(&e), true);
	capture_free(p.capture);
	s3_free(p.s3);
	work_fini(&p.work);
	dialer_fini(&p.dialer);
	pthread_mutex_destroy(&p.shared.mu);
	return rc == 0 ? 0 : 1;
}
