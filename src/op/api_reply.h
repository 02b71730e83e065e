/* api_reply.h - answers as each protocol writes them: results, errors, headers (contract 9.1, 9.2).
 *
 * Used by api.c alone. Pure: fills a struct http_response and touches nothing else.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/api.h"

struct http_response;

/* API_REST: JSON, and the operation is in the method and the path. API_CBOR: Smithy's rpc-v2-cbor. */
enum api_protocol { API_JSON, API_QUERY, API_REST, API_CBOR };

struct api_failure {
	const char *type; /* __type or Code */
	int http;
	struct str message;
	const char *query; /* what the query protocol calls it, where others say so too; may be NULL */
};

/* service may be NULL when the request did not get that far. */
void api_reply_error(struct http_response *out, enum api_protocol p, const struct service *service,
                     const char *request_id, const struct api_failure *f);
/* What an operation's error is called by its service; the message stays the caller's. */
struct api_failure api_failure_of(enum api_protocol p, const struct service *service, enum err_kind kind);

/* A result; result is borrowed and may be NULL, then out->body holds it already (JSON only) or it is empty. */
void api_reply_result(struct http_response *out, enum api_protocol p, const struct service *service,
                      const struct operation *op, const char *request_id, const json_t *result);
