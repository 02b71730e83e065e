/* s3.h - a client for any S3: list, head, get, put, over http/client.h, signed with aws/sigv4.h.
 *
 * Used by bloomery-fetch and the command line, never by the daemons' event loops: every call blocks, and big objects
 * move on several threads that are joined before the call returns. A struct s3 may be used by many threads at once;
 * connections are pooled inside. Requests are path style.
 *
 * Errors: ERR_NOT_FOUND (NoSuchBucket, NoSuchKey, 404), ERR_DENIED (403), ERR_INVALID (other 4xx), ERR_IO (no
 * connection, 5xx, a body cut short: after the retries). The text holds S3's own code and message. What may help by
 * being tried again (connection errors, 429, 5xx, a short body) is tried again with growing, jittered waits, for as
 * many attempts or as many seconds as the options say.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "base/str.h"

struct s3_uri {
	struct str bucket, key; /* views into what was parsed; the key may be empty */
};
/* "s3://bucket/any/key". ERR_INVALID names the offending part. */
int s3_uri_parse(struct str in, struct s3_uri *ret_uri, struct err *e) must_check;

/* Where the file of an object goes below a directory, when everything under prefix is placed there (contract 2.3): the
 * prefix is removed, and a '/' after it; when it ends in the middle of a name of this key, it is cut back to its last
 * '/' before; when it is the whole key, the last piece remains. *ret_rel views key. *ret_dir: the key ends in '/', only
 * a directory is to be made (*ret_rel may then be empty: the directory itself). ERR_CLIENT, without the bucket's name,
 * for a piece that is empty, "." or "..", holds a NUL or is longer than 255 bytes. */
int s3_rel_path(struct str prefix, struct str key, struct str *ret_rel, bool *ret_dir, struct err *e) must_check;

struct s3_options {
	const char *endpoint;                                /* "http://127.0.0.1:8770"; NULL: AWS, by region */
	const char *region;                                  /* NULL: "us-east-1" */
	const char *access_key, *secret_key, *session_token; /* session_token may be NULL */
	unsigned threads;                                    /* of one get or put; 0: 8 */
	unsigned attempts;                                   /* 0: 6; counted anew when bytes have arrived */
	/* Not 0: instead of counting attempts, try again until so many seconds have gone by without a byte. What
	 * outlives a store that is gone for a minute. */
	unsigned patience_s;
	/* Asked between pieces, while waiting, and about once a second while a connection is silent; true ends the call
	 * with ERR_IO "cancelled". Any thread. May be NULL. */
	bool (*cancelled)(void *arg);
	/* Bytes that have newly arrived or gone (negative when a piece is done again). Any thread. May be NULL. */
	void (*progress)(void *arg, int64_t bytes);
	/* Something went wrong and is tried again after a wait. Any thread. May be NULL. */
	void (*again)(void *arg, const struct err *why);
	void *arg;
};

struct s3;
int s3_new(const struct s3_options *o, struct s3 **ret, struct err *e) must_check; /* copies the options */
void s3_free(struct s3 *s);                                                        /* NULL is fine */
DEFINE_CLEANUP(struct s3, s3_free)

struct s3_object {
	struct str key, etag; /* etag without quotes; empty or "-": not known, nothing can be compared */
	uint64_t size;
	struct wall modified;
};

/* Calls fn for every object under prefix, in key order, following pages. The views live until fn returns. fn's -1 ends
 * the listing. */
int s3_list(struct s3 *s, struct str bucket, struct str prefix,
            int (*fn)(const struct s3_object *o, void *arg, struct err *e), void *arg, struct err *e) must_check;

/* Whether there is any object under prefix. */
int s3_any(struct s3 *s, struct str bucket, struct str prefix, bool *ret, struct err *e) must_check;

/* ret's views live in *scratch, which the caller frees. */
int s3_head(struct s3 *s, struct s3_uri at, struct buf *scratch, struct s3_object *ret, struct err *e) must_check;

/* Writes the object's bytes to fd from offset 0 on: in parallel ranges when it is big, each with If-Match, so that an
 * object replaced meanwhile is an error (ERR_CONFLICT) and never a mixture. o: from s3_list or s3_head, or NULL to
 * look it up. A connection that breaks is resumed from the last byte that arrived. */
int s3_get(struct s3 *s, struct s3_uri at, const struct s3_object *o, int fd, struct err *e) must_check;

/* Reads exactly `length` bytes from `offset` on into memory, in one request (and those that resume it). With If-Match
 * when etag (without quotes) is not empty: ERR_CONFLICT when the object was replaced. ERR_INVALID when it ends before.
 */
int s3_get_range(struct s3 *s, struct s3_uri at, struct str etag, uint64_t offset, size_t length, char *into,
                 struct err *e) must_check;

/* Uploads the file behind fd (a regular file; from its start, whatever its offset), in parallel parts when it is larger
 * than 64 MiB. On failure the multipart upload is aborted. etag_out (may be NULL) receives the ETag without quotes. */
int s3_put_file(struct s3 *s, struct s3_uri at, int fd, const char *content_type, struct buf *etag_out,
                struct err *e) must_check;
/* The same for bytes in memory. */
int s3_put(struct s3 *s, struct s3_uri at, struct str bytes, const char *content_type, struct buf *etag_out,
           struct err *e) must_check;
