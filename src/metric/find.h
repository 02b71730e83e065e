/* find.h - where any of a few dozens of literals occurs in a text of many lines. Used by metric.c.
 *
 * Sixteen or thirty-two positions are looked at with one comparison of four bytes each, where the processor can (SSSE3,
 * AVX2); the literals are in eight groups, and what may be of a group is compared byte by byte. Text without any of
 * them costs about as much as reading it. A finder is not changed by looking with it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "metric/literal.h"

enum { FINDER_MAX = 256 };

struct found {
	uint32_t at; /* where the literal begins */
	uint32_t literal;
};

enum finder_way { FINDER_BEST, FINDER_PLAIN, FINDER_SSSE3, FINDER_AVX2 };

struct finder;
/* Of n <= FINDER_MAX literals, none empty. A way that this processor has not becomes the plain one. */
struct finder *finder_new(const struct literal *literals, size_t n, enum finder_way way);
void finder_free(struct finder *f); /* NULL is fine */
DEFINE_CLEANUP(struct finder, finder_free)
/* Finds the occurrences in text (less than 4 GiB), those of one literal in their order, and of different ones nearly
 * so: at most 64 bytes out of it. Goes on at *pos (0 at first) and stops when `max` (FINDER_MAX or more) may not be
 * enough. Returns how many were found; *pos is text.n when there is no more. */
size_t finder_next(const struct finder *f, struct str text, size_t *pos, struct found *ret, size_t max);
