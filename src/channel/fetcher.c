/* SPDX-License-Identifier: Apache-2.0 */
#include "channel/fetcher.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "loop/loop.h"

enum { ANSWER_MAX_BYTES = 64 << 10 };

/* ---- the work order ---- */

static void put_text(json_t *order, const char *name, const char *value)
{
	if (value && *value)
		json_object_set_new(order, name, json_string(value));
}

static bool takes_fd(const struct fetcher *f)
{
	return strcmp(f->verb, "get") == 0 || strcmp(f->verb, "put") == 0;
}

static bool takes_list(const struct fetcher *f)
{
	return strcmp(f->verb, "get") == 0 || strcmp(f->verb, "list") == 0;
}

static char *order_text(const struct fetcher *f)
{
	json_t *order = json_object();
	char *text;

	put_text(order, "endpoint", f->s3->endpoint);
	put_text(order, "region", f->s3->region);
	put_text(order, "access_key", f->s3->access_key);
	put_text(order, "secret_key", f->s3->secret_key);
	put_text(order, "session_token", f->s3->session_token);
	put_text(order, "bucket", f->bucket);
	put_text(order, "prefix", f->prefix);
	put_text(order, "key", f->key);
	put_text(order, "s3_data_type", f->s3_data_type);
	if (f->attribute_names)
		json_object_set(order, "attribute_names", (json_t *)(uintptr_t)f->attribute_names);
	if (takes_list(f))
		json_object_set_new(order, "list", json_integer(f->list_fd));
	if (f->patience_s)
		json_object_set_new(order, "patience_s", json_integer(f->patience_s));
	text = json_dumps(order, JSON_COMPACT);
	json_decref(order);
	must(text);
	return text;
}

/* A descriptor to read the order from: a pipe that holds it already, as it is far less than a pipe takes. */
static int order_fd(const struct fetcher *f, struct err *e)
{
	_cleanup_free_ char *text = order_text(f);
	_cleanup_close_ int writer = -EBADF, reader = -EBADF;
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "making a pipe");
	reader = ends[0];
	writer = ends[1];
	r = fd_write_all(writer, text, strlen(text), e);
	explicit_bzero(text, strlen(text));
	return r < 0 ? -1 : take_fd(reader);
}

/* ---- the answers ---- */

static uint64_t number(const json_t *of, const char *name)
{
	json_int_t v = json_integer_value(json_object_get(of, name));

	return v > 0 ? (uint64_t)v : 0;
}

static void tell_progress(const struct fetcher *f, struct str line)
{
	json_t *j = json_loadb(line.p, line.n, 0, NULL);
	const json_t *p = json_object_get(j, "progress");
	struct fetch_progress progress = { .objects = number(p, "objects"),
		                           .bytes = number(p, "bytes"),
		                           .total_objects = number(p, "total_objects"),
		                           .total_bytes = number(p, "total_bytes"),
		                           .trouble = json_string_value(json_object_get(p, "trouble")) };

	if (p)
		f->progress(f->arg, &progress);
	json_decref(j);
}

/* Reads lines to the end and keeps the last one: there may be hours of progress before it. */
static int last_line(const struct fetcher *f, int fd, struct buf *line, struct err *e)
{
	FILE *in = fdopen(fd, "r");
	size_t cap = 0;
	char *text = NULL;
	ssize_t n;

	if (!in) {
		close(fd);
		return err_sys(e, "reading bloomery-fetch's answers");
	}
	while ((n = getline(&text, &cap, in)) > 0 && n <= ANSWER_MAX_BYTES) {
		buf_reset(line);
		buf_add(line, text, (size_t)n);
		if (f->progress)
			tell_progress(f, buf_view(line));
	}
	free(text);
	fclose(in);
	return 0;
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

static char *text_of(const json_t *of, const char *name)
{
	const char *text = json_string_value(json_object_get(of, name));

	return text ? xstrdup(text) : NULL;
}

static int take_answer(struct str line, int status, struct fetched *ret, struct err *e)
{
	json_t *j = json_loadb(line.p, line.n, 0, NULL);
	const json_t *done = json_object_get(j, "done");
	bool well = json_is_integer(json_object_get(done, "bytes")) && WIFEXITED(status) && WEXITSTATUS(status) == 0;

	if (well && ret)
		*ret = (struct fetched){ .objects = number(done, "objects"),
			                 .bytes = number(done, "bytes"),
			                 .bucket = text_of(done, "bucket"),
			                 .prefix = text_of(done, "prefix") };
	if (!well)
		take_error(json_object_get(j, "error"), status, e);
	json_decref(j);
	return well ? 0 : -1;
}

static int start(const struct fetcher *f, pid_t *ret_pid, int *ret_fd, struct err *e)
{
	_cleanup_free_ char *target = takes_fd(f) ? strf("%d", f->fd) : NULL;
	const char *const argv[] = { f->program, f->verb, target, NULL };
	_cleanup_close_ int order = order_fd(f, e), reader = -EBADF, writer = -EBADF;
	int keep[2];
	size_t kept = 0;
	struct spawn_options o = { .argv = argv, .in = order, .err_fd = -1, .keep = keep, .die_with_parent = true };
	int ends[2];

	if (order < 0)
		return -1;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "making a pipe");
	reader = ends[0];
	o.out = writer = ends[1];
	if (takes_fd(f))
		keep[kept++] = f->fd;
	if (takes_list(f))
		keep[kept++] = f->list_fd;
	o.keep_count = kept;
	if (spawn(&o, ret_pid, e) < 0)
		return -1;
	*ret_fd = take_fd(reader);
	return 0;
}

void fetched_fini(struct fetched *f)
{
	free(f->bucket);
	free(f->prefix);
	*f = (struct fetched){ 0 };
}

int fetcher_run(const struct fetcher *f, struct fetched *ret, struct err *e)
{
	struct buf line = { 0 };
	int fd = -EBADF, r, status = 0;
	pid_t pid;

	if (start(f, &pid, &fd, e) < 0)
		return err_in(e, "starting %s", f->program);
	r = last_line(f, fd, &line, e);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR) {
			buf_fini(&line);
			return err_sys(e, "waiting for bloomery-fetch");
		}
	if (r == 0)
		r = take_answer(buf_view(&line), status, ret, e);
	buf_fini(&line);
	return r;
}
