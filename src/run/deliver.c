/* SPDX-License-Identifier: Apache-2.0 */
#include "run/deliver.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "channel/fetcher.h"

enum { COPY_BYTES = 256 << 10, TREE_DEPTH = 128, KEY_MAX_BYTES = 1024 };

/* staged/ belongs to the job directory's owner, who renames files out of it, and so does what is put there: a file of
 * root's with a container's bytes is not left where somebody else can give it another name. The directory is made where
 * that owner has no hand in it: what is found under the name is never given away. */
int deliver_open_staged(const struct run *r, struct err *e)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	if (mkdirat(r->home_fd, "staged", 0755) < 0 && errno != EEXIST)
		return err_sys(e, "making staged");
	fd = openat(r->home_fd, "staged", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(r->job_fd, &st) < 0 || fchown(fd, st.st_uid, st.st_gid) < 0 ||
	    renameat(r->home_fd, "staged", r->job_fd, "staged") < 0)
		return err_sys(e, "making staged");
	return take_fd(fd);
}

static int open_outbox(const struct run *r, struct err *e)
{
	int fd;

	if (mkdirat(r->home_fd, "outbox", 0700) < 0 && errno != EEXIST)
		return err_sys(e, "making work/outbox");
	fd = openat(r->home_fd, "outbox", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "opening work/outbox") : fd;
}

/* Whether bloomeryd takes it from here. */
static bool is_staged(const struct delivery *d)
{
	return d->part || d->run->spec.output_place == PLACE_EMBEDDED;
}

int delivery_init(struct delivery *d, const struct run *r, struct worker_link *link, struct err *e)
{
	const json_t *output = json_object_get(r->spec.request, "OutputDataConfig");
	const char *compression = json_string_value(json_object_get(output, "CompressionType"));

	*d = (struct delivery){ .run = r, .link = link, .staged = -EBADF, .pending = json_array() };
	d->compressed = !compression || !str_is(str_of(compression), "NONE");
	d->outbox = open_outbox(r, e);
	d->part = r->spec.host_count > 1 && d->compressed;
	if (d->outbox >= 0 && is_staged(d))
		d->staged = deliver_open_staged(r, e);
	return d->outbox < 0 || (is_staged(d) && d->staged < 0) ? -1 : 0;
}

void delivery_fini(struct delivery *d)
{
	if (d->pending) {
		json_decref(d->pending);
		cleanup_closep(&d->outbox);
		cleanup_closep(&d->staged);
	}
	d->pending = NULL;
}

char *delivery_key(const struct delivery *d, const char *rest)
{
	const struct job_spec *s = &d->run->spec;

	return strf("%s%s%s/output/%s", s->output_prefix, *s->output_prefix ? "/" : "", s->name, rest);
}

