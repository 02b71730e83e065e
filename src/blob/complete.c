/* complete.c - the ends of a multipart upload: completed, aborted, gone with its bucket.
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "blob/claim.h"

static enum s3_code run_for_upload(struct db_conn *c, enum db_sql which, const char *upload, struct err *e)
{
	sqlite3_stmt *st = db_stmt(c, which, e);

	if (st)
		db_bind_text(st, 1, str_of(upload));
	return db_run(st, e);
}

/* The file of part number > *after, or of the upload itself when there is none left. 1, 0 at the end, -1. */
static int next_part_file(struct db_conn *c, const char *upload, unsigned *after, char ret[BLOB_ID_BYTES],
                          struct err *e)
{
	sqlite3_stmt *st = db_stmt(c, DB_PART_LIST, e);
	int found;

	if (!st)
		return -1;
	db_bind_text(st, 1, str_of(upload));
	db_bind_int(st, 2, *after);
	found = db_step(st, e);
	if (found > 0) {
		*after = (unsigned)db_col_int(st, 0);
		snprintf(ret, BLOB_ID_BYTES, PRIstr, ARGstr(db_col(st, 1)));
		sqlite3_reset(st);
	}
	return found;
}

/* In a transaction: the upload and its parts are gone; their files, but for `keep`, are garbage that no job has seen.
 */
static enum s3_code upload_drop(struct db_conn *c, const char *upload, const char *file, const char *keep,
                                struct err *e)
{
	char part_file[BLOB_ID_BYTES];
	unsigned after = 0;
	enum s3_code code = S3_OK;
	int more = 0;

	while (code == S3_OK && (more = next_part_file(c, upload, &after, part_file, e)) > 0)
		if (strcmp(part_file, file) && strcmp(part_file, keep))
			code = blob_file_drop(c, part_file, (struct wall){ 0 }, e);
	if (more < 0)
		return S3_InternalError;
	if (code == S3_OK && strcmp(file, keep))
		code = blob_file_drop(c, file, (struct wall){ 0 }, e);
	if (code == S3_OK)
		code = run_for_upload(c, DB_PART_DROP_ALL, upload, e);
	return code == S3_OK ? run_for_upload(c, DB_UPLOAD_DROP, upload, e) : code;
}

enum s3_code blob_uploads_drop_bucket(struct db_conn *c, int64_t bucket, struct err *e)
{
	enum s3_code code = S3_OK;

	while (code == S3_OK) {
		char upload[BLOB_ID_BYTES], file[BLOB_ID_BYTES];
		sqlite3_stmt *st = db_stmt(c, DB_UPLOAD_OF, e);
		int found;

		if (!st)
			return S3_InternalError;
		db_bind_int(st, 1, bucket);
		found = db_step(st, e);
		if (found <= 0)
			return found < 0 ? S3_InternalError : S3_OK;
		snprintf(upload, sizeof(upload), PRIstr, ARGstr(db_col(st, 0)));
		snprintf(file, sizeof(file), PRIstr, ARGstr(db_col(st, 1)));
		sqlite3_reset(st);
		code = upload_drop(c, upload, file, "", e);
	}
	return code;
}

/* In a transaction: whether the upload is still there. */
static enum s3_code still_there(struct db_conn *c, const char *upload, struct err *e)
{
	sqlite3_stmt *st = db_stmt(c, DB_UPLOAD_FILE, e);
	int found;

	if (!st)
		return S3_InternalError;
	db_bind_text(st, 1, str_of(upload));
	found = db_step(st, e);
	sqlite3_reset(st);
	return found < 0 ? S3_InternalError : found ? S3_OK : S3_NoSuchUpload;
}

static enum s3_code abort_op(struct db_conn *c, void *arg, struct err *e)
{
	const struct blob_upload *u = arg;
	enum s3_code code = still_there(c, u->id, e);

	return code == S3_OK ? upload_drop(c, u->id, u->file, "", e) : code;
}

enum s3_code blob_upload_abort(struct blob_store *b, const struct blob_upload *u, struct err *e)
{
	struct blob_upload copy = *u;
	enum s3_code code = db_write(b->db, abort_op, &copy, e);

