/* list.h - the objects of one channel, frozen at launch: what bloomeryd hands to bloomery-job for embedded data.
 *
 * A text file; one record an object, in listing order (bytewise by key):
 *     SIZE SP MTIME_MS SP OBJECT_ID SP ETAG SP KEYLEN SP KEY LF
 * KEY is raw bytes, KEYLEN of them, so any key is legal. OBJECT_ID names <data>/objects/<first 2>/<id>.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdio.h>

#include "base/clock.h"
#include "base/str.h"

struct list_entry {
	uint64_t size;
	struct wall modified;
	struct str object_id, etag, key; /* views into the reader's buffer, valid until the next call */
};

int list_write(FILE *f, const struct list_entry *entry, struct err *e) must_check;

struct list_reader;
int list_open(const char *path, struct list_reader **ret, struct err *e) must_check;
void list_close(struct list_reader *r); /* NULL is fine */
DEFINE_CLEANUP(struct list_reader, list_close)
/* OBJECT_ID is checked to be 2 to 64 lower-case letters and digits, the key to have 1 to 1024 bytes. The key is
 * NUL-terminated, and may have a NUL inside.
 * 1: *ret filled; 0: end; -1: error (a torn or malformed record). */
int list_next(struct list_reader *r, struct list_entry *ret, struct err *e) must_check;
