/* upload.c - multipart uploads and their parts; completing is complete.c.  SPDX-License-Identifier: Apache-2.0 */
#include "blob/upload.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blob/claim.h"

void blob_upload_fini(struct blob_upload *u)
{
	buf_fini(&u->algorithm);
	buf_fini(&u->meta);
}

static void keep_id(char dst[BLOB_ID_BYTES], struct str id)
{
	snprintf(dst, BLOB_ID_BYTES, PRIstr, ARGstr(id));
}

struct begin_op {
	struct str bucket, key, algorithm, meta;
	char id[BLOB_ID_BYTES], file[BLOB_ID_BYTES];
};

static enum s3_code begin_op(struct db_conn *c, void *arg, struct err *e)
{
	const struct begin_op *op = arg;
	sqlite3_stmt *st;
	int64_t bucket = 0;
	enum s3_code code = bucket_number(c, op->bucket, &bucket, e);

	if (code != S3_OK)
		return code;
	st = db_stmt(c, DB_UPLOAD_ADD, e);
	if (st) {
		db_bind_text(st, 1, str_of(op->id));
		db_bind_int(st, 2, bucket);
		db_bind_blob(st, 3, op->key);
		db_bind_int(st, 4, wall_now().ms);
		db_bind_text(st, 5, str_of(op->file));
		db_bind_text(st, 6, op->algorithm);
		db_bind_blob(st, 7, op->meta);
	}
	return db_run(st, e);
}

enum s3_code blob_upload_begin(struct blob_store *b, struct str bucket, struct str key, struct str algorithm,
                               struct str meta, char ret_id[BLOB_ID_BYTES], struct err *e)
{
	struct begin_op op = { bucket, key, algorithm, meta, "", "" };
	enum s3_code code;

	blob_id_new(op.id);
	blob_id_new(op.file);
	code = db_write(b->db, begin_op, &op, e);
	if (code == S3_OK)
		memcpy(ret_id, op.id, BLOB_ID_BYTES);
	return code;
}

static enum s3_code upload_row(struct db_conn *c, struct str bucket, struct str key, struct str id,
                               struct blob_upload *ret, struct err *e)
{
	sqlite3_stmt *st = db_stmt(c, DB_UPLOAD_GET, e);
	int found;

	if (!st)
		return S3_InternalError;
	db_bind_text(st, 1, id);
	db_bind_text(st, 2, bucket);
	db_bind_blob(st, 3, key);
	found = db_step(st, e);
	if (found <= 0)
		return found < 0 ? S3_InternalError : S3_NoSuchUpload;
	keep_id(ret->id, id);
	ret->bucket = db_col_int(st, 0);
	ret->created.ms = db_col_int(st, 2);
	keep_id(ret->file, db_col(st, 3));
	buf_reset(&ret->algorithm);
	buf_str(&ret->algorithm, db_col(st, 4));
	buf_reset(&ret->meta);
	buf_str(&ret->meta, db_col(st, 5));
	sqlite3_reset(st);
	return S3_OK;
}

enum s3_code blob_upload_get(struct blob_store *b, struct str bucket, struct str key, struct str id,
                             struct blob_upload *ret, struct err *e)
{
	struct db_conn *c = db_reader(b->db, e);
	int64_t number;
	enum s3_code code;

	if (!c)
		return S3_InternalError;
	code = bucket_number(c, bucket, &number, e);
	if (code == S3_OK)
		code = upload_row(c, bucket, key, id, ret, e);
	db_reader_done(b->db, c);
	return code;
}

enum s3_code blob_upload_each(struct blob_store *b, struct str bucket, struct str after_key, struct str after_id,
                              bool (*fn)(struct str key, struct str id, struct wall created, struct str algorithm,
                                         void *arg),
                              void *arg, struct err *e)
{
	struct db_conn *c = db_reader(b->db, e);
	sqlite3_stmt *st;
	int64_t number = 0;
	int more = -1;
	enum s3_code code;

	if (!c)
		return S3_InternalError;
	code = bucket_number(c, bucket, &number, e);
	st = code == S3_OK ? db_stmt(c, DB_UPLOAD_LIST, e) : NULL;
	if (st) {
		db_bind_int(st, 1, number);
		db_bind_blob(st, 2, after_key);
		db_bind_text(st, 3, after_id);
		while ((more = db_step(st, e)) > 0)
			if (!fn(db_col(st, 0), db_col(st, 1), (struct wall){ db_col_int(st, 2) }, db_col(st, 3), arg))
				break;
	}
	db_reader_done(b->db, c);
	return code != S3_OK ? code : more < 0 ? S3_InternalError : S3_OK;
}

