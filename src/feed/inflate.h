/* inflate.h - gzip undone: one object's bytes go in piece by piece, what they unpack to comes out (contract 2.6).
 *
 * An object may be several members one after the other, and zeros behind the last one, as gzip(1) takes it. Everything
 * else is ERR_CLIENT: no gzip at all, a member that is damaged or cut short, other bytes behind the last one. An object
 * of no bytes unpacks to none. Used by one thread; memory does not depend on the input.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

struct inflater;
struct inflater *inflater_new(void);
void inflater_free(struct inflater *z); /* NULL is fine */
DEFINE_CLEANUP(struct inflater, inflater_free)
void inflater_reset(struct inflater *z); /* for the next object */

/* The next bytes of the object; they stay the caller's until inflater_next() has returned 0. */
void inflater_feed(struct inflater *z, struct str in);
/* 1: *ret is what came out, valid until the next call; 0: feed more; -1. */
int inflater_next(struct inflater *z, struct str *ret, struct err *e) must_check;
/* The object has ended. -1: not where a gzip file may. */
int inflater_end(const struct inflater *z, struct err *e) must_check;
