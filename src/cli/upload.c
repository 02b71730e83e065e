/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/upload.h"

#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "s3/s3.h"

struct upload {
	struct s3 *s3;
	const char *bucket, *prefix; /* with a slash at its end */
	size_t root_n;               /* bytes of a path that are not part of the key */
	size_t files;
	uint64_t bytes;
	bool progress;
};

static int put_file(struct upload *u, const char *path, const char *name, uint64_t size, struct err *e)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *key = strf("%s%s", u->prefix, name);
	struct s3_uri at = { str_of(u->bucket), str_of(key) };

	if (fd < 0)
		return err_sys(e, "opening %s", path);
	if (u->s3 && s3_put_file(u->s3, at, fd, "application/octet-stream", NULL, e) < 0)
		return err_in(e, "uploading %s", path);
	u->files++;
	u->bytes += size;
	if (u->progress)
		fprintf(stderr, "\r\033[Kuploading: %zu files, %.1f MB ", u->files, (double)u->bytes / 1e6);
	return 0;
}

static int put_entry(struct upload *u, const FTSENT *ent, struct err *e)
{
	const char *name = ent->fts_path + u->root_n;

	switch (ent->fts_info) {
	case FTS_F:
		return put_file(u, ent->fts_path, *name ? name : ent->fts_name, (uint64_t)ent->fts_statp->st_size, e);
	case FTS_DC: return err_set(e, ERR_CLIENT, "%s is a link to a directory that it lies in", ent->fts_path);
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS: errno = ent->fts_errno; return err_sys(e, "reading %s", ent->fts_path);
	case FTS_SLNONE: return err_set(e, ERR_CLIENT, "%s is a link to nothing", ent->fts_path);
	default: return 0; /* directories make no objects, and devices are no data */
	}
}

static int put_tree(struct upload *u, const char *path, struct err *e)
{
	char *const roots[] = { (char *)path, NULL };
	FTS *fts = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL);
	FTSENT *ent;
	int rc = 0;

	if (!fts)
		return err_sys(e, "reading %s", path);
	errno = 0;
	while (rc == 0 && (ent = fts_read(fts)))
		rc = put_entry(u, ent, e);
	if (rc == 0 && errno)
		rc = err_sys(e, "reading %s", path);
	fts_close(fts);
	return rc;
}

/* Takes the path apart, and does it. */
static int put_path(struct upload *u, const char *path, struct err *e)
{
	_cleanup_free_ char *root = NULL;
	struct str trimmed = str_of(path);
	struct stat st;
	int rc;

	if (stat(path, &st) < 0)
		return errno == ENOENT ? err_set(e, ERR_CLIENT, "'%s' is neither an s3:// address nor here", path)
		                       : err_sys(e, "looking at %s", path);
	while (trimmed.n > 1 && str_ends(trimmed, STR("/")))
		trimmed.n--;
	root = str_dup(trimmed);
	u->root_n = trimmed.n + (str_is(trimmed, "/") ? 0 : S_ISDIR(st.st_mode) ? 1 : 0);
	rc = put_tree(u, root, e);
	if (rc == 0 && u->files == 0)
		rc = err_set(e, ERR_CLIENT, "there are no files in %s", path);
	return rc;
}

int upload_measure(const char *path, const char *bucket, const char *job, const char *channel, uint64_t *ret_files,
                   uint64_t *ret_bytes, char **ret_uri, struct err *e)
{
	struct upload u = { .bucket = bucket, .prefix = "" };

	if (put_path(&u, path, e) < 0)
		return -1;
	*ret_files = u.files;
	*ret_bytes = u.bytes;
	*ret_uri = strf("s3://%s/%s/input/%s/", bucket, job, channel);
	return 0;
}

int upload_directory(struct access *s, const char *path, const char *bucket, const char *job, const char *channel,
                     bool quiet, char **ret_uri, struct err *e)
{
	_cleanup_free_ char *prefix = strf("%s/input/%s/", job, channel);
	_cleanup_(s3_freep) struct s3 *s3 = NULL;
	struct s3_options o = { .endpoint = s->endpoint,
		                .region = s->region,
		                .access_key = s->access_key,
		                .secret_key = s->secret_key,
		                .session_token = s->token };
	struct upload u = { .bucket = bucket, .prefix = prefix, .progress = !quiet && isatty(2) };
	int rc;

	if (access(path, F_OK) < 0 && errno == ENOENT)
		return err_set(e, ERR_CLIENT, "'%s' is neither an s3:// address nor here", path);
	if (access_make_bucket(s, bucket, e) < 0 || s3_new(&o, &s3, e) < 0)
		return -1;
	u.s3 = s3;
	rc = put_path(&u, path, e);
	if (u.progress && u.files)
		fputs("\r\033[K", stderr);
	if (rc == 0)
		*ret_uri = strf("s3://%s/%s", bucket, prefix);
	return rc;
}
