/* spool.h - bytes kept until their number is known: in memory while the channel has some left for that, then in an
 * unnamed file.
 *
 * Used by one thread. All of a channel's spools share one budget of memory.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "feed/out.h"

enum { SPOOL_MEMORY = 64 << 20 }; /* of a channel */

struct spool {
	int dirfd;             /* for the file; borrowed; -1: none, then memory is all there is */
	atomic_ullong *budget; /* bytes of memory that are in use, of SPOOL_MEMORY */
	char *p;               /* the first bytes */
	size_t n, cap;
	int fd; /* the rest */
	uint64_t file_n;
};
void spool_init(struct spool *s, int dirfd, atomic_ullong *budget);
void spool_fini(struct spool *s);
void spool_reset(struct spool *s); /* empty again; gives back memory and file */
uint64_t spool_size(const struct spool *s);
/* ERR_IO: no room. */
int spool_add(struct spool *s, struct str bytes, struct err *e) must_check;
/* `n` bytes from `at` on to the FIFO. 0, OUT_GONE, -1. */
int spool_give(const struct spool *s, uint64_t at, uint64_t n, struct out *o, struct err *e) must_check;
