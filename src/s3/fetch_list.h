/* fetch_list.h - what there is: bloomery-fetch's `list`, `count` and `exists`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "s3/fetch_get.h"

struct fetched_list {
	struct fetch_totals totals;
	/* Of a ManifestFile: where its objects are, and what their keys are placed relative to. Else empty. */
	struct buf bucket, prefix;
};

/* Writes the list of the order's channel (jobdir/list.h) to order->list: what is under the prefix, or what the manifest
 * names, resolved. ret->totals: total_objects (units) and total_bytes of it. Nothing found is ERR_CLIENT. ret is the
 * caller's to free in any case. */
int fetch_list(struct s3 *s3, const struct order *o, struct fetched_list *ret, struct err *e) must_check;
/* total_objects and total_bytes of what is under the prefix. */
int fetch_count(struct s3 *s3, const struct order *o, struct fetch_totals *ret, struct err *e) must_check;
/* Whether there is anything: under the prefix, or the manifest. total_objects is 0 or 1. */
int fetch_exists(struct s3 *s3, const struct order *o, struct fetch_totals *ret, struct err *e) must_check;
