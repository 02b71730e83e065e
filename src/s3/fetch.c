/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/fetch.h"

#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "s3/fetch_get.h"
#include "s3/fetch_list.h"
#include "s3/order.h"
#include "s3/put.h"

enum { REPORT_EVERY_MS = 500, PATIENCE_S = 120 };

struct fetch {
	int out_fd;
	struct s3 *s3;
	pthread_t watcher; /* reports, and waits for SIGTERM, or for the end */
	int signal_fd, stop_fd;
	bool watched;
	atomic_bool cancelled, mute; /* mute: nobody reads our answers any more */
	atomic_bool troubled;        /* nothing has come since shared.trouble */
	_Atomic uint64_t objects, bytes, total_objects, total_bytes;
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		struct buf trouble; /* what was tried again last; empty: nothing */
		bool ended;         /* the last line is out */
	} shared;
};

/* Writes one line; consumes j. */
static void answer_locked(struct fetch *f, json_t *j)
{
	char *text = json_dumps(j, JSON_COMPACT);
	_cleanup_free_ char *line = text ? strf("%s\n", text) : NULL;

	if (line && fd_write_all(f->out_fd, line, strlen(line), NULL) < 0)
		atomic_store(&f->mute, true);
	free(text);
	json_decref(j);
}

static void end_with(struct fetch *f, json_t *last)
{
	pthread_mutex_lock(&f->shared.mu);
	if (f->shared.ended)
		json_decref(last);
	else
		answer_locked(f, last);
	f->shared.ended = true;
	pthread_mutex_unlock(&f->shared.mu);
}

/* Text from a foreign server may be any bytes. */
static void add_safe(struct buf *out, struct str s)
{
	bool valid = utf8_valid(s);

	for (size_t i = 0; i < s.n; i++)
		buf_c(out, valid || (signed char)s.p[i] > 0 ? s.p[i] : '?');
}

static json_t *error_object(const struct err *e)
{
	char text[ERR_FRAMES * ERR_FRAME_BYTES];
	struct buf safe = { 0 };
	json_t *j;

	buf_init(&safe);
	add_safe(&safe, str_of(err_text(e, text, sizeof(text))));
	j = json_pack("{s:{s:s, s:s%}}", "error", "kind", err_info[e->kind].name, "text", safe.p, safe.n);
	buf_fini(&safe);
	return j;
}

static json_t *progress_object_locked(struct fetch *f)
{
	json_t *j = json_pack("{s:I, s:I, s:I, s:I}", "objects", (json_int_t)atomic_load(&f->objects), "bytes",
	                      (json_int_t)atomic_load(&f->bytes), "total_objects",
	                      (json_int_t)atomic_load(&f->total_objects), "total_bytes",
	                      (json_int_t)atomic_load(&f->total_bytes));

	if (atomic_load(&f->troubled) && f->shared.trouble.n)
		json_object_set_new(j, "trouble", json_stringn(f->shared.trouble.p, f->shared.trouble.n));
	return json_pack("{s:o}", "progress", j);
}

static void report(struct fetch *f)
{
	pthread_mutex_lock(&f->shared.mu);
	if (!f->shared.ended)
		answer_locked(f, progress_object_locked(f));
	pthread_mutex_unlock(&f->shared.mu);
}

/* ---- what the client calls back ---- */

static bool on_cancelled(void *arg)
{
	struct fetch *f = arg;

	return atomic_load_explicit(&f->cancelled, memory_order_relaxed) ||
	       atomic_load_explicit(&f->mute, memory_order_relaxed);
}

static void on_progress(void *arg, int64_t bytes)
{
	struct fetch *f = arg;

	atomic_fetch_add_explicit(&f->bytes, (uint64_t)bytes, memory_order_relaxed);
	if (bytes > 0 && atomic_load_explicit(&f->troubled, memory_order_relaxed))
		atomic_store(&f->troubled, false);
}

