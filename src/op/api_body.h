/* api_body.h - a request's body as a JSON object, whatever it was sent as. Pure; used by api.c and the fuzzers.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "aws/model.h"
#include "base/str.h"

enum { API_BODY_MAX = 4 << 20 }; /* as sent, and inflated */

/* Undoes Content-Encoding: encoding is the header's value, empty for none. *ret views body or *space. ERR_TOO_LARGE
 * when there is more than API_BODY_MAX in it, ERR_SYNTAX when it is broken or of another kind than gzip. */
int api_body_decode(struct str body, struct str encoding, struct buf *space, struct str *ret, struct err *e) must_check;

/* A new reference to the object the body is; an empty body is an empty object. ERR_SYNTAX with line and column. */
int api_body_json(struct str body, json_t **ret, struct err *e) must_check;

/* The query protocol: parameters of form and URL, as strings under their names; a later one of the same name wins.
 * ERR_SYNTAX for bad escapes and for what is not UTF-8. */
int api_body_query(struct str form, struct str url_query, json_t **ret, struct err *e) must_check;
/* What api_body_query read, as the operation's input has it: `A.member.1.B` becomes a list of structures, numbers and
 * booleans become such. What the operation has not is left out. New reference, never NULL. */
json_t *api_body_tree(const struct operation *op, const json_t *flat);
