/* inside.h - what the files of src/net/ share: netlink, and the rules.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <libmnl/libmnl.h>
#include <stdlib.h>

#include "net/net.h"

/* ---- netlink.c: a socket of one netlink family, and one exchange on it ---- */

enum { NL_BYTES = 8192 };

struct nl {
	struct mnl_socket *socket;
	unsigned seq;
	char bytes[NL_BYTES]; /* of the message being made */
};
/* In the namespace of the calling thread, and stays there. */
int nl_open(struct nl *nl, int family, struct err *e) must_check;
void nl_close(struct nl *nl); /* a zeroed one is fine */
struct nlmsghdr *nl_begin(struct nl *nl, uint16_t type, uint16_t flags);
/* Sends what was begun and takes the answer: each message of it goes to fn (may be NULL). 0 or an errno. A dump in
 * whose middle something was changed, by whomever, is asked for again, so fn may get what it has had. */
int nl_talk(struct nl *nl, struct nlmsghdr *m, mnl_cb_t fn, void *arg);
/* Sends bytes that hold several messages, of which one wants to be acknowledged. 0 or an errno. */
int nl_send(struct nl *nl, const void *bytes, size_t n);

/* ---- net.c: runs fn in the namespace, or in a new one when ns_fd is negative ---- */
int net_within(int ns_fd, int (*fn)(void *arg, struct err *e), void *arg, struct err *e) must_check;

/* ---- link.c: interfaces, on a socket of NETLINK_ROUTE. All 0 or an errno. ---- */

int link_bridge(struct nl *nl, const char *name, uint32_t address_of_mac);
/* The peer is eth0 in the other namespace. master 0: the port of no bridge. */
int link_veth(struct nl *nl, const char *name, unsigned master, int peer_ns_fd, uint32_t address_of_peers_mac);
int link_up(struct nl *nl, unsigned index); /* without an IPv6 address of its own */
int link_delete(struct nl *nl, const char *name);
int link_add_address(struct nl *nl, unsigned index, uint32_t address, unsigned prefix);
int link_add_gateway(struct nl *nl, unsigned index, uint32_t gateway);
/* Each interface, and the index of the one it is a port of (0: none). name NULL: what was told so far is not so any
 * more, and all are told anew. */
int link_each(struct nl *nl, void (*fn)(const char *name, unsigned index, unsigned master, void *arg), void *arg);
int link_each_address(struct nl *nl, void (*fn)(unsigned index, uint32_t address, unsigned prefix, void *arg),
                      void *arg);
/* 02:42 and the address. */
void link_mac(uint32_t address, unsigned char out[6]);

/* ---- rules.c ---- */

/* Where the kernel says what was refused (refused.c), and in what words. */
#define NET_LOG_GROUP_TEXT "25197"
enum { NET_LOG_GROUP = 25197 };
#define NET_REFUSED_SENDER "not its own address"
#define NET_REFUSED_MACHINE "to the machine"
#define NET_REFUSED_JOB "to another job"
#define NET_REFUSED_LIMITS "beyond its VpcConfig"

/* Loads them, in place of what was there of ours. What ports may send is kept. */
int rules_load(struct err *e) must_check;
/* What a port may send: that of a bridge or, alone, the machine's end of a host's interface; and whether it is one that
 * sends its peers only what is encrypted. add: ENOENT when the rules are not loaded; remove: it need not be there. 0 or
 * an errno. */
enum rules_set { RULES_PORT, RULES_ALONE, RULES_SEALED, RULES_SETS };
int rules_allow(const char *port, uint32_t address, enum rules_set set);
int rules_each(void (*fn)(const char *port, uint32_t address, enum rules_set set, void *arg), void *arg);
int rules_forget(const char *port, uint32_t address, enum rules_set set);
/* limits.h, for the interface by which a job's packets come in. */
int rules_limit(const char *interface, const struct net_limits *l, struct err *e) must_check;
int rules_unlimit(const char *interface, struct err *e) must_check;
/* In the namespace of a host: what comes from these addresses goes on under the host's. */
int rules_nest(const char *range, struct err *e) must_check;
/* Each interface that has limits. 0 or an errno. */
int rules_each_limited(void (*fn)(const char *interface, void *arg), void *arg);
