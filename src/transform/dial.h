/* dial.h - sockets that live in the network of a serving container, so that a container that reaches nothing, and
 * several that all listen on port 8080, are spoken to at their own loopback.
 *
 * Whoever started us keeps those networks. It is asked over a unix SOCK_SEQPACKET: one byte, the container's index, and
 * answers with one byte and a TCP socket, not yet connected, beside it (SCM_RIGHTS). An answer without a socket means
 * that the container has no network any more.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>

#include "base/err.h"

/* Any thread may dial; one does at a time. */
struct dialer {
	int fd; /* borrowed; -EBADF: sockets are made here, as usual */
	pthread_mutex_t mu;
};
void dialer_init(struct dialer *d, int fd);
void dialer_fini(struct dialer *d);

/* The socket. ERR_TRAINER: there is none to be had; ERR_IO: nobody answers any more. */
int dial(struct dialer *d, unsigned container, struct err *e) must_check;
