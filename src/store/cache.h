/* cache.h - texts made from jobs, kept until the job changes; inside store/ only. Thread-safe.
 *
 * Clients poll DescribeTrainingJob, and between two changes of a job the answer is the same bytes. The one writer drops
 * a job's text after each commit; a reader that was in the database meanwhile notices by the generation and keeps its
 * text to itself, so what is in the cache is never older than the last commit that has returned.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

enum { CACHE_SLOTS = 128, CACHE_TEXT_MAX = 16 << 10 };

struct cache;
struct cache *cache_new(void);
void cache_free(struct cache *c); /* NULL is fine */

/* True: the text of the job of that name (in lower case) was appended to out. False: *ret_generation is what to give to
 * cache_put with the text read from the database after this call. */
bool cache_get(struct cache *c, struct str name, struct buf *out, uint64_t *ret_generation);
/* Keeps a copy, unless something was written since, or the text is large. May push out another job's. */
void cache_put(struct cache *c, struct str name, int64_t n, struct str text, uint64_t generation);
/* After a commit that changed job n. */
void cache_drop(struct cache *c, int64_t n);
