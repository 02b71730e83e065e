/* answers.h - answers kept in memory for who asks the same again, as everybody does who waits for a job.
 *
 * An operation whose answer depends on nothing but the body of the request and the store (API_KEPT in api.h) is asked
 * once; the next request with the very same body gets the same bytes, until the store changes in any way. Requests are
 * verified before they come here, so this is no way around a signature.
 *
 * Threads: any. The memory is bounded: ANSWERS_SLOTS answers of at most ANSWER_MAX bytes. An answer that does not fit
 * is not kept; two that fall on one slot replace each other.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/hash.h"
#include "store/store.h"

enum { ANSWERS_SLOTS = 128, ANSWER_MAX = 8 << 10 };

struct answers;
struct answers *answers_new(void);
void answers_free(struct answers *a); /* NULL is fine */

/* What was asked: the operation, by any address that is its own, and the digest of the body. */
struct answer_key {
	const void *op;
	unsigned char body[SHA256_BYTES];
};
/* Appends the answer that was put when the store was at this version; false: there is none. */
bool answers_get(struct answers *a, const struct answer_key *key, uint64_t version, struct buf *out);
/* The version for the two below: the store's, and how often answers_forget was called. */
uint64_t answers_version(struct answers *a, const struct store *s);
/* Something else that answers depend on has changed: those that are kept are given no more. */
void answers_forget(struct answers *a);
/* version: from before the store was asked. The caller has seen that it is still the same afterwards. */
void answers_put(struct answers *a, const struct answer_key *key, uint64_t version, struct str text);
