/* SPDX-License-Identifier: Apache-2.0 */
#include "job/gather.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "artifact/artifact.h"
#include "base/fd.h"
#include "base/log.h"

/* One artifact: which hosts have a part of it. */
struct whole {
	const char *bucket, *key;
	int *fds;
	size_t count;
};

static void whole_fini(struct whole *w)
{
	for (size_t i = 0; i < w->count; i++)
		cleanup_closep(&w->fds[i]);
	free(w->fds);
}

static const char *text(const json_t *part, const char *member)
{
	const char *z = json_string_value(json_object_get(part, member));

	return z ? z : "";
}

/* What cannot be read or written now will not be later either. */
static int give_up(struct err *e)
{
	char words[4096];

	if (e->kind == ERR_BUSY)
		return -1;
	err_text(e, words, sizeof(words));
	*e = (struct err){ 0 };
	return err_set(e, ERR_CLIENT, "%s", words);
}

static int open_part(const struct gather *g, const char *host_id, const json_t *part, struct err *e)
{
	const char *file = text(part, "file");
	_cleanup_free_ char *path = strf("%s/jobs/%s/staged/%s", g->data_dir, host_id, file);
	int fd;

	if (!*file || strchr(file, '/') || !strcmp(file, ".") || !strcmp(file, ".."))
		return err_set(e, ERR_CLIENT, "a training host reported a part in a way that makes no sense");
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return fd < 0 ? err_sys(e, "opening the part of a training host") : fd;
}

/* The parts of w->key, of all hosts. */
static int open_parts(const struct gather *g, json_t *const *parts, struct whole *w, struct err *e)
{
	w->fds = xcalloc(g->host_count, sizeof(*w->fds));
	for (size_t i = 0; i < g->host_count; i++) {
		const json_t *part;
		size_t k;

		json_array_foreach (parts[i], k, part) {
			if (strcmp(text(part, "key"), w->key) != 0)
				continue;
			w->fds[w->count] = open_part(g, g->hosts[i].id, part, e);
			if (w->fds[w->count] < 0)
				return -1;
			w->count++;
			break;
		}
	}
	return 0;
}

static int deliver(const struct gather *g, const struct whole *w, int fd, const char *path,
                   const struct artifact_result *r, struct err *e)
{
	struct err why = { 0 };

	if (g->remote) {
		if (remote_put(g->remote, fd, w->bucket, w->key, g->stop_fd, e) < 0) {
			err_in(e, "uploading to s3://%s/%s", w->bucket, w->key);
			return give_up(e); /* bloomery-fetch was patient already */
		}
		return unlink(path) < 0 ? err_sys(e, "removing what is uploaded") : 0;
	}
	if (blob_adopt(g->blobs, str_of(w->bucket), str_of(w->key), path, r->bytes_out, str_of(r->md5), &why) == 0)
		return 0;
	if (why.kind == ERR_NOT_FOUND)
		return err_set(
		        e, ERR_CLIENT,
		        " s3://%s/%s: its bucket was deleted while the job ran. Create the bucket and run the job "
		        "again.",
		        w->bucket, w->key);
	if (e)
		*e = why;
	return err_in(e, "taking s3://%s/%s over", w->bucket, w->key);
}

static int join(const struct gather *g, json_t *const *parts, struct whole *w, int out, struct artifact_result *r,
                struct err *e)
{
	const struct artifact_options o = { .cancelled = g->stopped, .arg = g->arg };

	if (open_parts(g, parts, w, e) < 0)
		return -1;
	return artifact_join(w->fds, w->count, out, &o, r, e);
}

static int gather_one(const struct gather *g, json_t *const *parts, const json_t *part, struct err *e)
{
	_cleanup_(whole_fini) struct whole w = { .bucket = text(part, "bucket"), .key = text(part, "key") };
	_cleanup_free_ char *path = strf("%s/jobs/%s/staged/whole", g->data_dir, g->job_id);
	_cleanup_close_ int out = -EBADF;
	struct artifact_result r = { 0 };

	if (unlink(path) < 0 && errno != ENOENT)
		return err_sys(e, "removing an unfinished archive");
	out = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (out < 0 || join(g, parts, &w, out, &r, e) < 0) {
		if (out < 0)
			err_sys(e, "making %s", w.key);
		unlink(path);
		return give_up(e);
	}
	if (deliver(g, &w, out, path, &r, e) < 0)
		return -1;
	log_info("s3://%s/%s is there, of %zu hosts", w.bucket, w.key, w.count);
	return 0;
}

/* Whether an earlier host has a part of that key, so that it is done. */
static bool is_done(json_t *const *parts, size_t host, const char *key)
{
	for (size_t i = 0; i < host; i++) {
		const json_t *part;
		size_t k;

		json_array_foreach (parts[i], k, part)
			if (!strcmp(text(part, "key"), key))
				return true;
	}
	return false;
}

int gather_artifacts(const struct gather *g, struct err *e)
{
	_cleanup_free_ json_t **parts = xcalloc(g->host_count, sizeof(json_t *));
	int rc = 0;

	for (size_t i = 0; i < g->host_count; i++)
		parts[i] = g->hosts[i].parts ? json_loads(g->hosts[i].parts, 0, NULL) : NULL;
	for (size_t i = 0; rc == 0 && i < g->host_count; i++) {
		const json_t *part;
		size_t k;

		json_array_foreach (parts[i], k, part)
			if (rc == 0 && !is_done(parts, i, text(part, "key")))
				rc = gather_one(g, parts, part, e);
	}
	for (size_t i = 0; i < g->host_count; i++)
		json_decref(parts[i]);
	return rc;
}
