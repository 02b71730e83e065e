/* blob.c - opening, closing, sweeping; buckets; adopting.  SPDX-License-Identifier: Apache-2.0 */
#include "blob/blob.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "blob/object.h"
#include "blob/upload.h"

enum { FINISHED_KEPT_MS = 24 * 3600 * 1000 };

static int make_dirs(int data, struct err *e)
{
	char path[32];

	if (mkdir_all(data, "objects", 0700, e) < 0 || mkdir_all(data, "objects/incoming", 0755, e) < 0)
		return -1;
	for (int i = 0; i < 256; i++) {
		snprintf(path, sizeof(path), "objects/%02x", i);
		if (mkdirat(data, path, 0755) < 0 && errno != EEXIST)
			return err_sys(e, "making directory %s", path);
	}
	return 0;
}

int blob_open(const char *data_dir, struct blob_store **ret, struct err *e)
{
	_cleanup_(blob_closep) struct blob_store *b = xcalloc(1, sizeof(*b));
	_cleanup_free_ char *db = strf("%s/objects.db", data_dir);
	_cleanup_close_ int data = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	b->objects = -EBADF;
	b->uploads = blob_uploads_new();
	if (data < 0)
		return err_sys(e, "opening %s", data_dir);
	if (make_dirs(data, e) < 0)
		return err_in(e, "preparing the object store in %s", data_dir);
	b->objects = openat(data, "objects", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->objects < 0 || fsync(b->objects) < 0 || fsync(data) < 0)
		return err_sys(e, "opening %s/objects", data_dir);
	if (db_open(db, &b->db, e) < 0 || blob_incoming_sweep(b, e) < 0)
		return err_in(e, "opening the object store in %s", data_dir);
	*ret = take_ptr(b);
	return 0;
}

void blob_close(struct blob_store *b)
{
	if (!b)
		return;
	db_close(b->db);
	blob_uploads_free(b->uploads);
	if (b->objects >= 0)
		close(b->objects);
	free(b);
}

/* ---- garbage ---- */

struct due {
	int64_t at;
	char id[BLOB_ID_BYTES];
};

static int read_due(struct blob_store *b, int64_t before, struct due *due, size_t max, size_t *ret_n, struct err *e)
{
	struct db_conn *c = db_reader(b->db, e);
	sqlite3_stmt *st = c ? db_stmt(c, DB_GARBAGE_DUE, e) : NULL;
	size_t n = 0;
	int more = -1;

	if (st) {
		db_bind_int(st, 1, before);
		while ((more = db_step(st, e)) > 0 && n < max) {
			due[n].at = db_col_int(st, 0);
			snprintf(due[n].id, BLOB_ID_BYTES, PRIstr, ARGstr(db_col(st, 1)));
			n++;
		}
	}
	if (c)
		db_reader_done(b->db, c);
	*ret_n = n;
	return more < 0 ? -1 : 0;
}

struct drop_due {
	const struct due *due;
	size_t n;
};

static enum s3_code drop_due_op(struct db_conn *c, void *arg, struct err *e)
{
	const struct drop_due *a = arg;
	enum s3_code code = S3_OK;

	for (size_t i = 0; i < a->n && code == S3_OK; i++) {
		sqlite3_stmt *st = db_stmt(c, DB_GARBAGE_DROP, e);

		if (st) {
			db_bind_int(st, 1, a->due[i].at);
			db_bind_text(st, 2, str_of(a->due[i].id));
		}
		code = db_run(st, e);
	}
	return code;
}

static enum s3_code drop_finished_op(struct db_conn *c, void *arg, struct err *e)
{
	sqlite3_stmt *st = db_stmt(c, DB_FINISHED_DROP, e);

	(void)arg;
	if (st)
		db_bind_int(st, 1, wall_now().ms - FINISHED_KEPT_MS);
	return db_run(st, e);
}

int blob_sweep_files(struct blob_store *b, struct wall before, struct err *e)
{
	_cleanup_free_ struct due *due = xcalloc(512, sizeof(*due));
	char path[BLOB_PATH_BYTES];
	struct drop_due a = { .due = due };

	do {
		if (read_due(b, before.ms, due, 512, &a.n, e) < 0)
			return err_in(e, "sweeping the object store");
		for (size_t i = 0; i < a.n; i++)
			if (unlinkat(b->objects, blob_path(path, due[i].id), 0) < 0 && errno != ENOENT)
				return err_sys(e, "removing objects/%s", path);
		if (a.n && db_write(b->db, drop_due_op, &a, e) != S3_OK)
			return err_in(e, "sweeping the object store");
	} while (a.n == 512);
	return 0;
}

int blob_sweep(struct blob_store *b, struct wall before, struct err *e)
{
	if (blob_sweep_files(b, before, e) < 0)
		return -1;
	return s3_code_to_err(db_write(b->db, drop_finished_op, NULL, e), e, "sweeping the object store");
}

