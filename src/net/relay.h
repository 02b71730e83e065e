/* relay.h - what proxy.c and question.c share.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "net/proxy.h"

struct connection;
struct question;

struct relay {
	struct proxy *proxy;
	int fd;
	bool datagrams;
	struct proxy_address to;
	struct loop_source *source;
	struct connection *connections; /* doubly linked */
	struct question *questions;     /* likewise */
};

struct proxy {
	struct loop *loop;
	struct loop_source *backoff; /* after descriptors or memory were short */
	bool ending;
	size_t connection_count, question_count; /* of all relays together */
	size_t count;
	struct relay relay[PROXY_RELAYS];
};

void connection_free(struct connection *c);
void relay_has_room(struct relay *r); /* a connection has gone */

/* question.c: a UDP question goes out by a socket of its own (and so from a port that is hard to guess); the answer
 * goes back to who asked. */
void on_questions(void *relay, uint32_t events);
void question_free(struct question *q);
