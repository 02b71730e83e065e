/* account.h - what a FastFile channel has given to the container, and whether anybody waited for it.
 *
 * All functions may be called by any thread. `objects` of feed_stats are the files of which at least one byte was asked
 * for, `bytes` what was given to the kernel: what a container reads again out of the page cache is not seen here. The
 * store is waited for while at least one read is not answered; between the first and the last read all other time is
 * the reader's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "channel/feeder.h"

struct account;
struct account *account_new(uint32_t nodes); /* files are numbers below it */
void account_free(struct account *a);        /* NULL is fine */
DEFINE_CLEANUP(struct account, account_free)

/* A descriptor that becomes readable when something has changed that account_take() has not told yet. */
int account_fd(const struct account *a);
/* True, and what there is to tell, when something has changed since it was called last. */
bool account_take(struct account *a, struct feed_stats *ret);

/* Around every read: begin when it is asked for; end when it is answered, with the bytes given. `stalled`: it had to
 * wait for the store. */
void account_begin(struct account *a, uint32_t file);
void account_end(struct account *a, uint64_t bytes, bool stalled);

/* Sentences about what could not be read, for the job's log: at once at first, then one every ten seconds at most,
 * which tells how many were held back. Written to fd as channel/feeder.h says. */
void account_trouble(struct account *a, int fd, const struct err *why);
