/* sigv4.h - AWS Signature Version 4, both sides. Pure: no I/O, no clock of its own, constant-time compares.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "base/str.h"

struct sig_header { struct str name, value; };

struct sig_request {
	struct str method, path, query;  /* raw, as on the request line */
	const struct sig_header *headers;
	size_t header_count;
};

/* What an Authorization header or a presigned query claims; views into the request (query values decoded into
 * *scratch). */
struct sig_claim {
	bool presigned;
	struct str access_key, date8, region, service, signed_headers, signature, amz_date, token;
	uint64_t expires_s;              /* presigned only */
	struct wall at;
};

/* Why a request is refused; the caller words it as its protocol does (contract 9.6). */
enum sig_fault { SIG_OK, SIG_MISSING, SIG_INCOMPLETE, SIG_BAD_SCOPE, SIG_UNKNOWN_KEY, SIG_BAD_TOKEN, SIG_EXPIRED,
                 SIG_SKEWED, SIG_UNSIGNED_HEADER, SIG_MISMATCH, SIG_BAD_BODY_HASH };

/* Reads the claim. SIG_MISSING: unsigned. SIG_INCOMPLETE: malformed; *why (static or in scratch) says what. */
enum sig_fault sigv4_claim(const struct sig_request *r, struct buf *scratch, struct sig_claim *ret, const char **why);

/* Verifies a claim with the key's secret. payload_hash: the hex SHA-256 the canonical request names (the
 * x-amz-content-sha256 header if there, else the body's own, computed by the caller; "UNSIGNED-PAYLOAD" etc. as sent).
 * s3: no path normalisation, single encoding. Skew: 15 minutes. host, x-amz-* rules: every x-amz-* header present and
 * host must be signed. */
enum sig_fault sigv4_verify(const struct sig_request *r, const struct sig_claim *c, struct str secret,
                            struct str payload_hash, bool s3, struct wall now);

/* Signs: appends "Authorization: ..." , "X-Amz-Date: ...", and "X-Amz-Content-Sha256: ..." (s3 only) lines, each ended by
 * '\n', to out. headers must contain host and everything to be signed. */
void sigv4_sign(const struct sig_request *r, struct str access_key, struct str secret, struct str token, struct str region,
                struct str service, struct str payload_hash, struct wall now, struct buf *out);
/* The canonical request, for tests and error bodies. */
void sigv4_canonical(const struct sig_request *r, struct str signed_headers, struct str payload_hash, bool s3,
                     bool presigned, struct buf *out);

/* aws-chunked bodies (STREAMING-AWS4-HMAC-SHA256-PAYLOAD[-TRAILER], STREAMING-UNSIGNED-PAYLOAD-TRAILER) are decoded in
 * blob/, with this for the chunk signatures. */
void sigv4_signing_key(struct str secret, struct str date8, struct str region, struct str service, unsigned char out[32]);