static void on_again(void *arg, const struct err *why)
{
	struct fetch *f = arg;
	char text[ERR_FRAMES * ERR_FRAME_BYTES];

	err_text(why, text, sizeof(text));
	pthread_mutex_lock(&f->shared.mu);
	buf_reset(&f->shared.trouble);
	add_safe(&f->shared.trouble, str_of(text));
	atomic_store(&f->troubled, true);
	pthread_mutex_unlock(&f->shared.mu);
}

static void on_objects(void *arg, const struct fetch_totals *add)
{
	struct fetch *f = arg;

	atomic_fetch_add(&f->objects, add->objects);
	if (add->total_objects) {
		atomic_fetch_add(&f->total_objects, add->total_objects);
		atomic_fetch_add(&f->total_bytes, add->total_bytes);
	}
}

/* ---- the end by SIGTERM ---- */

static void *watch(void *arg)
{
	struct fetch *f = arg;
	struct pollfd fds[] = { { .fd = f->signal_fd, .events = POLLIN }, { .fd = f->stop_fd, .events = POLLIN } };
	struct err e = { 0 };
	int n;

	while ((n = poll(fds, ARRAY_LEN(fds), REPORT_EVERY_MS)) == 0 || (n < 0 && errno == EINTR))
		if (n == 0)
			report(f);
	if (!fds[0].revents)
		return NULL;
	atomic_store(&f->cancelled, true);
	if (f->s3)
		s3_abandon(f->s3);
	err_set(&e, ERR_IO, "ended by SIGTERM");
	end_with(f, error_object(&e));
	_exit(1);
}

static int watch_start(struct fetch *f, struct err *e)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	f->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	f->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (f->signal_fd < 0 || f->stop_fd < 0)
		return err_sys(e, "making descriptors to wait on");
	errno = pthread_create(&f->watcher, NULL, watch, f);
	if (errno)
		return err_sys(e, "starting a thread");
	f->watched = true;
	return 0;
}

/* If SIGTERM has come, the watcher says so and ends the process while we wait for it here. */
static void watch_stop(struct fetch *f)
{
	if (f->watched) {
		must(eventfd_write(f->stop_fd, 1) == 0);
		pthread_join(f->watcher, NULL);
	}
	cleanup_closep(&f->signal_fd);
	cleanup_closep(&f->stop_fd);
}

/* ---- the verbs ---- */

static json_t *done_object(uint64_t objects, uint64_t bytes)
{
	return json_pack("{s:{s:I, s:I}}", "done", "objects", (json_int_t)objects, "bytes", (json_int_t)bytes);
}

static int run_get(struct fetch *f, const struct order *o, int fd, json_t **ret, struct err *e)
{
	struct fetch_get g = { .s3 = f->s3, .order = o, .dirfd = fd, .objects = on_objects, .arg = f };

	umask(022); /* modes as the header promises, whoever starts us */
	if (fetch_get(&g, e) < 0)
		return -1;
	*ret = done_object(atomic_load(&f->objects), atomic_load(&f->bytes));
	return 0;
}

static int run_count(struct fetch *f, const struct order *o, int fd, json_t **ret, struct err *e)
{
	struct fetch_totals t = { 0 };

	(void)fd;
	if (fetch_count(f->s3, o, &t, e) < 0)
		return -1;
	*ret = done_object(t.total_objects, t.total_bytes);
	return 0;
}

static int run_exists(struct fetch *f, const struct order *o, int fd, json_t **ret, struct err *e)
{
	struct fetch_totals t = { 0 };

	(void)fd;
	if (fetch_exists(f->s3, o, &t, e) < 0)
		return -1;
	*ret = done_object(t.total_objects, 0);
	return 0;
}

static int run_list(struct fetch *f, const struct order *o, int fd, json_t **ret, struct err *e)
{
	struct fetched_list got = { 0 };
	int rc = fetch_list(f->s3, o, &got, e);

	(void)fd;
	if (rc == 0) {
		*ret = done_object(got.totals.total_objects, got.totals.total_bytes);
		if (got.bucket.n) { /* they come from JSON text, and can be JSON text again */
			json_t *done = json_object_get(*ret, "done");

			json_object_set_new(done, "bucket", json_stringn(got.bucket.p, got.bucket.n));
			json_object_set_new(done, "prefix",
			                    json_stringn(got.prefix.p ? got.prefix.p : "", got.prefix.n));
		}
	}
	buf_fini(&got.bucket);
	buf_fini(&got.prefix);
	return rc;
}

