/* object.c - rows of objects: put, get, copy, drop.  SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "blob/object.h"

void blob_object_fini(struct blob_object *o)
{
	buf_fini(&o->etag);
	buf_fini(&o->meta);
}

static void keep_id(char dst[BLOB_ID_BYTES], struct str id)
{
	snprintf(dst, BLOB_ID_BYTES, PRIstr, ARGstr(id));
}

static enum s3_code read_object(sqlite3_stmt *st, struct blob_object *ret, struct err *e)
{
	int found = db_step(st, e);

	if (found < 0)
		return S3_InternalError;
	if (!found)
		return S3_NoSuchBucket;
	if (sqlite3_column_type(st, 0) == SQLITE_NULL)
		return S3_NoSuchKey;
	keep_id(ret->id, db_col(st, 0));
	ret->size = (uint64_t)db_col_int(st, 1);
	ret->modified.ms = db_col_int(st, 3);
	buf_reset(&ret->etag);
	buf_str(&ret->etag, db_col(st, 2));
	buf_reset(&ret->meta);
	buf_str(&ret->meta, db_col(st, 4));
	return S3_OK;
}

enum s3_code blob_object_get(struct blob_store *b, struct str bucket, struct str key, struct blob_object *ret,
                             struct err *e)
{
	struct db_conn *c = db_reader(b->db, e);
	sqlite3_stmt *st = c ? db_stmt(c, DB_OBJECT_GET, e) : NULL;
	enum s3_code code = S3_InternalError;

	if (st) {
		db_bind_text(st, 1, bucket);
		db_bind_blob(st, 2, key);
		code = read_object(st, ret, e);
	}
	if (c)
		db_reader_done(b->db, c);
	return code;
}

enum s3_code blob_object_open(struct blob_store *b, struct str bucket, struct str key, struct blob_object *ret,
                              int *ret_fd, struct err *e)
{
	char path[BLOB_PATH_BYTES];
	int fd = -1;

	/* Between the row and the open the object may be replaced and its file swept: then the next row is the truth.
	 */
	for (int tries = 0; fd < 0; tries++) {
		enum s3_code code = blob_object_get(b, bucket, key, ret, e);

		if (code != S3_OK)
			return code;
		fd = openat(b->objects, blob_path(path, ret->id), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 && (errno != ENOENT || tries == 8)) {
			err_sys(e, "opening objects/%s of s3://" PRIstr "/" PRIstr, path, ARGstr(bucket), ARGstr(key));
			return S3_InternalError;
		}
	}
	*ret_fd = fd;
	return S3_OK;
}

/* ---- in transactions ---- */

static enum s3_code run_for_id(struct db_conn *c, enum db_sql which, const char *id, struct err *e)
{
	sqlite3_stmt *st = db_stmt(c, which, e);

	if (st)
		db_bind_text(st, 1, str_of(id));
	return db_run(st, e);
}

enum s3_code blob_file_drop(struct db_conn *c, const char *id, struct wall at, struct err *e)
{
	sqlite3_stmt *st = db_stmt(c, DB_SHARED_GET, e);
	enum s3_code code;
	int shared;

	if (!st)
		return S3_InternalError;
	db_bind_text(st, 1, str_of(id));
	shared = db_step(st, e);
	if (shared < 0)
		return S3_InternalError;
	sqlite3_reset(st);
	if (shared) {
		code = run_for_id(c, DB_SHARED_SUB, id, e);
		return code == S3_OK ? run_for_id(c, DB_SHARED_DROP, id, e) : code;
	}
	st = db_stmt(c, DB_GARBAGE_ADD, e);
	if (st) {
		db_bind_int(st, 1, at.ms);
		db_bind_text(st, 2, str_of(id));
	}
	return db_run(st, e);
}

/* What is there now: *ret_found, its id and ETag. */
static enum s3_code present(struct db_conn *c, int64_t bucket, struct str key, bool *ret_found, struct blob_object *ret,
                            struct err *e)
{
	sqlite3_stmt *st = db_stmt(c, DB_OBJECT_ID, e);
	int found;

