/* net.h - the networks of jobs: a network namespace a host, a bridge a job, and what may pass between them.
 *
 *   namespace of a host            the machine's
 *     eth0 ──── veth ──── blv<12 hex of the host's id> ──┐
 *     lo 127.0.0.1, 169.254.170.2                        blm<8 hex>, the bridge of the job ──── NAT ──── outside
 *                       blv<another host of the job>  ───┘
 *
 * The only host of a job has no bridge: the machine's address is at its port. (A bridge takes the kernel ten times as
 * long to remove as a port, and nobody can have a network made meanwhile.)
 *
 * bloomery-host calls net_open() once, which loads the rules (nftables, tables `bridge bloomery` and `inet bloomery`);
 * the supervisor of each host makes its namespace, joins, and parts at its end; net_sweep() removes what supervisors
 * that were killed have left. All need root. Every change of the machine's own namespace is made under one lock, so
 * that the last host of a job is known to be the last. The rules say:
 *   - a port sends only with its own hardware and IPv4 address, and nothing but IPv4 and ARP;
 *   - nothing passes from the bridge of one job to that of another;
 *   - to the machine itself nothing passes but answers; what a container may have of it comes through sockets inside of
 *     the container's namespace (net/proxy.h);
 *   - outwards all passes, under the machine's address, inwards only answers: unless the job has limits (limits.h).
 * An isolated network is the bridge alone: no gateway, so no way out and no address of the machine.
 *
 * One thread: the namespace of the calling thread is changed for moments.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum { NET_NAME_BYTES = 16 /* IFNAMSIZ */, NET_ADDRESS_BYTES = 16 };
#define NET_LINK_ADDRESS "169.254.170.2" /* on each host's lo: credentials and the API, as the service has it */

/* Addresses are in host order: 10.0.0.1 is 0x0a000001. */
struct net_range {
	uint32_t base;
	unsigned prefix;
};
bool net_address_parse(struct str s, uint32_t *ret);
char *net_address_text(uint32_t address, char out[NET_ADDRESS_BYTES]);
/* "10.213.0.0/16". ERR_INVALID: no such thing, bits beyond the prefix, or not of the private ranges. */
int net_range_parse(struct str s, struct net_range *ret, struct err *e) must_check;
uint32_t net_mask(unsigned prefix);
bool net_range_overlap(struct net_range a, struct net_range b);
bool net_range_private(struct net_range r); /* 10/8, 172.16/12, 192.168/16, 100.64/10 */

struct net_limits;

/* One host in the network of its job. */
struct net_host {
	char bridge[NET_NAME_BYTES]; /* "": it is the only host of its job, and needs none */
	char port[NET_NAME_BYTES];
	uint32_t address, gateway;
	unsigned prefix;
	bool sealed;                     /* to its peers it sends nothing but WireGuard (seal.h) */
	bool isolated;                   /* gateway is not used */
	const struct net_limits *limits; /* limits.h; NULL: none. Those of one job are the same */
};
/* "blm" and the job's first 8 digits, "blv" and the host's first 12. */
void net_bridge_name(const char *job_id, char out[NET_NAME_BYTES]);
void net_port_name(const char *host_id, char out[NET_NAME_BYTES]);
/* The text of a bridge's name as above: what a work order may say. */
bool net_bridge_name_ok(struct str s);

/* Loads the rules, lets the machine forward packets, and tries all of it with a network that is removed again. ERR_IO:
 * what does not work here, in a sentence; nothing is left then but perhaps rules. */
int net_open(struct err *e) must_check;

/* A new network namespace in which only lo is up, and programs may use low ports and ping without privileges. */
int net_namespace_new(int *ret_fd, struct err *e) must_check;
/* A socket that lives in a namespace; flags as socket(2), always close-on-exec. -1 with e set. */
int net_socket(int ns_fd, int domain, int type, struct err *e) must_check;
/* Gives the namespace its eth0, and makes the bridge when it is the first. ERR_IN_USE: the machine has an interface in
 * these addresses. On failure nothing is left. */
int net_join(const struct net_host *h, int ns_fd, struct err *e) must_check;
/* The other way; the bridge goes with its last port. Idempotent. Only bridge and port of *h are looked at. */
int net_part(const struct net_host *h, struct err *e) must_check;
/* A namespace within that of a host that has joined, for one of several containers: its eth0 is in a network of the
 * two, and what it sends outwards goes under the host's address. Each has a number of its own, from 0 on. It goes with
 * its host's. */
enum { NET_NESTED_MAX = 16 };
int net_nest(int host_ns_fd, int ns_fd, unsigned number, struct err *e) must_check;
/* The link address alone, in a namespace that has no network. */
int net_link(int ns_fd, struct err *e) must_check;
/* Removes the host's port, should it be there, and whatever of ours nobody uses: bridges without ports, addresses
 * without interfaces. port NULL: only those. Idempotent. */
int net_sweep(const char *port, struct err *e) must_check;

/* Whether an address is one of this machine, in the namespace of the caller (loopback is). Cannot know: true. */
bool net_address_is_ours(uint32_t address);
/* The ranges in which this machine's interfaces have addresses, the caller frees; no privileges needed. Cannot know:
 * none. */
size_t net_ranges_of_machine(struct net_range **ret);
