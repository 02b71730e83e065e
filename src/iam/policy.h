/* policy.h - a policy document: what a role may do. The subset of IAM's JSON that bloomery.conf(5) describes:
 *
 *     {"Version": "2012-10-17",
 *      "Statement": [{"Sid": "data", "Effect": "Allow", "Action": ["s3:GetObject", "s3:List*"], "Resource": "*"}]}
 *
 * Effect is Allow or Deny; Action and Resource are one text or a list of them, with the wildcards * (any bytes) and ?
 * (one byte). What IAM has beyond that (Condition, NotAction, NotResource, Principal, ${variables}) is refused by name:
 * a policy that is not understood whole would allow what it does not say.
 *
 * Pure: the parser does no I/O, and a policy does not change once it is there. Any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

enum { POLICY_MAX_BYTES = 256 << 10 };

struct policy;
/* name: the file's, for sentences. ERR_INVALID names the file, the statement (from 1) and the member. */
int policy_parse(struct str text, const char *name, struct policy **ret, struct err *e) must_check;
/* Reads and parses. ERR_NOT_FOUND, ERR_LIMIT: larger than POLICY_MAX_BYTES; ERR_IO. */
int policy_read(const char *path, struct policy **ret, struct err *e) must_check;
void policy_free(struct policy *p); /* NULL is fine */
DEFINE_CLEANUP(struct policy, policy_free)

/* An explicit denial wins over whatever allows; what no statement is about is not allowed. */
enum policy_verdict { POLICY_SILENT, POLICY_ALLOWS, POLICY_DENIES };
/* action: "s3:GetObject", without regard to case. resource: an ARN, or "*" for what has none: that is matched by the
 * pattern "*" alone. */
enum policy_verdict policy_ask(const struct policy *p, struct str action, struct str resource);

/* Whether text is one that the pattern stands for. Time: at most the product of the two lengths. */
bool policy_match(struct str pattern, struct str text, bool nocase);
