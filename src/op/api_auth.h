/* api_auth.h - who sent a request: SigV4 against the keys of struct api, in two steps, and the words for a refusal.
 *
 * Used by api.c alone, on HTTP pool threads. The first step needs only the header, so that what is refused is refused
 * before its body arrives; the second needs the body's hash.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "aws/sigv4.h"
#include "iam/iam.h"
#include "op/api.h"

struct api_auth {
	struct buf scratch; /* what claim may view; api_auth_fini frees it */
	struct sig_claim claim;
	enum sig_fault fault;         /* SIG_OK so far, or why not */
	const char *why;              /* static; may be NULL */
	const struct access_key *key; /* NULL unless known */
	struct iam_session *session;  /* whose key it is; NULL: one of the server's own */
	struct access_key session_key;
};

/* Reads the claim, finds the key, checks region, token and time. */
void api_auth_head(const struct api *api, const struct sig_request *q, struct wall now, struct api_auth *ret);
/* Checks the signature over the header and the payload hash; changes a->fault. Only after api_auth_head said SIG_OK. */
void api_auth_verify(const struct api *api, const struct sig_request *q, struct str payload_hash, bool s3,
                     struct api_auth *a);
void api_auth_fini(struct api_auth *a);

/* How the JSON and the query protocol name a fault (contract 9.6). */
struct api_refusal {
	const char *json, *query;
	int json_http, query_http;
};
const struct api_refusal *api_auth_refusal(enum sig_fault fault);
/* Appends the sentence for a->fault. */
void api_auth_say(const struct api *api, const struct api_auth *a, struct wall now, struct buf *out);
