/* bucket.c - buckets: their names and rows.  SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "blob/object.h"
#include "blob/upload.h"

enum { BUCKETS_MAX = 10000 };

static bool looks_like_ip(struct str s)
{
	int pieces = 0;

	for (; s.n; pieces++) {
		struct str piece = str_cut(&s, '.');
		uint64_t v;

		if (!str_to_u64(piece, &v) || v > 255)
			return false;
	}
	return pieces == 4;
}

static bool lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool bucket_name_ok(struct str name)
{
	if (name.n < 3 || name.n > 63)
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (!lower_or_digit(name.p[i]) && name.p[i] != '-' && name.p[i] != '.')
			return false;
	if (!lower_or_digit(name.p[0]) || !lower_or_digit(name.p[name.n - 1]))
		return false;
	return str_find(name, STR("..")) < 0 && !str_starts(name, STR("xn--")) && !str_starts(name, STR("sthree-")) &&
	       !str_ends(name, STR("-s3alias")) && !str_ends(name, STR("--ol-s3")) && !looks_like_ip(name);
}

static enum s3_code bucket_row(struct db_conn *c, struct str bucket, int64_t *ret_id, struct wall *ret_created,
                               struct err *e)
{
	sqlite3_stmt *st = db_stmt(c, DB_BUCKET_ID, e);
	int found;

	if (!st)
		return S3_InternalError;
	db_bind_text(st, 1, bucket);
	found = db_step(st, e);
	if (found < 0)
		return S3_InternalError;
	if (!found)
		return S3_NoSuchBucket;
	*ret_id = db_col_int(st, 0);
	ret_created->ms = db_col_int(st, 1);
	sqlite3_reset(st);
	return S3_OK;
}

enum s3_code bucket_number(struct db_conn *c, struct str bucket, int64_t *ret, struct err *e)
{
	struct wall created;

	return bucket_row(c, bucket, ret, &created, e);
}

enum s3_code blob_bucket_find(struct blob_store *b, struct str bucket, struct wall *ret_created, struct err *e)
{
	struct db_conn *c = db_reader(b->db, e);
	struct wall created;
	int64_t id;
	enum s3_code code;

	if (!c)
		return S3_InternalError;
	code = bucket_row(c, bucket, &id, &created, e);
	db_reader_done(b->db, c);
	if (code == S3_OK && ret_created)
		*ret_created = created;
	return code;
}

struct bucket_op {
	struct str bucket;
	bool existed;
	struct blob_uploads *uploads;
};

static enum s3_code add_op(struct db_conn *c, void *arg, struct err *e)
{
	struct bucket_op *op = arg;
	sqlite3_stmt *st;
	int64_t id, count = 0;
	enum s3_code code = bucket_number(c, op->bucket, &id, e);

	op->existed = code == S3_OK;
	if (code != S3_NoSuchBucket)
		return code;
	st = db_stmt(c, DB_BUCKET_COUNT, e);
	if (!st || db_step(st, e) < 0)
		return S3_InternalError;
	count = db_col_int(st, 0);
	sqlite3_reset(st);
	if (count >= BUCKETS_MAX)
		return S3_TooManyBuckets;
	st = db_stmt(c, DB_BUCKET_ADD, e);
	if (st) {
		db_bind_text(st, 1, op->bucket);
		db_bind_int(st, 2, wall_now().ms);
	}
	return db_run(st, e);
}

enum s3_code blob_bucket_add(struct blob_store *b, struct str bucket, bool *ret_existed, struct err *e)
{
	struct bucket_op op = { .bucket = bucket };
	enum s3_code code = bucket_name_ok(bucket) ? db_write(b->db, add_op, &op, e) : S3_InvalidBucketName;

	if (code == S3_OK && ret_existed)
		*ret_existed = op.existed;
	return code;
}

static enum s3_code drop_op(struct db_conn *c, void *arg, struct err *e)
{
	struct bucket_op *op = arg;
	sqlite3_stmt *st;
	int64_t id;
	int used;
	enum s3_code code = bucket_number(c, op->bucket, &id, e);

	if (code != S3_OK)
		return code;
	st = db_stmt(c, DB_BUCKET_USED, e);
	if (!st)
		return S3_InternalError;
	db_bind_int(st, 1, id);
	used = db_step(st, e);
	sqlite3_reset(st);
	if (used != 0)
		return used < 0 ? S3_InternalError : S3_BucketNotEmpty;
	code = blob_uploads_drop_bucket(c, id, e);
	if (code != S3_OK)
		return code;
	st = db_stmt(c, DB_BUCKET_DROP, e);
	if (st)
		db_bind_int(st, 1, id);
	return db_run(st, e);
}

enum s3_code blob_bucket_drop(struct blob_store *b, struct str bucket, struct err *e)
{
	struct bucket_op op = { .bucket = bucket };

	return db_write(b->db, drop_op, &op, e);
}

enum s3_code blob_bucket_each(struct blob_store *b, void (*fn)(struct str name, struct wall created, void *arg),
                              void *arg, struct err *e)
{
	struct db_conn *c = db_reader(b->db, e);
	sqlite3_stmt *st = c ? db_stmt(c, DB_BUCKET_ALL, e) : NULL;
	int more = -1;

	while (st && (more = db_step(st, e)) > 0)
		fn(db_col(st, 0), (struct wall){ db_col_int(st, 1) }, arg);
	if (c)
		db_reader_done(b->db, c);
	return more < 0 ? S3_InternalError : S3_OK;
}

/* ---- blob.h ---- */

int blob_bucket_exists(struct blob_store *b, struct str bucket, bool *ret, struct err *e)
{
	enum s3_code code = blob_bucket_find(b, bucket, NULL, e);

	if (code != S3_OK && code != S3_NoSuchBucket)
		return s3_code_to_err(code, e, "looking for the bucket " PRIstr, ARGstr(bucket));
	*ret = code == S3_OK;
	return 0;
}

int blob_bucket_create(struct blob_store *b, struct str bucket, struct err *e)
{
	return s3_code_to_err(blob_bucket_add(b, bucket, NULL, e), e, "creating the bucket " PRIstr, ARGstr(bucket));
}
