/* upload.h - multipart uploads: parts, and how they become an object without being copied.
 *
 * Each upload has one file (`upload.file`) in which a part whose place can be told beforehand is written where it will
 * lie in the object: part n at (n-1) * P, where P is the length of the first part that came. When the client completes
 * with just those parts, end to end, the file *is* the object. Parts that do not fit (longer than P, sent again, sent
 * while the upload is being completed) get files of their own; then completing copies.
 *
 * A part's bytes are never written again once its row is there. Thread-safe. Only files of blob/ include this.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "blob/object.h"

enum { BLOB_PARTS_MAX = 10000 };
#define BLOB_PART_MIN (UINT64_C(5) << 20) /* but for the last part */
#define BLOB_PART_MAX (UINT64_C(5) << 30)

struct blob_uploads *blob_uploads_new(void);
void blob_uploads_free(struct blob_uploads *u); /* NULL is fine */
/* In the transaction that deletes a bucket: its uploads go with it. */
enum s3_code blob_uploads_drop_bucket(struct db_conn *c, int64_t bucket, struct err *e);

struct blob_upload {
	char id[BLOB_ID_BYTES], file[BLOB_ID_BYTES];
	int64_t bucket;
	struct wall created;
	struct buf algorithm, meta; /* algorithm: "CRC32 COMPOSITE" or so, or empty; meta: the object's header lines */
};
void blob_upload_fini(struct blob_upload *u);

enum s3_code blob_upload_begin(struct blob_store *b, struct str bucket, struct str key, struct str algorithm,
                               struct str meta, char ret_id[BLOB_ID_BYTES], struct err *e);
enum s3_code blob_upload_get(struct blob_store *b, struct str bucket, struct str key, struct str id,
                             struct blob_upload *ret, struct err *e);
enum s3_code blob_upload_abort(struct blob_store *b, const struct blob_upload *u, struct err *e);
/* Uploads in progress, in order of key and id, beginning after the given ones; fn's false ends it. */
enum s3_code blob_upload_each(struct blob_store *b, struct str bucket, struct str after_key, struct str after_id,
                              bool (*fn)(struct str key, struct str id, struct wall created, struct str algorithm,
                                         void *arg),
                              void *arg, struct err *e);

/* A part on its way in: write to `in` with blob_in_write() or blob_in_copy(), at most `length` bytes, then commit. */
struct blob_part_in {
	struct blob_in in;
	struct blob_upload upload;
	unsigned number;
	bool claimed;
};
/* length: of the part, BLOB_PART_UNKNOWN when it cannot be told. */
#define BLOB_PART_UNKNOWN UINT64_MAX
enum s3_code blob_part_begin(struct blob_store *b, struct str bucket, struct str key, struct str upload,
                             unsigned number, uint64_t length, struct blob_part_in *ret, struct err *e);
/* checksum: header lines. A part of that number that was there before is replaced. */
enum s3_code blob_part_commit(struct blob_part_in *p, struct str etag, struct str checksum, struct wall *ret_modified,
                              struct err *e);
void blob_part_end(struct blob_part_in *p); /* in any state, twice if asked */

struct blob_part {
	unsigned number;
	char file[BLOB_ID_BYTES];
	uint64_t at, size;
	struct wall modified;
	char *etag, *checksum;
};
struct blob_parts {
	struct blob_part *v;
	size_t n;
};
void blob_parts_fini(struct blob_parts *p);
enum s3_code blob_parts_load(struct blob_store *b, const char *upload, unsigned after, struct blob_parts *ret,
                             struct err *e);

/* Makes the object of the parts whose indices in `all` are listed, in that order. S3_OperationAborted when a part was
 * replaced meanwhile or the upload is being completed by somebody else. */
enum s3_code blob_upload_complete(struct blob_store *b, const struct blob_upload *u, struct str key,
                                  const struct blob_parts *all, const size_t *chosen, size_t n, struct str etag,
                                  struct str meta, const struct blob_cond *cond, struct err *e);
/* Whether that upload has been completed in the last day, and the object's ETag then: a client that did not hear the
 * answer asks again. */
enum s3_code blob_upload_finished(struct blob_store *b, struct str bucket, struct str key, struct str upload,
                                  struct buf *ret_etag, struct err *e);
