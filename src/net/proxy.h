/* proxy.h - what a container may have of the machine: bloomery-proxy takes connections on sockets that live inside the
 * container's network namespace, and relays them to one place each.
 *
 * bloomery-job makes the sockets, listening or bound, and starts one bloomery-proxy a host, which lives in the
 * machine's namespace, has no privileges, and ends with bloomery-job. What is relayed is not looked at: bloomeryd asks
 * each request for its signature, or the token of its host. How many connections and questions there are at once is
 * bounded; further ones wait, or for questions are lost, as they may be on any network.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <sys/socket.h>

#include "loop/loop.h"

enum { PROXY_CONNECTIONS = 256, PROXY_QUESTIONS = 128, PROXY_RELAYS = 64 };

struct proxy_address {
	struct sockaddr_storage to;
	socklen_t bytes;
};
/* "127.0.0.1:8770", "[::1]:53": numbers only. */
bool proxy_address_parse(struct str s, struct proxy_address *ret);

struct proxy_relay {
	int fd; /* a listening TCP socket, or a bound UDP socket */
	bool datagrams;
	struct proxy_address to;
};
/* Relays on the loop until it is stopped; the descriptors stay the caller's. */
struct proxy;
struct proxy *proxy_new(struct loop *l, const struct proxy_relay *relays, size_t count);
void proxy_free(struct proxy *p); /* NULL is fine; ends what goes on */
DEFINE_CLEANUP(struct proxy, proxy_free)

/* Gives up all privileges: another user, no capabilities, and none to be had again; few descriptors. The death signal,
 * if there was one, is set again. */
int proxy_confine(struct err *e) must_check;
