/* SPDX-License-Identifier: Apache-2.0 */
#include "job/remote.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "loop/loop.h"

enum { ANSWER_MAX_BYTES = 64 << 10 };

void remote_answer_fini(struct remote_answer *a)
{
	free(a->bucket);
	free(a->prefix);
	*a = (struct remote_answer){ 0 };
}

/* ---- the work order ---- */

static void put_text(json_t *order, const char *name, const char *value)
{
	if (value && *value)
		json_object_set_new(order, name, json_string(value));
}

static char *order_text(const struct remote *r, const struct remote_question *q)
{
	json_t *order = json_object();
	char *text;

	put_text(order, "endpoint", r->conf->s3_endpoint);
	put_text(order, "region", r->conf->s3_region);
	put_text(order, "access_key", r->conf->s3_access_key);
	put_text(order, "secret_key", r->conf->s3_secret_key);
	put_text(order, "bucket", q->bucket);
	put_text(order, "prefix", q->prefix);
	put_text(order, "s3_data_type", q->s3_data_type);
	if (json_array_size(q->attribute_names))
		json_object_set(order, "attribute_names", (json_t *)q->attribute_names);
	put_text(order, "key", q->key);
	if (q->list_fd >= 0 && !q->key)
		json_object_set_new(order, "list", json_integer(q->list_fd));
	if (q->timeout_ms) /* it gives up first, and says why */
		json_object_set_new(order, "patience_s", json_integer(q->timeout_ms / 2000 + 1));
	text = json_dumps(order, JSON_COMPACT);
	json_decref(order);
	must(text);
	return text;
}

/* A file in memory that holds the order, to read from its start. */
static int order_fd(const struct remote *r, const struct remote_question *q, struct err *e)
{
	_cleanup_free_ char *text = order_text(r, q);
	_cleanup_close_ int fd = memfd_create("order", MFD_CLOEXEC);
	int rc;

	if (fd < 0)
		return err_sys(e, "making a work order");
	rc = fd_write_all(fd, text, strlen(text), e);
	explicit_bzero(text, strlen(text));
	if (rc == 0 && lseek(fd, 0, SEEK_SET) < 0)
		rc = err_sys(e, "making a work order");
	return rc < 0 ? -1 : take_fd(fd);
}

static int start(const struct remote *r, const struct remote_question *q, pid_t *ret_pid, int *ret_fd, struct err *e)
{
	_cleanup_free_ char *file = q->key ? strf("%d", q->list_fd) : NULL;
	const char *const argv[] = { "bloomery-fetch", q->verb, file, NULL };
	_cleanup_close_ int order = order_fd(r, q, e), reader = -EBADF, writer = -EBADF;
	struct spawn_options o = { .path = r->program,
		                   .argv = argv,
		                   .in = order,
		                   .err_fd = -1,
		                   .keep = &q->list_fd,
		                   .keep_count = q->list_fd >= 0,
		                   .die_with_parent = true };
	int ends[2];

	if (order < 0)
		return -1;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "making a pipe");
	reader = ends[0];
	o.out = writer = ends[1];
	if (spawn(&o, ret_pid, e) < 0)
		return err_in(e, "asking the other S3");
	*ret_fd = take_fd(reader);
	return 0;
}

/* ---- the answer ---- */

/* Keeps the last line of what comes; there may be hours of progress before it. */
static void keep_last(struct buf *line, struct str piece)
{
	for (size_t i = 0; i < piece.n; i++) {
		if (line->n && line->p[line->n - 1] == '\n')
			buf_reset(line);
		if (line->n < ANSWER_MAX_BYTES)
			buf_c(line, piece.p[i]);
	}
}

/* Reads to the end of file. */
static int read_answer(const struct remote *r, const struct remote_question *q, int fd, struct buf *line, struct err *e)
{
	struct pollfd fds[] = { { .fd = fd, .events = POLLIN }, { .fd = q->stop_fd, .events = POLLIN } };
	struct mono since = mono_now();
	char piece[4096];

	for (;;) {
		int64_t left = q->timeout_ms - mono_ms_since(since);
		ssize_t n;

		if (q->timeout_ms && left <= 0)
			return err_set(e, ERR_IO, "%s has not answered within %lld seconds", r->conf->s3_endpoint,
			               (long long)q->timeout_ms / 1000);
		if (poll(fds, ARRAY_LEN(fds), q->timeout_ms ? (int)left : -1) < 0 && errno != EINTR)
			return err_sys(e, "waiting for bloomery-fetch");
		if (fds[1].revents)
			return err_set(e, ERR_BUSY, "the answer of the other S3 is no longer waited for");
		if (!fds[0].revents)
			continue;
		n = read(fd, piece, sizeof(piece));
		if (n < 0 && errno != EINTR)
			return err_sys(e, "reading bloomery-fetch's answer");
		if (n == 0)
			return 0;
		if (n > 0)
			keep_last(line, (struct str){ piece, (size_t)n });
	}
}

static int take_error(const json_t *error, int status, struct err *e)
{
	const char *text = json_string_value(json_object_get(error, "text"));
	const char *kind = json_string_value(json_object_get(error, "kind"));
	enum err_kind found = ERR_IO;

	for (int k = ERR_NONE + 1; kind && k < ERR_KIND_COUNT; k++)
		if (str_is(str_of(kind), err_info[k].name))
			found = (enum err_kind)k;
	if (text)
		return err_set(e, found, "%s", text);
	if (WIFSIGNALED(status))
		return err_set(e, ERR_IO, "bloomery-fetch was ended by signal %d", WTERMSIG(status));
	return err_set(e, ERR_IO, "bloomery-fetch ended without an answer, exit status %d", WEXITSTATUS(status));
}

static char *get(const json_t *o, const char *member)
{
	const char *z = json_string_value(json_object_get(o, member));

	return z ? xstrdup(z) : NULL;
}

static int take_answer(struct str line, int status, struct remote_answer *ret, struct err *e)
{
	json_t *j = json_loadb(line.p, line.n, 0, NULL), *done = json_object_get(j, "done");
	bool well = json_is_object(done) && WIFEXITED(status) && WEXITSTATUS(status) == 0;

	if (well)
		*ret = (struct remote_answer){
			.objects = (uint64_t)json_integer_value(json_object_get(done, "objects")),
			.bytes = (uint64_t)json_integer_value(json_object_get(done, "bytes")),
			.bucket = get(done, "bucket"),
			.prefix = get(done, "prefix"),
		};
	else
		take_error(json_object_get(j, "error"), status, e);
	json_decref(j);
	return well ? 0 : -1;
}

int remote_ask(const struct remote *r, const struct remote_question *q, struct remote_answer *ret, struct err *e)
{
	_cleanup_buf_ struct buf line = { 0 };
	_cleanup_close_ int fd = -EBADF;
	int rc, status = 0;
	pid_t pid;

	if (start(r, q, &pid, &fd, e) < 0)
		return -1;
	rc = read_answer(r, q, fd, &line, e);
	if (rc < 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(e, "waiting for bloomery-fetch");
	return rc < 0 ? -1 : take_answer(buf_view(&line), status, ret, e);
}

int remote_put(const struct remote *r, int fd, const char *bucket, const char *key, int stop_fd, struct err *e)
{
	const struct remote_question q = {
		.verb = "put", .bucket = bucket, .key = key, .list_fd = fd, .stop_fd = stop_fd
	};
	struct remote_answer a;

	if (remote_ask(r, &q, &a, e) < 0)
		return -1;
	remote_answer_fini(&a);
	return 0;
}
