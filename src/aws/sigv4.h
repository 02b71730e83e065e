/* sigv4.h - AWS Signature Version 4, both sides. Pure: no I/O, no clock of its own, constant-time compares.
 *
 * The server's way: sigv4_claim() reads what a request says about itself; the caller looks up the key; sigv4_verify()
 * checks it. Callers with many requests keep a struct sig_cache and use the two halves of sigv4_verify() themselves.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "base/str.h"

#define SIGV4_ALGORITHM "AWS4-HMAC-SHA256"

struct sig_header {
	struct str name, value;
};

struct sig_request {
	struct str method, path, query; /* raw, as on the request line */
	const struct sig_header *headers;
	size_t header_count;
};

/* What an Authorization header or a presigned query claims; views into the request (query values decoded into
 * *scratch). */
struct sig_claim {
	bool presigned;
	struct str access_key, date8, region, service, signed_headers, signature, amz_date, token;
	uint64_t expires_s; /* presigned only */
	struct wall at;
};

enum { SIG_SKEW_S = 15 * 60, SIG_MAX_EXPIRES_S = 7 * 86400 };

/* Why a request is refused; the caller words it as its protocol does (contract 9.6). */
enum sig_fault {
	SIG_OK,
	SIG_MISSING,    /* unsigned */
	SIG_BOTH,       /* an Authorization header and a presigned query */
	SIG_INCOMPLETE, /* something is missing or malformed */
	SIG_BAD_SCOPE,  /* date, region or service of the scope do not fit */
	SIG_UNKNOWN_KEY,
	SIG_BAD_TOKEN,
	SIG_TOKEN_EXPIRED,   /* the session is over */
	SIG_EXPIRED,         /* presigned: its time is over */
	SIG_SKEWED,          /* signed more than SIG_SKEW_S away from now */
	SIG_UNSIGNED_HEADER, /* host or an x-amz-* header is not among the signed ones */
	SIG_MISMATCH,
	SIG_BAD_BODY_HASH,
};

/* Reads the claim; one of SIG_OK to SIG_BAD_SCOPE. ret->presigned is set whatever the answer, the rest only for
 * SIG_OK. *why (static) says what is wrong. scratch must outlive *ret and not grow meanwhile. */
enum sig_fault sigv4_claim(const struct sig_request *r, struct buf *scratch, struct sig_claim *ret, const char **why);

/* Verifies a claim with the key's secret. payload_hash: the hex SHA-256 the canonical request names (the
 * x-amz-content-sha256 header if there, else the body's own, computed by the caller; "UNSIGNED-PAYLOAD" etc. as sent).
 * s3: no path normalisation, single encoding. Skew: 15 minutes. host, x-amz-* rules: every x-amz-* header present and
 * host must be signed; x-amz-security-token may be added afterwards, as some services' clients do. */
enum sig_fault sigv4_verify(const struct sig_request *r, const struct sig_claim *c, struct str secret,
                            struct str payload_hash, bool s3, struct wall now);
/* Its halves. */
enum sig_fault sigv4_check_time(const struct sig_claim *c, struct wall now);
enum sig_fault sigv4_verify_key(const struct sig_request *r, const struct sig_claim *c, const unsigned char key[32],
                                struct str payload_hash, bool s3);

/* Signs: appends "Authorization: ..." , "X-Amz-Date: ...", and "X-Amz-Content-Sha256: ..." (s3 only),
 * "X-Amz-Security-Token: ..." (with a token) lines, each ended by '\n', to out. headers must contain host and
 * everything else to be signed, but none of the four. */
void sigv4_sign(const struct sig_request *r, struct str access_key, struct str secret, struct str token,
                struct str region, struct str service, struct str payload_hash, struct wall now, struct buf *out);
/* The canonical request, for tests and error bodies. */
void sigv4_canonical(const struct sig_request *r, struct str signed_headers, struct str payload_hash, bool s3,
                     bool presigned, struct buf *out);

/* aws-chunked bodies (STREAMING-AWS4-HMAC-SHA256-PAYLOAD[-TRAILER], STREAMING-UNSIGNED-PAYLOAD-TRAILER) are decoded in
 * blob/, with this for the chunk signatures. */
void sigv4_signing_key(struct str secret, struct str date8, struct str region, struct str service,
                       unsigned char out[32]);

/* The last few signing keys, so that a busy client costs one HMAC a request instead of five. Thread-safe. Ask it only
 * about claims whose time and region are checked, or strangers could keep it busy. */
struct sig_cache;
struct sig_cache *sig_cache_new(void);
void sig_cache_free(struct sig_cache *c); /* NULL is fine */
DEFINE_CLEANUP(struct sig_cache, sig_cache_free)
/* As sigv4_signing_key; c may be NULL. */
void sig_cache_key(struct sig_cache *c, struct str secret, struct str date8, struct str region, struct str service,
                   unsigned char out[32]);