/* ---- parts ---- */

struct place {
	bool taken;    /* a part of that number has been committed */
	uint64_t step; /* P, as the parts in place tell it; 0: they do not */
};

/* What the committed parts say about the place of part `number`. */
static enum s3_code find_place(struct db_conn *c, const struct blob_upload *u, unsigned number, struct place *ret,
                               struct err *e)
{
	struct place place = { 0 };
	sqlite3_stmt *st = db_stmt(c, DB_PART_GET, e);
	int more;

	if (!st)
		return S3_InternalError;
	db_bind_text(st, 1, str_of(u->id));
	db_bind_int(st, 2, number);
	more = db_step(st, e);
	sqlite3_reset(st);
	place.taken = more > 0;
	st = more < 0 ? NULL : db_stmt(c, DB_PART_LIST, e);
	if (!st)
		return S3_InternalError;
	db_bind_text(st, 1, str_of(u->id));
	db_bind_int(st, 2, 0);
	while ((more = db_step(st, e)) > 0) {
		unsigned n = (unsigned)db_col_int(st, 0);

		if (!str_is(db_col(st, 1), u->file))
			continue;
		/* Part 1 tells only a lower bound, any later one tells P. */
		place.step = n > 1 ? (uint64_t)db_col_int(st, 2) / (n - 1) : (uint64_t)db_col_int(st, 3);
		if (n > 1)
			break;
	}
	sqlite3_reset(st);
	if (more < 0)
		return S3_InternalError;
	*ret = place;
	return S3_OK;
}

static int open_in_place(struct blob_store *b, const struct blob_upload *u, uint64_t at, struct blob_in *ret,
                         struct err *e)
{
	struct blob_in in = { .b = b, .base = at, .in_place = true };
	char path[BLOB_PATH_BYTES];

	memcpy(in.id, u->file, BLOB_ID_BYTES);
	in.fd = openat(b->objects, blob_path(path, in.id), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (in.fd < 0 || fchmod(in.fd, 0644) < 0) {
		err_sys(e, "creating objects/%s", path);
		blob_in_end(&in);
		return -1;
	}
	*ret = in;
	return 0;
}

/* Reads the upload (after the claim, so that a completion is either seen here or sees the claim) and opens the file. */
static enum s3_code part_open(struct blob_store *b, struct str bucket, struct str key, struct str upload,
                              uint64_t length, struct blob_part_in *p, struct err *e)
{
	struct db_conn *c = db_reader(b->db, e);
	struct place place = { 0 };
	int64_t number = 0;
	uint64_t at = 0;
	enum s3_code code;

	if (!c)
		return S3_InternalError;
	code = bucket_number(c, bucket, &number, e);
	if (code == S3_OK)
		code = upload_row(c, bucket, key, upload, &p->upload, e);
	if (code == S3_OK && p->claimed)
		code = find_place(c, &p->upload, p->number, &place, e);
	db_reader_done(b->db, c);
	if (code != S3_OK)
		return code;
	if (p->claimed && (place.taken || !claim_place(b->uploads, p->upload.id, p->number, length, place.step, &at))) {
		claim_drop(b->uploads, p->upload.id, p->number);
		p->claimed = false;
	}
	if (p->claimed)
		return open_in_place(b, &p->upload, at, &p->in, e) < 0 ? S3_InternalError : S3_OK;
	return blob_in_begin(b, &p->in, e) < 0 ? S3_InternalError : S3_OK;
}

enum s3_code blob_part_begin(struct blob_store *b, struct str bucket, struct str key, struct str upload,
                             unsigned number, uint64_t length, struct blob_part_in *ret, struct err *e)
{
	struct blob_part_in p = { .in = { .b = b, .fd = -EBADF }, .number = number };
	enum s3_code code;

	if (upload.n != BLOB_ID_BYTES - 1)
		return S3_NoSuchUpload;
	keep_id(p.upload.id, upload);
	p.claimed = length != BLOB_PART_UNKNOWN && claim_take(b->uploads, p.upload.id, number);
	code = part_open(b, bucket, key, upload, length, &p, e);
	if (code != S3_OK) {
		blob_part_end(&p);
		return code;
	}
	*ret = p;
	return S3_OK;
}

struct part_op {
	struct blob_part_in *p;
	struct str etag, checksum;
	struct wall modified;
};

static enum s3_code drop_old_part(struct db_conn *c, const struct blob_part_in *p, struct err *e)
{
	sqlite3_stmt *st = db_stmt(c, DB_PART_GET, e);
	char old[BLOB_ID_BYTES] = "";
	int found;