int delivery_create(struct delivery *d, const char *leaf, struct err *e)
{
	int fd = openat(d->outbox, leaf, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

	return fd < 0 ? err_sys(e, "making %s", leaf) : fd;
}

void delivery_drop(struct delivery *d, const char *leaf)
{
	if (unlinkat(d->outbox, leaf, 0) < 0)
		log_warn("removing %s: %s", leaf, strerror(errno));
}

static int put_remote(struct delivery *d, int fd, const char *key, struct err *e)
{
	const struct job_spec *s = &d->run->spec;
	_cleanup_free_ char *program = strf("%s/bloomery-fetch", d->run->programs_dir);
	struct fetcher f = {
		.program = program, .verb = "put", .fd = fd, .s3 = &s->s3, .bucket = s->output_bucket, .key = key
	};

	return fetcher_run(&f, NULL, e) < 0 ? err_in(e, "uploading to s3://%s/%s", s->output_bucket, key) : 0;
}

static json_t *report_of(const struct delivery *d, const char *leaf, const char *key, uint64_t size, const char *md5)
{
	return json_pack("{s:s, s:s, s:s, s:I, s:s, s:b}", "t", "artifact", "key", key, "file", leaf, "size",
	                 (json_int_t)size, "md5", md5, "part", d->part);
}

static int stage(struct delivery *d, const char *leaf, struct err *e)
{
	struct stat to;

	if (fstat(d->staged, &to) < 0 || fchownat(d->outbox, leaf, to.st_uid, to.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "giving %s to bloomeryd", leaf);
	return renameat(d->outbox, leaf, d->staged, leaf) < 0 ? err_sys(e, "moving %s to staged", leaf) : 0;
}

int delivery_send(struct delivery *d, int fd, const char *leaf, const char *key, uint64_t size, const char *md5,
                  struct err *e)
{
	if (!is_staged(d)) {
		int result = put_remote(d, fd, key, e);

		delivery_drop(d, leaf);
		return result;
	}
	if (stage(d, leaf, e) < 0)
		return -1;
	if (fsync(d->staged) < 0)
		return err_sys(e, "syncing staged");
	return worker_report(d->link, report_of(d, leaf, key, size, md5), e);
}

/* ---- without compression ---- */

static int copy(int from, int to, uint64_t *ret_size, char md5_hex[33], struct err *e)
{
	_cleanup_free_ char *bytes = xrealloc(NULL, COPY_BYTES);
	_cleanup_(hash_freep) struct hash *h = hash_new(HASH_MD5);
	unsigned char digest[MD5_BYTES];
	struct buf hex = { 0 };
	size_t n = 1;

	for (*ret_size = 0; n; *ret_size += n) {
		if (fd_read_full(from, bytes, COPY_BYTES, &n, e) < 0 || fd_write_all(to, bytes, n, e) < 0)
			return -1;
		hash_add(h, bytes, n);
	}
	hash_end(take_ptr(h), digest);
	buf_hex(&hex, digest, sizeof(digest));
	memcpy(md5_hex, hex.p, 33);
	buf_fini(&hex);
	return 0;
}

static int deliver_file(struct delivery *d, int from, const char *key, struct err *e)
{
	char leaf[24], md5[33];
	_cleanup_close_ int to = -EBADF;
	uint64_t size;

	if (strlen(key) > KEY_MAX_BYTES || !utf8_valid(str_of(key)))
		return err_set(e, ERR_CLIENT, "the path of a file is no object key (UTF-8, at most %d bytes): %.200s",
		               KEY_MAX_BYTES, key);
	snprintf(leaf, sizeof(leaf), "%06zu", ++d->files);
	to = delivery_create(d, leaf, e);
	if (to < 0 || copy(from, to, &size, md5, e) < 0)
		return -1;
	if (d->run->spec.output_place == PLACE_REMOTE)
		return delivery_send(d, to, leaf, key, size, md5, e);
	json_array_append_new(d->pending, report_of(d, leaf, key, size, md5));
	return 0;
}

static int open_below(int top, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK),
		                .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV };

	return (int)syscall(SYS_openat2, top, path, &how, sizeof(how));
}

struct tree_walk {
	struct delivery *d;
	int top;
	const char *folder;
};

static int visit(const struct tree_walk *w, const char *dir, unsigned depth, struct err *e);

static int visit_entry(const struct tree_walk *w, const char *path, unsigned depth, struct err *e)
{
	_cleanup_close_ int fd = -EBADF;
	_cleanup_free_ char *rest = strf("%s/%s", w->folder, path), *key = delivery_key(w->d, rest);
	struct stat st, link;

	if (fstatat(w->top, path, &link, AT_SYMLINK_NOFOLLOW) < 0)
		return 0; /* gone: nothing runs in the container any more, but a dying process may have been last */
	if (S_ISDIR(link.st_mode))
		return depth < TREE_DEPTH ? visit(w, path, depth + 1, e)
		                          : err_set(e, ERR_CLIENT, "%s is nested too deeply", path);
	fd = S_ISREG(link.st_mode) || S_ISLNK(link.st_mode) ? open_below(w->top, path, O_RDONLY) : -EBADF;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		log_info("%s is no regular file and is left out", path);
		return 0;
	}
	return deliver_file(w->d, fd, key, e);
}

static int visit(const struct tree_walk *w, const char *dir, unsigned depth, struct err *e)
{
	int fd = open_below(w->top, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW), result = 0;
	DIR *entries = fd < 0 ? NULL : fdopendir(fd);

	if (!entries) {
		err_sys(e, "reading the directory %s", dir);
		cleanup_closep(&fd);
		return -1;
	}
	for (struct dirent *entry; result == 0 && (entry = readdir(entries));) {
		_cleanup_free_ char *path = NULL;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		path = strcmp(dir, ".") == 0 ? xstrdup(entry->d_name) : strf("%s/%s", dir, entry->d_name);
		result = visit_entry(w, path, depth, e);
	}
	closedir(entries);
	return result;
}

int delivery_tree(struct delivery *d, int dirfd, const char *folder, struct err *e)
{
	return visit(&(struct tree_walk){ .d = d, .top = dirfd, .folder = folder }, ".", 0, e);
}

int delivery_end(struct delivery *d, struct err *e)
{
	json_t *report;
	size_t i;

	if (json_array_size(d->pending) == 0)
		return 0;
	if (syncfs(d->outbox) < 0)
		return err_sys(e, "syncing the artifacts");
	json_array_foreach (d->pending, i, report)
		if (stage(d, json_string_value(json_object_get(report, "file")), e) < 0)
			return -1;
	if (fsync(d->staged) < 0)
		return err_sys(e, "syncing staged");
	json_array_foreach (d->pending, i, report)
		if (worker_report(d->link, json_incref(report), e) < 0)
			return -1;
	return 0;
}
