/* arn.h - Amazon Resource Names: "arn:partition:service:region:account:resource", taken apart and put together.
 *
 * Pure text; any process, any thread. Nothing here knows which resources exist.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

struct arn {
	struct str partition, service, region, account; /* region and account may be empty (IAM, S3) */
	struct str resource;                            /* all of the rest: "training-job/name", "role/path/name" */
};

/* Views into s. False when it is not an ARN: fewer than six parts, or an empty partition, service or resource. */
bool arn_parse(struct str s, struct arn *ret);
/* The resource's type and name: "training-job/demo" is {training-job, demo}; the name may hold further slashes. False
 * without a '/', or with nothing on one of its sides. */
bool arn_resource(const struct arn *a, struct str *ret_type, struct str *ret_name);
/* "arn:aws:SERVICE:REGION:ACCOUNT:TYPE/NAME"; the caller frees. */
char *arn_make(const char *service, const char *region, const char *account, const char *type, struct str name);