	/* What cannot be removed now is in the garbage table for the next sweep. */
	if (code == S3_OK && blob_sweep_files(b, (struct wall){ 1 }, NULL) < 0)
		return S3_OK;
	return code;
}

/* ---- completing ---- */

struct complete_op {
	const struct blob_upload *u;
	const struct blob_parts *all;
	const size_t *chosen;
	size_t n;
	struct blob_row row;
	const struct blob_cond *cond;
	bool landed; /* the file came through incoming/ */
};

/* In a transaction: the chosen parts are as they were when the file was put together. */
static enum s3_code parts_unchanged(struct db_conn *c, const struct complete_op *op, struct err *e)
{
	for (size_t i = 0; i < op->n; i++) {
		const struct blob_part *p = &op->all->v[op->chosen[i]];
		sqlite3_stmt *st = db_stmt(c, DB_PART_GET, e);
		int found;
		bool same;

		if (!st)
			return S3_InternalError;
		db_bind_text(st, 1, str_of(op->u->id));
		db_bind_int(st, 2, p->number);
		found = db_step(st, e);
		if (found < 0)
			return S3_InternalError;
		same = found && str_is(db_col(st, 0), p->file) && (uint64_t)db_col_int(st, 1) == p->at &&
		       str_is(db_col(st, 3), p->etag);
		sqlite3_reset(st);
		if (!same)
			return S3_OperationAborted;
	}
	return S3_OK;
}

static enum s3_code complete_op(struct db_conn *c, void *arg, struct err *e)
{
	struct complete_op *op = arg;
	sqlite3_stmt *st;
	enum s3_code code = still_there(c, op->u->id, e);

	if (code == S3_OK)
		code = parts_unchanged(c, op, e);
	if (code == S3_OK)
		code = blob_row_put(c, &op->row, op->cond, e);
	if (code == S3_OK)
		code = upload_drop(c, op->u->id, op->u->file, op->row.id, e);
	if (code == S3_OK && op->landed)
		code = blob_in_land(c, op->row.id, e);
	if (code != S3_OK)
		return code;
	st = db_stmt(c, DB_FINISHED_ADD, e);
	if (st) {
		db_bind_text(st, 1, str_of(op->u->id));
		db_bind_int(st, 2, op->row.bucket);
		db_bind_blob(st, 3, op->row.key);
		db_bind_text(st, 4, op->row.etag);
		db_bind_int(st, 5, op->row.modified.ms);
	}
	return db_run(st, e);
}

/* Whether the upload's own file holds just the chosen parts, end to end, and nothing else that was acknowledged. now:
 * the parts as they are while we hold the completion; the caller's list may be older. */
static bool lies_ready(const struct complete_op *op, const struct blob_parts *now)
{
	uint64_t end = 0;
	size_t in_place = 0;

	for (size_t i = 0; i < op->n; i++) {
		const struct blob_part *p = &op->all->v[op->chosen[i]];

		if (strcmp(p->file, op->u->file) || p->at != end)
			return false;
		end += p->size;
	}
	for (size_t i = 0; i < now->n; i++)
		in_place += strcmp(now->v[i].file, op->u->file) == 0;
	return in_place == op->n;
}

