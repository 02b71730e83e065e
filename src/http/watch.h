/* watch.h - puts an end to connections whose request does not arrive in time, byte by byte as it may come.
 *
 * libmicrohttpd's own timeout starts anew with every byte. Each connection here has a deadline for the whole of what
 * the client has to send next; a thread of its own shuts down the sockets that miss theirs, and libmicrohttpd then
 * finds them closed. Used by http/server.c; thread-safe.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct watched {
	struct watched *prev, *next;
	int fd;                        /* libmicrohttpd's; open as long as this is on the list */
	_Atomic int64_t deadline_ns;   /* on the monotonic clock; 0: none */
	_Atomic bool receiving;        /* the client is to send something, not we */
	char remote[INET6_ADDRSTRLEN]; /* who it is, for struct http_request */
};

struct watch;
struct watch *watch_new(void);    /* NULL with errno */
void watch_free(struct watch *w); /* NULL is fine; the list must be empty */
void watch_add(struct watch *w, struct watched *c);
void watch_remove(struct watch *w, struct watched *c);
/* May be called from any thread while c is on the list. seconds 0: no deadline. */
void watch_deadline(struct watched *c, unsigned seconds);
