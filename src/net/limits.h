/* limits.h - what a job may reach and who may reach it, where its VpcConfig says so: the subnet's way out and the rules
 * of the security groups, as text of bloomery.conf and of a work order, as a structure, and as rules of nftables.
 *
 *     subnet          none | nat [INTERFACE] [RANGE ...]
 *     traffic         RULE, RULE ...      RULE: out|in all|tcp|udp|icmp [PORT[-PORT]] [RANGE]
 *
 * Outwards a packet passes when the subnet and any `out` rule let it; inwards when any `in` rule does. Answers always
 * pass, and so does what hosts of one job say to each other. bloomeryd reads the texts to know that they are right;
 * bloomery-job reads those of the work order again, as nothing that is not understood may get into rules.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "net/net.h"

enum { NET_RULES_MAX = 256, NET_RANGES_MAX = 64 };

struct net_rule {
	bool inwards;
	const char *protocol;   /* one of our own words; NULL: all */
	unsigned first, last;   /* ports; 0 and 65535: all */
	struct net_range range; /* prefix 0: everywhere */
};

struct net_limits {
	bool no_way_out;
	char interface[NET_NAME_BYTES]; /* the only one to leave by; "": any */
	struct net_range *range;        /* the only ones to go to; none: all */
	size_t range_count;
	struct net_rule *rule;
	size_t rule_count;
};
/* Each ERR_INVALID with the word that is wrong; what was read before stays. */
int net_limits_subnet(struct net_limits *l, struct str text, struct err *e) must_check;
int net_limits_traffic(struct net_limits *l, struct str text, struct err *e) must_check; /* adds */
void net_limits_fini(struct net_limits *l);

/* The commands of nft(8) that put them on the interface by which the job's packets come in; again is fine. */
void net_limits_write(const struct net_limits *l, const char *interface, struct buf *out);
/* Those that take away what was written; it need not be there. */
void net_limits_unwrite(const char *interface, struct buf *out);
