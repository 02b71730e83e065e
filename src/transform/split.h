/* split.h - where one record of an object ends and the next begins: SplitType None, Line, RecordIO, TFRecord (contract
 * 7.6, frames: 2.7 and 2.8).
 *
 * A splitter belongs to one object and is shown its bytes from the first record not yet taken on; it keeps no bytes.
 * It says how many of them are whole records that fit into one request. Pure; used by one thread at a time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

enum split_type { SPLIT_NONE, SPLIT_LINE, SPLIT_RECORDIO, SPLIT_TFRECORD };
/* By the service's name; an empty one is None. */
bool split_from_name(struct str name, enum split_type *ret);

struct splitter {
	enum split_type type;
	bool single;      /* one record at a time; its size is what split_payload() makes of it */
	size_t limit;     /* bytes a request may have */
	uint64_t at;      /* the object's bytes before what is shown */
	uint64_t records; /* that have been taken */
};

/* What the next request consists of. */
struct split_take {
	size_t bytes;   /* of what was shown, from its start */
	size_t records; /* in them */
};

/* Up to how many bytes it is worth to show: with so many split_next() never asks for more. */
size_t split_window(const struct splitter *s);

/* shown: the bytes at s->at; end: the object has no others. 1: *ret is taken, and s stands behind it; 0: show more, or,
 * when this was the end, nothing is left. -1: ERR_CLIENT, names record and byte offset: a damaged frame or checksum, an
 * object that ends within a record, or a record that is larger than the limit (ret_too_large, may be NULL). What stood
 * before the bad record has been taken by then. */
int split_next(struct splitter *s, struct str shown, bool end, struct split_take *ret, bool *ret_too_large,
               struct err *e) must_check;

/* A record as it is sent alone, without frame and padding: a view of `record`, or of *scratch where it had to be put
 * together. record: what split_next() took with `single`. */
struct str split_payload(enum split_type type, struct str record, struct buf *scratch);

size_t split_count_lines(struct str s); /* line feeds */
