/* seal.h - encryption between the hosts of a job: a WireGuard interface wg0 beside eth0 in each host's namespace, with
 * an address by which its peers know it. Done by the kernel where it can, else by wireguard-go(1) in user space.
 *
 * The private key of a host is in its own work order and in its own kernel or wireguard-go; it is never in an argument,
 * an environment or a log. What the ports of such hosts send each other besides WireGuard is dropped (rules.c).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <sys/types.h>

#include "net/net.h"

enum { NET_KEY_BYTES = 32, NET_SEAL_PORT = 51820, NET_SEAL_PREFIX = 16 };
#define NET_SEAL_INTERFACE "wg0"
/* Host n of a job is 198.18.0.0 + n at wg0, a range that nobody routes; each job has its own. */
uint32_t net_seal_address(unsigned host_number);

enum net_sealing { NET_SEALING_NONE, NET_SEALING_KERNEL, NET_SEALING_PROGRAM };
/* What of it this machine has. As root. */
enum net_sealing net_sealing_probe(void);
extern const char *const net_sealing_name[]; /* "", "kernel", "wireguard-go" */

struct net_seal_peer {
	unsigned char public_key[NET_KEY_BYTES];
	uint32_t address; /* of its eth0 */
	unsigned host_number;
};
struct net_seal {
	unsigned char private_key[NET_KEY_BYTES];
	unsigned host_number;
	const struct net_seal_peer *peer;
	size_t peer_count;
};
int net_key_new(unsigned char ret_private[NET_KEY_BYTES], unsigned char ret_public[NET_KEY_BYTES],
                struct err *e) must_check;

/* After net_join(). *ret_pid: of wireguard-go, a child that ends with this process; 0: the kernel does it.
 * /run/wireguard, where wireguard-go has its socket, must be the caller's own (in a mount namespace). */
int net_seal_up(int ns_fd, const struct net_seal *s, pid_t *ret_pid, struct err *e) must_check;