	if (!st)
		return S3_InternalError;
	db_bind_int(st, 1, bucket);
	db_bind_blob(st, 2, key);
	found = db_step(st, e);
	if (found < 0)
		return S3_InternalError;
	if (found) {
		keep_id(ret->id, db_col(st, 0));
		buf_str(&ret->etag, db_col(st, 1));
		ret->size = (uint64_t)db_col_int(st, 2);
	}
	sqlite3_reset(st);
	*ret_found = found > 0;
	return S3_OK;
}

static struct str unquoted(struct str etag)
{
	if (etag.n >= 2 && etag.p[0] == '"' && etag.p[etag.n - 1] == '"')
		return (struct str){ etag.p + 1, etag.n - 2 };
	return etag;
}

static enum s3_code check_cond(const struct blob_cond *cond, bool found, struct str etag)
{
	if (cond && cond->if_none_match.n && found &&
	    (str_is(cond->if_none_match, "*") || str_eq(unquoted(cond->if_none_match), etag)))
		return S3_PreconditionFailed;
	if (cond && cond->if_match.n && !found)
		return S3_NoSuchKey;
	if (cond && cond->if_match.n && !str_is(cond->if_match, "*") && !str_eq(unquoted(cond->if_match), etag))
		return S3_PreconditionFailed;
	return S3_OK;
}

enum s3_code blob_row_put(struct db_conn *c, const struct blob_row *row, const struct blob_cond *cond, struct err *e)
{
	_cleanup_(blob_object_fini) struct blob_object old = { 0 };
	sqlite3_stmt *st;
	bool found;
	enum s3_code code = present(c, row->bucket, row->key, &found, &old, e);

	if (code == S3_OK)
		code = check_cond(cond, found, buf_view(&old.etag));
	if (code == S3_OK && found)
		code = blob_file_drop(c, old.id, row->modified, e);
	if (code != S3_OK)
		return code;
	st = db_stmt(c, DB_OBJECT_PUT, e);
	if (st) {
		db_bind_int(st, 1, row->bucket);
		db_bind_blob(st, 2, row->key);
		db_bind_text(st, 3, str_of(row->id));
		db_bind_int(st, 4, (int64_t)row->size);
		db_bind_text(st, 5, row->etag);
		db_bind_int(st, 6, row->modified.ms);
		db_bind_blob(st, 7, row->meta);
	}
	return db_run(st, e);
}

struct put_op {
	struct str bucket;
	struct blob_row row;
	const struct blob_cond *cond;
};

static enum s3_code put_op(struct db_conn *c, void *arg, struct err *e)
{
	struct put_op *op = arg;
	enum s3_code code = bucket_number(c, op->bucket, &op->row.bucket, e);

	if (code == S3_OK)
		code = blob_row_put(c, &op->row, op->cond, e);
	if (code == S3_OK)
		code = blob_in_land(c, op->row.id, e);
	return code;
}

enum s3_code blob_object_put(struct blob_in *in, struct str bucket, struct str key, struct str etag, struct str meta,
                             const struct blob_cond *cond, struct err *e)
{
	struct put_op op = { .bucket = bucket, .cond = cond };
	enum s3_code code;

	if (blob_in_seal(in, e) < 0)
		return S3_InternalError;
	op.row = (struct blob_row){
		.key = key, .etag = etag, .meta = meta, .id = in->id, .size = in->size, .modified = wall_now()
	};
	code = db_write(in->b->db, put_op, &op, e);
	in->fate = code == S3_OK ? BLOB_IN_COMMITTED : code == S3_InternalError ? BLOB_IN_UNSURE : BLOB_IN_LOOSE;
	return code;
}

struct copy_op {
	struct str from_bucket, from_key, to_bucket, to_key, meta;
	const struct blob_object *from;
	const struct blob_cond *cond;
	struct wall modified;
};

