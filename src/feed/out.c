/* SPDX-License-Identifier: Apache-2.0 */
#include "feed/out.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

enum { ROOM = 1 << 20, ROOM_LESS = 256 << 10, PENDING = 64 << 10, SMALL = 16 << 10, COPY = 256 << 10, TELL_MS = 1000 };

void out_init(struct out *o, int fd, struct feed_counts *counts)
{
	*o = (struct out){ .fd = fd, .counts = counts, .since = mono_now().ns };
	fd_set_nonblock(fd, true);
	/* A machine may allow less, and then it is slower, not wrong. */
	if (fcntl(fd, F_SETPIPE_SZ, ROOM) < 0)
		(void)fcntl(fd, F_SETPIPE_SZ, ROOM_LESS);
}

void out_fini(struct out *o)
{
	free(o->pending);
	o->pending = NULL;
	o->pending_n = 0;
}

bool out_gone(const struct out *o)
{
	struct pollfd p = { .fd = o->fd };

	return poll(&p, 1, 0) > 0 && (p.revents & POLLERR);
}

void out_waiting(struct out *o)
{
	int64_t now = mono_now().ns;
	int left = 0;

	if (ioctl(o->fd, FIONREAD, &left) < 0 || left > 0)
		return;
	atomic_fetch_add_explicit(&o->counts->wait_store_ns, (uint64_t)(now - o->since), memory_order_relaxed);
	o->since = now;
	o->was_full = false;
}

/* Data has come, of which `mine` bytes are in the FIFO already. If that took long and there was nothing else left, the
 * reader has been waiting for the store. */
static void came(struct out *o, int64_t now, size_t mine)
{
	int left = 0;

	if (now - o->since < OUT_STALL_NS || o->was_full)
		return;
	if (ioctl(o->fd, FIONREAD, &left) < 0 || (size_t)left > mine)
		return;
	atomic_fetch_add_explicit(&o->counts->stalls_store, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&o->counts->wait_store_ns, (uint64_t)(now - o->since), memory_order_relaxed);
}

static void taken(struct out *o, size_t n, int64_t now)
{
	o->since = now;
	o->was_full = false;
	atomic_fetch_add_explicit(&o->counts->bytes, n, memory_order_relaxed);
}

/* Waits until the FIFO takes something, or nobody reads it any more: the next write tells which. */
static int wait_for_reader(struct out *o, struct err *e)
{
	struct pollfd p = { .fd = o->fd, .events = POLLOUT };
	int64_t begin = mono_now().ns, from = begin;
	int rc;

	do {
		rc = poll(&p, 1, TELL_MS);
		if (rc < 0 && errno != EINTR)
			return err_sys(e, "waiting for the reader");
		o->since = mono_now().ns;
		atomic_fetch_add_explicit(&o->counts->wait_reader_ns, (uint64_t)(o->since - from),
		                          memory_order_relaxed);
		from = o->since;
	} while (rc <= 0);
	o->was_full = true;
	if (o->since - begin >= OUT_STALL_NS)
		atomic_fetch_add_explicit(&o->counts->stalls_reader, 1, memory_order_relaxed);
	return 0;
}

/* After a write or splice that did not work. 0: try again. */
static int not_taken(struct out *o, struct err *e)
{
	if (errno == EINTR)
		return 0;
	if (errno == EPIPE)
		return OUT_GONE;
	if (errno != EAGAIN)
		return err_sys(e, "writing to the FIFO");
	return wait_for_reader(o, e);
}

static int write_all(struct out *o, struct str bytes, struct err *e)
{
	came(o, mono_now().ns, 0);
	while (bytes.n) {
		ssize_t n = write(o->fd, bytes.p, bytes.n);
		int rc;

		if (n < 0 && (rc = not_taken(o, e)) != 0)
			return rc;
		if (n <= 0)
			continue;
		bytes.p += n;
		bytes.n -= (size_t)n;
		taken(o, (size_t)n, mono_now().ns);
	}
	return 0;
}

int out_flush(struct out *o, struct err *e)
{
	struct str all = { o->pending, o->pending_n };

	o->pending_n = 0;
	return all.n ? write_all(o, all, e) : 0;
}

int out_add(struct out *o, struct str bytes, struct err *e)
{
	int rc;

	if (bytes.n > PENDING - o->pending_n && (rc = out_flush(o, e)) != 0)
		return rc;
	if (bytes.n > SMALL)
		return (rc = out_flush(o, e)) != 0 ? rc : write_all(o, bytes, e);
	if (!bytes.n)
		return 0;
	if (!o->pending)
		o->pending = xrealloc(NULL, PENDING);
	memcpy(o->pending + o->pending_n, bytes.p, bytes.n);
	o->pending_n += bytes.n;
	return 0;
}

static int too_short(uint64_t offset, struct err *e)
{
	return err_set(e, ERR_IO, "the file ends after %llu bytes", (unsigned long long)offset);
}

/* For file systems without splice(). */
static int copy(struct out *o, int fd, uint64_t offset, uint64_t length, struct err *e)
{
	_cleanup_free_ char *piece = xrealloc(NULL, COPY);
	int rc = 0;

	while (length && rc == 0) {
		ssize_t n = pread(fd, piece, length < COPY ? length : COPY, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 ? too_short(offset, e) : err_sys(e, "reading the file");
		rc = write_all(o, (struct str){ piece, (size_t)n }, e);
		offset += (uint64_t)n;
		length -= (uint64_t)n;
	}
	return rc;
}

int out_splice(struct out *o, int fd, uint64_t offset, uint64_t length, struct err *e)
{
	loff_t at = (loff_t)offset, end = (loff_t)(offset + length);
	int64_t now;
	int rc = out_flush(o, e);

	while (rc == 0 && at < end) {
		size_t want = end - at < ROOM ? (size_t)(end - at) : ROOM;
		ssize_t n = splice(fd, &at, o->fd, NULL, want, SPLICE_F_NONBLOCK | SPLICE_F_MOVE | SPLICE_F_MORE);

		if (n == 0)
			return too_short((uint64_t)at, e);
		if (n < 0 && errno == EINVAL)
			return copy(o, fd, (uint64_t)at, (uint64_t)(end - at), e);
		if (n < 0) {
			rc = not_taken(o, e);
			continue;
		}
		now = mono_now().ns;
		came(o, now, (size_t)n); /* reading the file is part of splice() */
		taken(o, (size_t)n, now);
	}
	return rc;
}
