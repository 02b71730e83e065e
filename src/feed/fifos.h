/* fifos.h - the FIFOs of a channel: which names there are, who waits at them, and how none is ever left with a reader
 * that nobody writes for (contract 3.1, 3.2, 3.4).
 *
 * Names are <channel>_<epoch> in the container's /opt/ml/input/data, through its mounted root. There is always one for
 * epoch 0, for the epoch behind the newest that was opened, for the newest one that is finished, and for every one that
 * is being read. Behind each name is a FIFO that nobody has opened yet, with a thread that waits in open(O_WRONLY) on
 * it. When a reader comes, first the next epoch's name is made, then the name gets a fresh FIFO, and only then data
 * flows: so whoever opens a name gets that epoch from its start, whatever became of others before.
 *
 * The container may do what it likes to the directory. FIFOs are held by descriptor and opened by that; a name that
 * stands for something else is replaced, never opened; a name that cannot be made is told once, and tried again
 * whenever a FIFO is opened or finished. Epochs that are read at the same time are limited: at the limit names are
 * missing until one ends, which readers have to reckon with anyway.
 *
 * There is no way to free it: threads wait in open(2) until the process ends.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdint.h>

#include "base/str.h"

enum { FIFOS_READ_MAX = 16 };

struct fifos_options {
	int dirfd;           /* borrowed */
	const char *channel; /* borrowed; checked to be a leaf */
	/* Writes an epoch to fd, in a thread of its own; see stream_epoch(). */
	int (*stream)(void *arg, uint64_t epoch, int fd, struct err *e);
	/* stream() failed, in its thread. The FIFO stays open until this returns: its reader must not take it for an
	 * end. */
	void (*failed)(void *arg, const struct err *why);
	void (*trouble)(void *arg, const char *text);
	void *arg;
};

struct fifos;
struct fifos *fifos_new(const struct fifos_options *o);
/* Makes the FIFO of epoch 0. */
int fifos_start(struct fifos *a, struct err *e) must_check;
/* To be called about once a second: wakes threads and readers that came to a FIFO just when it
 * lost its name. */
void fifos_tick(struct fifos *a);

/* A descriptor, or -1: when it is readable, fifos_heard() is to be called. */
int fifos_fd(const struct fifos *a);
void fifos_heard(struct fifos *a);

struct fifos_counts {
	uint64_t newest, opened; /* epoch; how many were opened */
	int64_t active_ns;       /* how long at least one was being read */
};
void fifos_counts(struct fifos *a, struct fifos_counts *ret);
