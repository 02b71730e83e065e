/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/pathset.h"

#include <stdlib.h>

#include "base/hash.h"

void pathset_init(struct pathset *s)
{
	*s = (struct pathset){ .slots = 64, .slot = xcalloc(64, sizeof(*s->slot)) };
	random_bytes(&s->seed, sizeof(s->seed)); /* names come from strangers */
}

void pathset_fini(struct pathset *s)
{
	for (size_t i = 0; i < s->slots; i++)
		free(s->slot[i]);
	free(s->slot);
	*s = (struct pathset){ 0 };
}

/* The slot that holds path, or the free one where it belongs. */
static size_t find(const struct pathset *s, struct str path)
{
	uint64_t h = s->seed;
	size_t at;

	for (size_t i = 0; i < path.n; i++) {
		h = (h ^ (unsigned char)path.p[i]) * UINT64_C(0x9fb21c651e98df25);
		h ^= h >> 29;
	}
	for (at = h & (s->slots - 1); s->slot[at]; at = (at + 1) & (s->slots - 1))
		if (str_is(path, s->slot[at]))
			break;
	return at;
}

static void grow(struct pathset *s)
{
	char **old = s->slot;
	size_t n = s->slots;

	s->slots *= 2;
	s->slot = xcalloc(s->slots, sizeof(*s->slot));
	for (size_t i = 0; i < n; i++)
		if (old[i])
			s->slot[find(s, str_of(old[i]))] = old[i];
	free(old);
}

void pathset_add(struct pathset *s, struct str path)
{
	while (path.n) {
		size_t at = find(s, path);

		if (s->slot[at])
			return; /* its ancestors are there, too */
		s->slot[at] = str_dup(path);
		if (++s->used * 2 > s->slots)
			grow(s);
		if (!str_has_byte(path, '/'))
			return;
		str_cut_last(&path, '/');
	}
}

bool pathset_has(const struct pathset *s, struct str path)
{
	return s->slot[find(s, path)] != NULL;
}