static int run_put(struct fetch *f, const struct order *o, int fd, json_t **ret, struct err *e)
{
	_cleanup_buf_ struct buf etag = { 0 };
	off_t size = lseek(fd, 0, SEEK_END);

	if (size < 0)
		return err_sys(e, "measuring the file to upload");
	on_objects(f, &(struct fetch_totals){ .total_objects = 1, .total_bytes = (uint64_t)size });
	if (s3_put_file(f->s3, (struct s3_uri){ str_of(o->bucket), str_of(o->key) }, fd, o->content_type, &etag, e) < 0)
		return fetch_blame(o, e);
	*ret = json_pack("{s:{s:I, s:s}}", "done", "bytes", (json_int_t)size, "etag", etag.p);
	return 0;
}

static const struct {
	const char *verb;
	int (*run)(struct fetch *f, const struct order *o, int fd, json_t **ret, struct err *e);
	bool needs_fd;
	unsigned needs;   /* in the order */
	unsigned threads; /* when the order does not say; 0: the client's own. Many, as most of them wait */
} verbs[] = {
	{ "get", run_get, true, ORDER_NEEDS_LIST, 16 },
	{ "put", run_put, true, ORDER_NEEDS_KEY, 0 },
	{ "list", run_list, false, ORDER_NEEDS_LIST, 16 },
	{ "count", run_count, false, 0, 0 },
	{ "exists", run_exists, false, 0, 0 },
};

static int fetch_run(struct fetch *f, const char *verb, int target_fd, int in_fd, struct order *o, json_t **ret,
                     struct err *e)
{
	size_t i = 0;

	while (i < ARRAY_LEN(verbs) && strcmp(verb, verbs[i].verb))
		i++;
	if (i == ARRAY_LEN(verbs))
		return err_set(e, ERR_INVALID, "'%s' is none of get, put, list, count and exists", verb);
	if (verbs[i].needs_fd && target_fd < 0)
		return err_set(e, ERR_INVALID, "%s needs the number of a descriptor", verb);
	if (order_read(in_fd, verbs[i].needs, o, e) < 0)
		return -1;
	if (s3_new(&(struct s3_options){ .endpoint = o->endpoint,
	                                 .region = o->region,
	                                 .access_key = o->access_key,
	                                 .secret_key = o->secret_key,
	                                 .session_token = o->session_token,
	                                 .threads = o->threads ? o->threads : verbs[i].threads,
	                                 .patience_s = o->patience_s ? o->patience_s : PATIENCE_S,
	                                 .cancelled = on_cancelled,
	                                 .progress = on_progress,
	                                 .again = on_again,
	                                 .arg = f },
	           &f->s3, e) < 0)
		return -1;
	if (watch_start(f, e) < 0) /* until here there is nothing to clean up, and SIGTERM just ends us */
		return -1;
	return verbs[i].run(f, o, target_fd, ret, e);
}

int fetch_main(const char *verb, int target_fd, int in_fd, int out_fd)
{
	struct fetch f = { .out_fd = out_fd, .signal_fd = -EBADF, .stop_fd = -EBADF };
	struct order o = { 0 };
	struct err e = { 0 };
	json_t *last = NULL;
	int rc;

	pthread_mutex_init(&f.shared.mu, NULL);
	rc = fetch_run(&f, verb, target_fd, in_fd, &o, &last, &e);
	watch_stop(&f);
	end_with(&f, rc == 0 ? last : error_object(&e));
	s3_free(f.s3);
	order_fini(&o);
	buf_fini(&f.shared.trouble);
	pthread_mutex_destroy(&f.shared.mu);
	return rc == 0 && !atomic_load(&f.mute) ? 0 : 1;
}
