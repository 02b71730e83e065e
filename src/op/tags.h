/* tags.h - the tags of resources; what creating a resource needs of tags.c. Any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "store/store.h"

/* A request's list of tags; views into it. The caller frees the array; NULL when there are none. */
struct store_tag *tags_from(const json_t *list, size_t *ret_count);
/* ERR_INVALID: a key that callers cannot set, or the same key twice. */
int tags_check(const json_t *list, struct err *e) must_check;
