/* refused.h - hears from the kernel what the rules have refused (nfnetlink_log), for the log of bloomery-host.
 *
 * Each interface is heard of so often, and not more (rules.c). The kernel tells one listener of a machine: where
 * several servers run, whoever was first hears of the jobs of all; the others ask again from time to time, until it has
 * gone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "loop/loop.h"
#include "net/net.h"

struct net_refused {
	char interface[NET_NAME_BYTES]; /* the packet came in by: a host's port, or the bridge of its job */
	struct str what;                /* "to the machine" */
	struct str packet;              /* "tcp 10.213.0.2:40000 to 10.0.0.1:22" */
};

struct net_ear;
/* fn is called on the loop, with what is valid during the call. NULL with e set: the kernel cannot. */
struct net_ear *net_ear_new(struct loop *l, void (*fn)(void *arg, const struct net_refused *r), void *arg,
                            struct err *e);
void net_ear_free(struct net_ear *ear); /* NULL is fine */

/* A packet in words, from the first bytes of its IPv4 header or of ARP. */
void net_packet_text(uint16_t ethertype, struct str bytes, struct buf *out);