/* Cuts off what writers that never finished left behind the last part. */
static int trim(struct blob_store *b, const char *id, uint64_t size, struct err *e)
{
	char path[BLOB_PATH_BYTES];
	_cleanup_close_ int fd = openat(b->objects, blob_path(path, id), O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return err_sys(e, "cutting objects/%s to %llu bytes", path, (unsigned long long)size);
	return blob_sync_file(fd, e);
}

static int assemble(const struct complete_op *op, struct blob_in *in, struct err *e)
{
	for (size_t i = 0; i < op->n; i++) {
		const struct blob_part *p = &op->all->v[op->chosen[i]];
		char path[BLOB_PATH_BYTES];
		_cleanup_close_ int fd = openat(in->b->objects, blob_path(path, p->file), O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			return err_sys(e, "opening objects/%s of part %u", path, p->number);
		if (blob_in_copy(in, fd, p->at, p->size, e) < 0)
			return err_in(e, "putting part %u in its place", p->number);
	}
	return blob_in_seal(in, e);
}

/* Finds, or puts together, the file that will be the object. in is begun only when bytes must be copied. */
static int find_file(struct blob_store *b, struct complete_op *op, bool ready, struct blob_in *in, struct err *e)
{
	const struct blob_part *only = op->n == 1 ? &op->all->v[op->chosen[0]] : NULL;

	if (ready) {
		op->row.id = op->u->file;
		return trim(b, op->row.id, op->row.size, e);
	}
	if (only && strcmp(only->file, op->u->file)) {
		op->row.id = only->file; /* a whole file by itself already */
		return 0;
	}
	if (blob_in_begin(b, in, e) < 0)
		return -1;
	op->row.id = in->id;
	op->landed = true;
	return assemble(op, in, e);
}

/* Holding the completion: nobody else completes, and no part begins to be written in place. */
static enum s3_code complete_alone(struct blob_store *b, struct complete_op *op, bool alone, struct err *e)
{
	struct blob_in in = { .b = b, .fd = -EBADF };
	_cleanup_(blob_parts_fini) struct blob_parts now = { 0 };
	enum s3_code code = blob_parts_load(b, op->u->id, 0, &now, e);

	if (code == S3_OK && !now.n)
		code = S3_NoSuchUpload; /* it was completed or aborted between the caller's look and now */
	if (code != S3_OK)
		return code;
	if (find_file(b, op, alone && lies_ready(op, &now), &in, e) < 0) {
		/* Aborted meanwhile, the parts' files are gone: then that is the answer, and not what failed for it. */
		blob_parts_fini(&now);
		code = blob_parts_load(b, op->u->id, 0, &now, NULL) == S3_OK && !now.n ? S3_NoSuchUpload
		                                                                       : S3_InternalError;
	} else {
		op->row.modified = wall_now();
		code = db_write(b->db, complete_op, op, e);
		in.fate = code == S3_OK ? BLOB_IN_COMMITTED : code == S3_InternalError ? BLOB_IN_UNSURE : BLOB_IN_LOOSE;
	}
	blob_in_end(&in);
	return code;
}

enum s3_code blob_upload_complete(struct blob_store *b, const struct blob_upload *u, struct str key,
                                  const struct blob_parts *all, const size_t *chosen, size_t n, struct str etag,
                                  struct str meta, const struct blob_cond *cond, struct err *e)
{
	struct complete_op op = { .u = u, .all = all, .chosen = chosen, .n = n, .cond = cond };
	enum s3_code code;
	bool alone;

	op.row = (struct blob_row){ .bucket = u->bucket, .key = key, .etag = etag, .meta = meta };
	for (size_t i = 0; i < n; i++)
		op.row.size += all->v[chosen[i]].size;
	if (!claim_completion(b->uploads, u->id, &alone))
		return S3_OperationAborted;
	code = complete_alone(b, &op, alone, e);
	claim_completed(b->uploads, u->id);
	if (code == S3_OK && blob_sweep_files(b, (struct wall){ 1 }, NULL) < 0)
		return S3_OK; /* the sweep comes again */
	return code;
}

static enum s3_code finished_row(struct db_conn *c, struct str bucket, struct str key, struct str upload,
                                 struct buf *ret_etag, struct err *e)
{
	sqlite3_stmt *st;
	int64_t number = 0;
	int found;
	enum s3_code code = bucket_number(c, bucket, &number, e);

	if (code != S3_OK)
		return code;
	st = db_stmt(c, DB_FINISHED_GET, e);
	if (!st)
		return S3_InternalError;
	db_bind_text(st, 1, upload);
	db_bind_int(st, 2, number);
	db_bind_blob(st, 3, key);
	found = db_step(st, e);
	if (found <= 0)
		return found < 0 ? S3_InternalError : S3_NoSuchUpload;
	buf_str(ret_etag, db_col(st, 0));
	sqlite3_reset(st);
	return S3_OK;
}

enum s3_code blob_upload_finished(struct blob_store *b, struct str bucket, struct str key, struct str upload,
                                  struct buf *ret_etag, struct err *e)
{
	struct db_conn *c = db_reader(b->db, e);
	enum s3_code code;

	if (!c)
		return S3_InternalError;
	code = finished_row(c, bucket, key, upload, ret_etag, e);
	db_reader_done(b->db, c);
	return code;
}
