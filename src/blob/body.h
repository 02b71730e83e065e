/* body.h - the body of an S3 request: decoded, counted, hashed and verified on its way to where it goes.
 *
 * Verified are: its length, x-amz-content-sha256, Content-MD5, every x-amz-checksum-* header or trailer, chunk
 * signatures. Nothing may be made of the body before body_end() has said S3_OK. One thread at a time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "blob/checksum.h"
#include "blob/chunked.h"
#include "blob/front.h"
#include "http/server.h"

#define BODY_UNKNOWN UINT64_MAX

struct body;
/* Reads what the headers promise. S3_InvalidDigest, S3_InvalidRequest, ... when they cannot be. max: more is
 * S3_EntityTooLarge, at once when announced. */
enum s3_code body_new(const struct http_request *r, const struct s3_auth *auth, uint64_t max, struct body **ret,
                      struct err *e);
void body_free(struct body *b); /* NULL is fine */
DEFINE_CLEANUP(struct body, body_free)

/* Where the decoded bytes go; NULL: nowhere. Set before the first byte. */
void body_sink(struct body *b, enum s3_code (*sink)(struct str piece, void *arg, struct err *e), void *arg);
/* Also compute this one, whether or not the client sent it. */
void body_want(struct body *b, enum checksum_kind kind);
/* The decoded length, BODY_UNKNOWN when it was not announced. */
uint64_t body_length(const struct body *b);

enum s3_code body_feed(struct body *b, struct str piece, struct err *e);
/* For bodies that the front makes itself: straight to the hashes. */
void body_hash(struct body *b, struct str piece);
enum s3_code body_end(struct body *b, struct err *e);
/* After body_end(): the MD5 in hex, and the checksums as lines "x-amz-checksum-crc32: ...\n". */
struct str body_md5(const struct body *b);
struct str body_checksums(const struct body *b);
