/* front.h - the S3 face of the object store: one HTTP request in, one S3 answer (or S3 error XML) out.
 *
 * op/api.c finds out that a request is S3's and who signed it, and hands it over here in the header phase, on an HTTP
 * pool thread. The front owns everything from there: r->ctx, the body (aws-chunked decoding, chunk signatures, the
 * payload hash) and the answer, also the answer to a request whose signature was refused.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "aws/sigv4.h"
#include "base/str.h"

struct blob_store;
struct iam;
struct iam_session;
struct http_request;
struct http_route;

/* What the signature says. Everything it points to dies when s3_front_route returns: copy what the body needs. */
struct s3_auth {
	enum sig_fault fault; /* SIG_OK, or why the request is refused (SIG_MISSING: it is unsigned) */
	const char *why;      /* more about the fault, for the Message; may be NULL */
	const char *region;   /* the server's, for SIG_BAD_SCOPE and GetBucketLocation */
	const char *account;  /* the server's, for x-amz-expected-bucket-owner; NULL: "000000000000" */
	const struct sig_claim
	        *claim;    /* never NULL; for SIG_MISSING, SIG_BOTH and SIG_INCOMPLETE only claim->presigned counts */
	struct str secret; /* of claim->access_key; for chunk signatures; empty unless SIG_OK */
	struct str scope;  /* "20260101/us-east-1/s3/aws4_request" */
	struct str seed;   /* the request's signature, hex: the seed of the chunk signatures */
	const struct iam *iam;             /* what session may; NULL with no session */
	const struct iam_session *session; /* a reference is taken; NULL: the server's own key, which may everything */
	struct str payload_hash; /* x-amz-content-sha256 as sent, or "UNSIGNED-PAYLOAD" for presigned requests without
	                          * it; a hash in hex must equal the body's (XAmzContentSHA256Mismatch, refused before
	                          * it exists) */
};

/* What is answered: the rows of front.c. What is accepted without effect: x-amz-server-side-encryption (the bytes are
 * as safe as the disk they lie on; SSE-C, which hands over a key, is refused), x-amz-request-payer, x-amz-acl where it
 * says that the owner owns. What else S3 has (versions, tags, grants, locks, storage classes) is refused by name.
 *
 * Fills *ret as an http_server route() does. Never fails: refusals are answers. */
void s3_front_route(struct blob_store *b, const struct s3_auth *auth, struct http_request *r, struct http_route *ret);
