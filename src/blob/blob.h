/* blob.h - the embedded object store: immutable files plus rows in its own SQLite file (DESIGN 4).
 *
 *   <data>/objects.db          buckets, objects, multipart uploads and parts, garbage
 *   <data>/objects/xx/<id>     the bytes of one object or part; id: 32 hex digits, xx its first two; mode 0644
 *   <data>/objects/incoming/   bytes on their way in; swept at start
 *
 * Runs inside bloomeryd; thread-safe (one writer at a time inside, readers do not wait for it). A PUT exists from the
 * commit of its row on, which follows the fsync of its bytes. A file whose row is gone is garbage: it is unlinked by
 * blob_sweep() and not before, so that a job launched earlier can still link it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdio.h>

#include "base/clock.h"
#include "base/str.h"

struct blob_store;
int blob_open(const char *data_dir, struct blob_store **ret, struct err *e) must_check; /* sweeps orphans */
void blob_close(struct blob_store *b);                                                  /* NULL is fine */
DEFINE_CLEANUP(struct blob_store, blob_close)

/* ---- what the rest of bloomeryd needs ---- */
int blob_bucket_exists(struct blob_store *b, struct str bucket, bool *ret, struct err *e) must_check;
/* Whether any key starts with prefix. */
int blob_prefix_exists(struct blob_store *b, struct str bucket, struct str prefix, bool *ret, struct err *e) must_check;
/* Writes every object under prefix as of now (one snapshot) to f in the format of jobdir/list.h (layer rule: blob
 * cannot include jobdir, so each entry is handed to fn). */
struct blob_entry {
	struct str id, key, etag;
	uint64_t size;
	struct wall modified;
};
int blob_each(struct blob_store *b, struct str bucket, struct str prefix,
              int (*fn)(const struct blob_entry *entry, void *arg, struct err *e), void *arg, struct err *e) must_check;
/* One object as it is now; ret's views live in *scratch, which the caller frees, and in key. *ret_fd (ret_fd may be
 * NULL): its bytes, for the caller to close; they stay whatever happens to the object. ERR_NOT_FOUND: there is no such
 * bucket or key. */
int blob_find(struct blob_store *b, struct str bucket, struct str key, struct buf *scratch, struct blob_entry *ret,
              int *ret_fd, struct err *e) must_check;
/* What there is under a prefix, where names matter: three index seeks, however many objects there are. */
struct blob_look {
	bool exact;  /* the prefix is the whole key of an object */
	bool inside; /* keys go on with a '/', or the prefix is empty or ends with one; not looked for if beside */
	bool beside; /* keys go on otherwise: the prefix ends within a name */
};
/* ERR_NOT_FOUND: there is no such bucket. */
int blob_look(struct blob_store *b, struct str bucket, struct str prefix, struct blob_look *ret,
              struct err *e) must_check;
/* Makes the file at path (same file system, already synced) the object bucket/key, by rename; md5 is hex. Creates no
 * bucket: ERR_NOT_FOUND. Idempotent: when path is gone and the object with that md5 and size is there, it is done. */
int blob_adopt(struct blob_store *b, struct str bucket, struct str key, const char *path, uint64_t size, struct str md5,
               struct err *e) must_check;
int blob_bucket_create(struct blob_store *b, struct str bucket, struct err *e) must_check; /* fine if it exists */
/* Unlinks garbage made before `before`. */
int blob_sweep(struct blob_store *b, struct wall before, struct err *e) must_check;