	if (!st)
		return S3_InternalError;
	db_bind_text(st, 1, str_of(p->upload.id));
	db_bind_int(st, 2, p->number);
	found = db_step(st, e);
	if (found < 0)
		return S3_InternalError;
	if (found)
		keep_id(old, db_col(st, 0));
	sqlite3_reset(st);
	return found && strcmp(old, p->upload.file) ? blob_file_drop(c, old, (struct wall){ 0 }, e) : S3_OK;
}

static enum s3_code part_op(struct db_conn *c, void *arg, struct err *e)
{
	const struct part_op *op = arg;
	const struct blob_part_in *p = op->p;
	sqlite3_stmt *st = db_stmt(c, DB_UPLOAD_FILE, e);
	enum s3_code code;
	int found;

	if (!st)
		return S3_InternalError;
	db_bind_text(st, 1, str_of(p->upload.id));
	found = db_step(st, e);
	if (found <= 0)
		return found < 0 ? S3_InternalError : S3_NoSuchUpload;
	sqlite3_reset(st);
	code = drop_old_part(c, p, e);
	if (code != S3_OK)
		return code;
	st = db_stmt(c, DB_PART_ADD, e);
	if (st) {
		db_bind_text(st, 1, str_of(p->upload.id));
		db_bind_int(st, 2, p->number);
		db_bind_text(st, 3, str_of(p->in.id));
		db_bind_int(st, 4, (int64_t)p->in.base);
		db_bind_int(st, 5, (int64_t)p->in.size);
		db_bind_text(st, 6, op->etag);
		db_bind_int(st, 7, op->modified.ms);
		db_bind_blob(st, 8, op->checksum);
	}
	code = db_run(st, e);
	return code == S3_OK && !p->in.in_place ? blob_in_land(c, p->in.id, e) : code;
}

enum s3_code blob_part_commit(struct blob_part_in *p, struct str etag, struct str checksum, struct wall *ret_modified,
                              struct err *e)
{
	struct part_op op = { p, etag, checksum, wall_now() };
	char path[BLOB_PATH_BYTES];
	enum s3_code code;

	if (blob_in_seal(&p->in, e) < 0)
		return S3_InternalError;
	code = db_write(p->in.b->db, part_op, &op, e);
	p->in.fate = code == S3_OK ? BLOB_IN_COMMITTED : code == S3_InternalError ? BLOB_IN_UNSURE : BLOB_IN_LOOSE;
	/* The upload was ended while we wrote in place. Our claim made a completion copy, so nobody else has the file.
	 */
	if (code == S3_NoSuchUpload && p->in.in_place)
		unlinkat(p->in.b->objects, blob_path(path, p->in.id), 0);
	if (code == S3_OK)
		*ret_modified = op.modified;
	return code;
}

void blob_part_end(struct blob_part_in *p)
{
	if (p->claimed)
		claim_drop(p->in.b->uploads, p->upload.id, p->number);
	p->claimed = false;
	blob_in_end(&p->in);
	blob_upload_fini(&p->upload);
}

void blob_parts_fini(struct blob_parts *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->v[i].etag);
		free(p->v[i].checksum);
	}
	free(p->v);
	*p = (struct blob_parts){ 0 };
}

enum s3_code blob_parts_load(struct blob_store *b, const char *upload, unsigned after, struct blob_parts *ret,
                             struct err *e)
{
	struct db_conn *c = db_reader(b->db, e);
	sqlite3_stmt *st = c ? db_stmt(c, DB_PART_LIST, e) : NULL;
	struct blob_parts parts = { 0 };
	int more = -1;

	if (st) {
		db_bind_text(st, 1, str_of(upload));
		db_bind_int(st, 2, after);
	}
	while (st && (more = db_step(st, e)) > 0) {
		struct blob_part *p;

		if (!(parts.n & (parts.n - 1)))
			parts.v = xrealloc(parts.v, (parts.n ? parts.n * 2 : 1) * sizeof(*parts.v));
		p = &parts.v[parts.n++];
		*p = (struct blob_part){ .number = (unsigned)db_col_int(st, 0),
			                 .at = (uint64_t)db_col_int(st, 2),
			                 .size = (uint64_t)db_col_int(st, 3),
			                 .etag = str_dup(db_col(st, 4)),
			                 .modified = { db_col_int(st, 5) },
			                 .checksum = str_dup(db_col(st, 6)) };
		keep_id(p->file, db_col(st, 1));
	}
	if (c)
		db_reader_done(b->db, c);
	if (more < 0) {
		blob_parts_fini(&parts);
		return S3_InternalError;
	}
	*ret = parts;
	return S3_OK;
}
