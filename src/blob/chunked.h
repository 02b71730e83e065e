/* chunked.h - aws-chunked bodies: what is left after HTTP's own framing, decoded and verified as it arrives.
 *
 *     SIZE[;chunk-signature=SIG] CRLF  data  CRLF  ...  0[;chunk-signature=SIG] CRLF  [trailer lines]  CRLF
 *
 * A pure state machine: bytes in, in pieces of any size; data out through a function. Borders of pieces mean nothing.
 * Data of a signed chunk is given out before its signature can be checked: who stores it commits only after
 * chunked_end() said S3_OK.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/hash.h"
#include "blob/code.h"

struct chunked_keys { /* for the signed kinds; copied */
	unsigned char signing_key[32];
	struct str scope, amz_date, seed; /* "20260101/us-east-1/s3/aws4_request", "...T...Z", 64 hex digits */
};

struct chunked;
/* kind: x-amz-content-sha256 as sent, one of STREAMING-AWS4-HMAC-SHA256-PAYLOAD, the same with -TRAILER, and
 * STREAMING-UNSIGNED-PAYLOAD-TRAILER. NULL when it is something else. out() gets the data; what it returns other than
 * S3_OK ends the decoding with that code. */
struct chunked *chunked_new(struct str kind, const struct chunked_keys *keys,
                            enum s3_code (*out)(struct str piece, void *arg, struct err *e), void *arg);
void chunked_free(struct chunked *c); /* NULL is fine */
bool chunked_is_kind(struct str kind);

enum s3_code chunked_feed(struct chunked *c, struct str piece, struct err *e);
/* Whether the body has come to its proper end. */
enum s3_code chunked_end(const struct chunked *c, struct err *e);
/* After chunked_end(): the trailer of that name (case-insensitive); {NULL,0} when there is none. */
struct str chunked_trailer(const struct chunked *c, struct str name);
