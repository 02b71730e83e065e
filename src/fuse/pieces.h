/* pieces.h - the cache of remote.c: pieces of objects by block, the ones least needed first to go, and queues of them.
 *
 * Not thread-safe: everything is under the lock of remote.c, but for the bytes of a piece that somebody holds.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>

#include "base/str.h"

struct piece_queue {
	struct piece *head, *tail;
};

/* Somebody waits for a piece. In the waiter's memory. */
struct wait {
	struct reading *whose;
	struct wait *next;
};

struct piece {
	uint32_t file, blocks;
	uint64_t first; /* block */
	size_t length;  /* bytes; the last piece of an object may end inside of a block */
	char *bytes;
	bool here;        /* bytes are there, and stay until it is freed */
	bool early;       /* nobody has asked for it yet */
	struct err *why;  /* not NULL: it will never be here */
	unsigned holders; /* reads, and the one that fetches it */
	struct wait *waits;
	struct piece_queue *queue; /* that it is in */
	struct piece *next, *prev; /* in the queue; or among those that nobody holds: next was used before it */
	struct slot {
		struct piece *piece;
		struct slot *next; /* in its bucket */
	} slots[];                 /* one a block */
};

enum { PIECES_BUCKETS = 1 << 14, PIECES_SPARE = 8 };
struct pieces {
	uint64_t limit, bytes; /* bytes: of all pieces, also those still to come */
	struct slot **buckets;
	struct piece_queue idle;   /* here, and nobody holds them; the tail goes first */
	char *spare[PIECES_SPARE]; /* memory of the largest pieces, to be used again: new memory is slow */
	size_t spares;
};

void pieces_init(struct pieces *c, uint64_t limit);
void pieces_fini(struct pieces *c); /* nobody may hold a piece any more */
struct piece *pieces_find(const struct pieces *c, uint32_t file, uint64_t block);
/* A piece that is to be fetched, held once, for who fetches it. None of its blocks may be in another. */
struct piece *pieces_add(struct pieces *c, uint32_t file, uint64_t first, size_t length);
/* Gives it memory for its bytes. */
void pieces_supply(struct pieces *c, struct piece *p);
/* Its bytes are there, or (why) will not be: then it is in nobody's way any more, and goes with the last who holds it.
 */
void pieces_arrived(struct pieces *c, struct piece *p, const struct err *why);
void pieces_hold(struct pieces *c, struct piece *p);
/* done: it is not likely to be needed again. */
void pieces_release(struct pieces *c, struct piece *p, bool done);
/* Lets go of what is not held until there is room for so many bytes more; false when there is none. */
bool pieces_room(struct pieces *c, uint64_t bytes);

void piece_queue_put(struct piece_queue *q, struct piece *p); /* at the end */
struct piece *piece_queue_take(struct piece_queue *q);        /* from the start; NULL when empty */
void piece_queue_remove(struct piece_queue *q, struct piece *p);
