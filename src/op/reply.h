/* reply.h - the members of answers that are written as text, and not built as JSON first: what is described and listed
 * often.
 *
 * Inside op/ only; no state. Each appends to *out.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/clock.h"
#include "base/str.h"

/* ms as JSON seconds with a fraction (contract 5.4): 1704067200.123 */
void add_seconds(struct buf *out, struct wall at);
/* s as a JSON string. */
void add_json_string(struct buf *out, struct str s);

/* Whole members of a job's answer, each with a comma behind it. */
void reply_text(struct buf *out, const char *name, const char *value);
void reply_time(struct buf *out, const char *name, struct wall at); /* 0: nothing */
/* What the request has under the name. Unset structures are left out, never {} (contract 15); an empty map of
 * hyperparameters is what was given. */
void reply_echo(struct buf *out, const json_t *request, const char *name);
