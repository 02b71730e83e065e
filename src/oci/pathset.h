/* pathset.h - a set of paths, each with all its ancestors: what one layer has put into a tree.
 *
 * Used while a layer is applied, to tell its own files from those of the layers below. Keeps copies. One thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

struct pathset {
	char **slot; /* open addressing; NULL: free */
	size_t used, slots;
	uint64_t seed;
};

void pathset_init(struct pathset *s);
void pathset_fini(struct pathset *s);
/* Adds "a", "a/b" and "a/b/c" for "a/b/c". */
void pathset_add(struct pathset *s, struct str path);
bool pathset_has(const struct pathset *s, struct str path);
