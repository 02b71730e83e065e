/* order.h - the work order of bloomery-fetch: what fetch.h says stands on its stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

/* All owned. bucket, prefix, access_key and secret_key are never NULL once read; the others are when they were left out
 * (key and list are there when they were asked for). */
struct order {
	char *endpoint, *region, *access_key, *secret_key, *session_token, *bucket, *prefix, *key, *content_type;
	char *s3_data_type; /* NULL: S3Prefix */
	char **attributes;  /* AttributeNames */
	size_t attribute_count;
	unsigned threads;    /* 0: not said */
	unsigned patience_s; /* 0: not said */
	unsigned list;       /* descriptor, 0: none */
};

enum { ORDER_NEEDS_KEY = 1, ORDER_NEEDS_LIST = 2 };
/* Reads fd to its end. needs: ORDER_NEEDS_. ERR_INVALID names the member that is missing, unknown or of the wrong type;
 * nothing of a secret is ever in an error. */
int order_read(int fd, unsigned needs, struct order *ret, struct err *e) must_check;
void order_fini(struct order *o);
