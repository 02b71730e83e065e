/* result.h - what the container answered, kept until it is its turn to be written: in memory, or, when all that wait
 * together hold too much of that, in a nameless file in the directory of the output.
 *
 * A result belongs to one thread at a time; the house is shared.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdatomic.h>

#include "base/str.h"

struct result_house {
	int dirfd;
	uint64_t most; /* bytes in memory, of all results together */
	_Atomic uint64_t held;
	_Atomic uint64_t written; /* to files of dirfd, results and outputs */
};

struct result {
	struct result_house *house;
	struct buf memory;
	int fd; /* -EBADF: all is in memory */
	uint64_t size;
	char last; /* byte; of size > 0 */
};

void result_init(struct result *r, struct result_house *house);
void result_fini(struct result *r); /* empty afterwards, and may be used again */
int result_add(struct result *r, struct str bytes, struct err *e) must_check;
/* All of it, to be looked at; until result_unview(). */
int result_view(struct result *r, struct str *ret, struct err *e) must_check;
void result_unview(struct result *r, struct str view);
/* Appends it to a file of the house's dirfd. Here as in result_add() the last of a disk is left to others: a container
 * may answer without end. */
int result_write(struct result *r, int fd, struct err *e) must_check;
