/* network.h - the network phase of a run. Private to src/run/; the work order's `network` says what is wanted.
 *
 * After the phase spec.network.bridge is NULL when the host has none: it is isolated and alone, or has the machine's
 * network because its own could not be, or because its peers are other machines (kind "machine"). network_ns is the
 * namespace the container is to join, negative: the machine's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "jobdir/spec.h"

enum { NETWORK_API_PORT = 8770, NETWORK_CREDENTIALS_PORT = 80 };

/* The container's resolv.conf, from the machine's. Servers that it can reach are its own as well; when there is none,
 * or it may reach only some of the world, the address of the proxy, and what is returned is where that is to ask (the
 * caller frees). Who has no way out has no names of the outside either. */
char *network_resolv(struct str machines, const struct network_spec *net, struct buf *out);
