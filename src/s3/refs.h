/* refs.h - the objects that a manifest names: added as they are read, looked up at the store all at once, then found.
 *
 * Used by `bloomery-fetch list` on one thread; the looking up uses more inside. Memory grows with the number of
 * different objects, about their keys and 60 bytes each.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "s3/s3.h"

struct refs;
struct refs *refs_new(void);
void refs_free(struct refs *r); /* NULL is fine */
DEFINE_CLEANUP(struct refs, refs_free)

/* The same object any number of times is one. Not after refs_resolve(). */
void refs_add(struct refs *r, struct s3_uri at);

/* Asks the store for size and ETag of all of them: by listing where that takes fewer requests than asking for each. An
 * object that is not there, or may not be read, is no error here. */
int refs_resolve(struct refs *r, struct s3 *s3, struct err *e) must_check;

/* What is known about one that was added. ret->key and ret->etag live as long as r. ERR_NOT_FOUND and ERR_DENIED: as
 * the store said. */
int refs_find(const struct refs *r, struct s3_uri at, struct s3_object *ret, struct err *e) must_check;