/* ---- adopting (ADR 0006) ---- */

struct adopt {
	struct blob_store *b;
	struct str bucket, key, md5;
	uint64_t size;
	const char *path;
	char id[BLOB_ID_BYTES];
};

/* The id follows from what is adopted, so that a second try finds the file where a first one left it. */
static void adopt_id(struct adopt *a)
{
	struct buf b = { 0 };
	unsigned char digest[SHA256_BYTES];
	struct buf hex = { 0 };

	buf_f(&b, "%zu %zu %zu %llu ", a->bucket.n, a->key.n, a->md5.n, (unsigned long long)a->size);
	buf_str(&b, a->bucket);
	buf_str(&b, a->key);
	buf_str(&b, a->md5);
	buf_z(&b, a->path);
	sha256(buf_view(&b), digest);
	buf_hex(&hex, digest, 16);
	memcpy(a->id, hex.p, BLOB_ID_BYTES);
	buf_fini(&b);
	buf_fini(&hex);
}

static enum s3_code adopt_op(struct db_conn *c, void *arg, struct err *e)
{
	const struct adopt *a = arg;
	struct blob_row row = { .key = a->key,
		                .etag = a->md5,
		                .meta = str_ends(a->key, STR(".tar.gz"))
		                                ? STR("Content-Type: application/x-tar\n")
		                                : STR("Content-Type: application/octet-stream\n"),
		                .id = a->id,
		                .size = a->size,
		                .modified = wall_now() };
	enum s3_code code = bucket_number(c, a->bucket, &row.bucket, e);
	sqlite3_stmt *st;

	if (code == S3_OK)
		code = blob_row_put(c, &row, NULL, e);
	if (code != S3_OK)
		return code;
	st = db_stmt(c, DB_ADOPTED_ADD, e);
	if (st) {
		db_bind_text(st, 1, str_of(a->id));
		db_bind_int(st, 2, row.modified.ms);
	}
	return db_run(st, e);
}

static int adopted_before(const struct adopt *a, bool *ret, struct err *e)
{
	struct db_conn *c = db_reader(a->b->db, e);
	sqlite3_stmt *st = c ? db_stmt(c, DB_ADOPTED_GET, e) : NULL;
	int found = -1;

	if (st) {
		db_bind_text(st, 1, str_of(a->id));
		found = db_step(st, e);
	}
	if (c)
		db_reader_done(a->b->db, c);
	if (found < 0)
		return -1;
	*ret = found > 0;
	return 0;
}

/* Moves the file to its place, unless an earlier try has. */
static int adopt_file(const struct adopt *a, struct err *e)
{
	char to[BLOB_PATH_BYTES];
	struct stat st;
	_cleanup_close_ int fd = -EBADF;

	blob_path(to, a->id);
	if (renameat(AT_FDCWD, a->path, a->b->objects, to) < 0 && errno != ENOENT)
		return err_sys(e, "moving %s into the object store", a->path);
	fd = openat(a->b->objects, to, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "%s does not exist, and no earlier try took it over", a->path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "opening objects/%s", to);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != a->size)
		return err_set(e, ERR_INVALID, "%s has %lld bytes, %llu were announced", a->path, (long long)st.st_size,
		               (unsigned long long)a->size);
	/* Somebody else's file keeps its mode: what counts is that it can be read, and it has just been opened. */
	if ((st.st_mode & 07777) != 0644 && fchmod(fd, 0644) < 0 && errno != EPERM)
		return err_sys(e, "setting the mode of objects/%s", to);
	return blob_sync_dir(a->b, a->id, e);
}

int blob_adopt(struct blob_store *b, struct str bucket, struct str key, const char *path, uint64_t size, struct str md5,
               struct err *e)
{
	struct adopt a = { .b = b, .bucket = bucket, .key = key, .md5 = md5, .size = size, .path = path };
	bool exists = false, done = false;

	if (key.n == 0 || key.n > BLOB_KEY_MAX || !utf8_valid(key))
		return err_set(e, ERR_INVALID, "'" PRIstr "' cannot be an object's key", ARGstr(key));
	if (blob_bucket_exists(b, bucket, &exists, e) < 0)
		return -1;
	if (!exists)
		return err_set(e, ERR_NOT_FOUND, "the bucket " PRIstr " does not exist", ARGstr(bucket));
	adopt_id(&a);
	if (adopted_before(&a, &done, e) < 0)
		return -1;
	if (done)
		return 0;
	if (adopt_file(&a, e) < 0)
		return -1;
	return s3_code_to_err(db_write(b->db, adopt_op, &a, e), e, "adopting %s as s3://" PRIstr "/" PRIstr, path,
	                      ARGstr(bucket), ARGstr(key));
}
