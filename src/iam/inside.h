/* inside.h - what the files of iam/ share; nobody outside includes it.
 *
 * Everything secret follows from one key of 32 bytes by HMAC-SHA256 over a label and the thing, so that what is made
 * for one purpose is nothing for another.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/hash.h"
#include "iam/iam.h"

struct iam_role {
	char *arn;
	struct policy *policy;
};

struct iam {
	struct iam_role *roles;
	size_t role_count;
	struct policy *otherwise; /* default_role_policy; NULL: the built-in one */
	bool strict;
	unsigned char key[SHA256_BYTES];
	struct iam_hooks hooks;
};

/* The role that bloomery.conf names; NULL. */
const struct iam_role *iam_role(const struct iam *m, struct str arn);
/* HMAC of "bloomery LABEL", a line feed, and text. */
void iam_derive(const struct iam *m, const char *label, struct str text, unsigned char out[SHA256_BYTES]);
