/* object.h - buckets and objects as the S3 front sees them; blob.h is the part that the rest of bloomeryd uses.
 *
 * Everything here is thread-safe and blocks for as long as the disk takes. Functions return an S3 code (code.h);
 * outputs are untouched unless it is S3_OK. Only files of blob/ include this.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "blob/blob.h"
#include "blob/db.h"

enum {
	BLOB_ID_BYTES = 33,   /* 32 hex digits and a NUL */
	BLOB_PATH_BYTES = 48, /* "xx/<id>" or "incoming/<id>" below <data>/objects */
	BLOB_KEY_MAX = 1024,  /* bytes */
};
#define BLOB_SIZE_MAX (UINT64_C(5) << 40) /* of an object; a part or a single PUT: S3_PUT_MAX of front.c */

struct blob_uploads; /* upload.c's memory of which parts are being written */

struct blob_store { /* set once by blob_open() */
	struct db *db;
	int objects; /* descriptor of <data>/objects */
	struct blob_uploads *uploads;
};

/* ---- bytes on their way in (incoming.c) ----
 * blob_in_begin() makes incoming/<id>; blob_in_seal() gives it its second name xx/<id> and syncs both; then the row is
 * committed with the id in the table `landing`, and blob_in_end() removes the first name. After a crash every file that
 * is still in incoming/ is either in `landing` (keep xx/<id>) or not (remove that as well): that is the whole sweep. */
struct blob_in {
	struct blob_store *b;
	int fd; /* -EBADF: not begun, or ended */
	char id[BLOB_ID_BYTES];
	uint64_t base;    /* where in the file byte 0 goes; 0 but for parts in place (upload.h) */
	uint64_t size;    /* written so far */
	uint64_t flushed; /* of which writing to the disk has been started */
	bool in_place;    /* the file is not ours alone: it has its name and its row, and stays */
	enum { BLOB_IN_LOOSE, BLOB_IN_COMMITTED, BLOB_IN_UNSURE } fate; /* set by who tried to commit the row */
};
int blob_in_begin(struct blob_store *b, struct blob_in *ret, struct err *e) must_check;
int blob_in_write(struct blob_in *in, struct str piece, struct err *e) must_check;
/* Appends length bytes of from_fd at offset, in the kernel where it can. ERR_IO when there are fewer. */
int blob_in_copy(struct blob_in *in, int from_fd, uint64_t offset, uint64_t length, struct err *e) must_check;
int blob_in_seal(struct blob_in *in, struct err *e) must_check;
void blob_in_end(struct blob_in *in); /* in any state, twice if asked */
/* In the transaction that makes the row. */
enum s3_code blob_in_land(struct db_conn *c, const char *id, struct err *e);
int blob_incoming_sweep(struct blob_store *b, struct err *e) must_check;

char *blob_id_new(char dst[BLOB_ID_BYTES]);
char *blob_path(char dst[BLOB_PATH_BYTES], const char *id);                        /* "xx/<id>" */
int blob_sync_dir(struct blob_store *b, const char *id, struct err *e) must_check; /* fsync of objects/xx */
/* Syncs the bytes of fd as far as a commit needs. */
int blob_sync_file(int fd, struct err *e) must_check;

/* ---- buckets ---- */
bool bucket_name_ok(struct str name); /* S3's rules for general purpose buckets */
/* ret_created may be NULL. */
enum s3_code blob_bucket_find(struct blob_store *b, struct str bucket, struct wall *ret_created, struct err *e);
enum s3_code blob_bucket_add(struct blob_store *b, struct str bucket, bool *ret_existed, struct err *e);
enum s3_code blob_bucket_drop(struct blob_store *b, struct str bucket, struct err *e);
enum s3_code blob_bucket_each(struct blob_store *b, void (*fn)(struct str name, struct wall created, void *arg),
                              void *arg, struct err *e);
/* In a transaction or on a reader: the bucket's number. */
enum s3_code bucket_number(struct db_conn *c, struct str bucket, int64_t *ret, struct err *e);

/* ---- objects ---- */
struct blob_object {
	char id[BLOB_ID_BYTES];
	uint64_t size;
	struct wall modified;
	struct buf etag, meta; /* etag without quotes; meta: header lines "Name: value\n" */
};
void blob_object_fini(struct blob_object *o);

/* What must hold at the commit for a write to happen; empty strings: no condition. Only "*" means any. */
struct blob_cond {
	struct str if_match, if_none_match;
};

enum s3_code blob_object_get(struct blob_store *b, struct str bucket, struct str key, struct blob_object *ret,
                             struct err *e);
/* Row and bytes of one moment: the descriptor stays good whatever happens to the object. *ret_fd: caller closes. */
enum s3_code blob_object_open(struct blob_store *b, struct str bucket, struct str key, struct blob_object *ret,
                              int *ret_fd, struct err *e);
/* Seals `in` and makes it the object, if cond (may be NULL) holds. The caller still ends `in`. */
enum s3_code blob_object_put(struct blob_in *in, struct str bucket, struct str key, struct str etag, struct str meta,
                             const struct blob_cond *cond, struct err *e);
/* Makes to_bucket/to_key another name of the bytes of from, which must still be the object at from_bucket/from_key
 * (else S3_OperationAborted). */
enum s3_code blob_object_copy(struct blob_store *b, struct str from_bucket, struct str from_key,
                              const struct blob_object *from, struct str to_bucket, struct str to_key, struct str meta,
                              const struct blob_cond *cond, struct wall *ret_modified, struct err *e);
/* Deleting what is not there is fine. All keys or none. */
enum s3_code blob_object_drop(struct blob_store *b, struct str bucket, const struct str *keys, size_t n, struct err *e);

/* In a transaction: makes (bucket, key) the file id; what was there becomes garbage. `modified` is now. */
struct blob_row {
	int64_t bucket;
	struct str key, etag, meta;
	const char *id;
	uint64_t size;
	struct wall modified;
};
enum s3_code blob_row_put(struct db_conn *c, const struct blob_row *row, const struct blob_cond *cond, struct err *e);
/* In a transaction: one reference to the file is gone; at: when, for the sweep. */
enum s3_code blob_file_drop(struct db_conn *c, const char *id, struct wall at, struct err *e);
/* blob_sweep() without the rest of the housekeeping. Files that no job can have seen are garbage of time 0. */
int blob_sweep_files(struct blob_store *b, struct wall before, struct err *e) must_check;

/* ---- listing (list.c) ---- */
struct blob_list {
	struct str bucket, prefix, delimiter;
	struct str after;  /* only keys greater than this */
	bool after_prefix; /* `after` is a common prefix: nothing that starts with it */
	size_t max;
};
struct blob_list_sink {
	void (*key)(const struct blob_entry *entry, void *arg);
	void (*common_prefix)(struct str prefix, void *arg);
	void *arg;
};
/* Calls the sink in key order for at most max keys and common prefixes. *ret_more: there are more. *last: the last key
 * or common prefix given, and *ret_last_is_prefix which. Common prefixes are skipped by seeking, not by reading on. */
enum s3_code blob_list(struct blob_store *b, const struct blob_list *q, const struct blob_list_sink *sink,
                       bool *ret_more, struct buf *last, bool *ret_last_is_prefix, struct err *e);
/* The least string greater than everything that starts with s; false when there is none (s is all 0xff). */
bool str_after_prefix(struct buf *dst, struct str s);