static enum s3_code copy_op(struct db_conn *c, void *arg, struct err *e)
{
	struct copy_op *op = arg;
	_cleanup_(blob_object_fini) struct blob_object now = { 0 };
	struct blob_row row = { .key = op->to_key,
		                .etag = buf_view(&op->from->etag),
		                .meta = op->meta,
		                .id = op->from->id,
		                .size = op->from->size,
		                .modified = op->modified };
	int64_t from_bucket = 0;
	bool found = false;
	enum s3_code code = bucket_number(c, op->from_bucket, &from_bucket, e);

	if (code == S3_OK)
		code = present(c, from_bucket, op->from_key, &found, &now, e);
	if (code == S3_OK && (!found || strcmp(now.id, op->from->id)))
		code = S3_OperationAborted;
	if (code == S3_OK)
		code = bucket_number(c, op->to_bucket, &row.bucket, e);
	/* First one more name, then away with what the target was: copying an object onto itself nets to nothing. */
	if (code == S3_OK)
		code = run_for_id(c, DB_SHARED_ADD, op->from->id, e);
	return code == S3_OK ? blob_row_put(c, &row, op->cond, e) : code;
}

enum s3_code blob_object_copy(struct blob_store *b, struct str from_bucket, struct str from_key,
                              const struct blob_object *from, struct str to_bucket, struct str to_key, struct str meta,
                              const struct blob_cond *cond, struct wall *ret_modified, struct err *e)
{
	struct copy_op op = { from_bucket, from_key, to_bucket, to_key, meta, from, cond, wall_now() };
	enum s3_code code = db_write(b->db, copy_op, &op, e);

	if (code == S3_OK && ret_modified)
		*ret_modified = op.modified;
	return code;
}

struct drop_op {
	struct str bucket;
	const struct str *keys;
	size_t n;
};

static enum s3_code drop_one(struct db_conn *c, int64_t bucket, struct str key, struct wall at, struct err *e)
{
	_cleanup_(blob_object_fini) struct blob_object old = { 0 };
	sqlite3_stmt *st;
	bool found = false;
	enum s3_code code = present(c, bucket, key, &found, &old, e);

	if (code == S3_OK && found)
		code = blob_file_drop(c, old.id, at, e);
	if (code != S3_OK || !found)
		return code;
	st = db_stmt(c, DB_OBJECT_DROP, e);
	if (st) {
		db_bind_int(st, 1, bucket);
		db_bind_blob(st, 2, key);
	}
	return db_run(st, e);
}

static enum s3_code drop_op(struct db_conn *c, void *arg, struct err *e)
{
	const struct drop_op *op = arg;
	struct wall now = wall_now();
	int64_t bucket = 0;
	enum s3_code code = bucket_number(c, op->bucket, &bucket, e);

	for (size_t i = 0; i < op->n && code == S3_OK; i++)
		code = drop_one(c, bucket, op->keys[i], now, e);
	return code;
}

enum s3_code blob_object_drop(struct blob_store *b, struct str bucket, const struct str *keys, size_t n, struct err *e)
{
	struct drop_op op = { bucket, keys, n };

	return db_write(b->db, drop_op, &op, e);
}

/* ---- blob.h ---- */

int blob_find(struct blob_store *b, struct str bucket, struct str key, struct buf *scratch, struct blob_entry *ret,
              int *ret_fd, struct err *e)
{
	_cleanup_(blob_object_fini) struct blob_object o = { 0 };
	enum s3_code code = ret_fd ? blob_object_open(b, bucket, key, &o, ret_fd, e)
	                           : blob_object_get(b, bucket, key, &o, e);

	if (code != S3_OK)
		return s3_code_to_err(code, e, "reading s3://" PRIstr "/" PRIstr, ARGstr(bucket), ARGstr(key));
	buf_reset(scratch);
	buf_z(scratch, o.id);
	buf_str(scratch, buf_view(&o.etag));
	*ret = (struct blob_entry){ .id = { scratch->p, strlen(o.id) },
		                    .etag = { scratch->p + strlen(o.id), o.etag.n },
		                    .key = key,
		                    .size = o.size,
		                    .modified = o.modified };
	return 0;
}
