/* order.h - the work order of bloomery-fetch: what fetch.h says stands on its stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

/* All owned. bucket, prefix, access_key and secret_key are never NULL once read; the others are when they were left out
 * (key is there when it was asked for). */
struct order {
	char *endpoint, *region, *access_key, *secret_key, *session_token, *bucket, *prefix, *key, *content_type;
	unsigned threads;       /* 0: not said */
	unsigned manifest;      /* descriptor, 0: none */
	unsigned shard, shards; /* this host's share is every shards-th object from shard (0-based) on; 0, 0: all */
};

/* Reads fd to its end. ERR_INVALID names the member that is missing, unknown or of the wrong type; nothing of a secret
 * is ever in an error. */
int order_read(int fd, bool needs_key, struct order *ret, struct err *e) must_check;
void order_fini(struct order *o);
