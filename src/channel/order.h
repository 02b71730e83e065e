/* order.h - which units of a channel a host gets in an epoch, in which order: first shuffled, then dealt.
 *
 * The rule is the same on every host and every machine, and documented in doc/channels.md, so that a run can be
 * repeated and the whole of an epoch is dealt out without a unit missing or twice.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "jobdir/spec.h"

struct unit_order {
	bool shuffled;
	int64_t seed;
	unsigned share_number, share_count;
};

struct unit_order unit_order_of(const struct channel_spec *ch);

/* Writes the numbers (from 0, in list order) of this host's units of epoch `epoch` to v, which has room for `count`;
 * returns how many they are. Shuffled: Fisher-Yates driven by splitmix64 of seed and epoch. Dealt: number i of the
 * (shuffled) order goes to share i mod share_count (contract 2.11). */
uint32_t unit_order(const struct unit_order *o, uint64_t epoch, uint32_t count, uint32_t *v);
