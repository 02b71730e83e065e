/* list.h - a channel's units, frozen at launch: what bloomeryd hands to bloomery-job as lists/<n>.
 *
 * A unit is what is shuffled and dealt to hosts: an object, or a line of an augmented manifest with its parts. Units
 * stand in the channel's order: listing order (bytewise by key), or the order of the manifest.
 *
 *     object:  SIZE SP MTIME_MS SP OBJECT_ID SP ETAG SP KEYLEN SP KEY LF
 *     line:    "+" SP PARTS LF, then PARTS of   "=" SP LENGTH SP BYTES LF            literal bytes
 *                                               "@" SP BUCKET SP <object as above>   the bytes of an object
 *
 * KEY is raw bytes, KEYLEN of them, so any key is legal. OBJECT_ID names <data>/objects/<first 2>/<id>; it is "-" for
 * an object of another S3, which is then read with If-Match: ETAG.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdio.h>

#include "base/clock.h"
#include "base/str.h"

enum { LIST_LITERAL_MAX = 64 << 20, LIST_PARTS_MAX = 16 };

/* Views into the reader's buffers, valid until its next call. */
struct list_entry {
	uint64_t size;
	struct wall modified;
	struct str object_id, etag, key; /* object_id "-": of another S3 */
	struct str bucket;               /* of a line's part; empty: the channel's own */
};

struct list_part {
	bool literal;
	struct str bytes;         /* when literal */
	struct list_entry object; /* when not */
};

int list_write(FILE *f, const struct list_entry *entry, struct err *e) must_check;
/* A line of `count` parts. */
int list_write_line(FILE *f, const struct list_part *parts, size_t count, struct err *e) must_check;

struct list_reader;
int list_open(const char *path, struct list_reader **ret, struct err *e) must_check;
/* The list behind fd, from its start; fd is the reader's from here on, also on failure. Readers of one file need
 * descriptors that were opened separately. */
int list_open_fd(int fd, struct list_reader **ret, struct err *e) must_check;
void list_close(struct list_reader *r); /* NULL is fine */
DEFINE_CLEANUP(struct list_reader, list_close)

/* The next object of a list without lines. OBJECT_ID is checked to be "-" or 2 to 64 lower-case letters and digits, the
 * key to have 1 to 1024 bytes. The key is NUL-terminated, and may have a NUL inside.
 * 1: *ret filled; 0: end; -1: error (a torn or malformed record, or a line). */
int list_next(struct list_reader *r, struct list_entry *ret, struct err *e) must_check;

/* Units by position, for orders other than the list's. list_index() reads the whole list once: where each unit starts,
 * an array that the caller frees. list_unit() goes to one and tells how many parts it has (an object: 1); that many
 * list_part() follow. */
int list_index(struct list_reader *r, uint64_t **ret_offsets, uint64_t *ret_count, struct err *e) must_check;
int list_unit(struct list_reader *r, uint64_t offset, size_t *ret_parts, struct err *e) must_check;
int list_part(struct list_reader *r, struct list_part *ret, struct err *e) must_check;
