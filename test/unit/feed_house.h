/* feed_house.h - what the tests of Pipe mode share: a store, a list, a container's directory on a real overlay, and the
 * program of feed/feed.h in a process of its own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "channel/feeder.h"
#include "feed/feed.h"
#include "harness.h"
#include "jobdir/list.h"

struct house {
	bool overlay;
	char *data; /* path of the directory as the container sees it */
	int objects_fd, spool_fd, data_fd, list_fd;
	FILE *list;
	unsigned objects;
	struct buf all; /* the objects' bytes in the list's order */
	struct feeder_order order;
	pid_t pid;
	int out;          /* the program's answers */
	struct buf lines; /* read so far */
};

/* A hanging reader or program is a failure. */
#define HOUSE_SECONDS 60

/* Where it can be had, the directory is on an overlay that only this process sees. */
static inline void house_data(struct house *h)
{
	static const char *const dirs[] = { "lower", "upper", "work", "merged" };
	_cleanup_free_ char *o = NULL, *merged = strf("%s/merged", test_tmpdir());

	for (size_t i = 0; i < 4; i++) {
		_cleanup_free_ char *path = strf("%s/%s", test_tmpdir(), dirs[i]);

		CHECK_OK(mkdir_all(AT_FDCWD, path, 0755, e));
	}
	o = strf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", test_tmpdir(), test_tmpdir(), test_tmpdir());
	h->overlay = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
	             mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	             mount("overlay", merged, "overlay", 0, o) == 0;
	h->data = strf("%s/data", merged);
	must(mkdir(h->data, 0755) == 0);
	h->data_fd = open(h->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(h->data_fd >= 0);
}

static inline int house_dir(const char *name)
{
	_cleanup_free_ char *path = strf("%s/%s", test_tmpdir(), name);
	int fd;

	CHECK_OK(mkdir_all(AT_FDCWD, path, 0755, e));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(fd >= 0);
	return fd;
}

static inline void house_open(struct house *h)
{
	_cleanup_free_ char *list = strf("%s/list", test_tmpdir());

	*h = (struct house){ .out = -EBADF };
	alarm(HOUSE_SECONDS);
	signal(SIGPIPE, SIG_IGN);
	house_data(h);
	h->objects_fd = house_dir("objects");
	h->spool_fd = house_dir("spool");
	h->list = fopen(list, "we");
	h->list_fd = open(list, O_RDONLY | O_CLOEXEC);
	must(h->list && h->list_fd >= 0);
	h->order = (struct feeder_order){ .channel = xstrdup("train"),
		                          .input_mode = xstrdup("Pipe"),
		                          .place = PLACE_EMBEDDED,
		                          .bucket = xstrdup("b"),
		                          .prefix = xstrdup("p/"),
		                          .order = { .share_count = 1 },
		                          .list_fd = h->list_fd,
		                          .objects_fd = h->objects_fd,
		                          .data_fd = h->data_fd,
		                          .spool_fd = h->spool_fd,
		                          .fuse_fd = -1 };
}

/* An object of the store; *ret views static memory. */
static inline struct list_entry house_store(struct house *h, struct str bytes)
{
	static char id[40], key[40];
	_cleanup_free_ char *path = NULL;

	snprintf(id, sizeof(id), "%02x%08x", h->objects % 256, h->objects);
	snprintf(key, sizeof(key), "p/%08u", h->objects++);
	path = strf("%.2s/%s", id, id);
	mkdirat(h->objects_fd, (char[]){ id[0], id[1], 0 }, 0755);
	CHECK_OK(file_put(h->objects_fd, path, bytes, 0600, e));
	return (struct list_entry){ .size = bytes.n, .object_id = str_of(id), .etag = STR("etag"), .key = str_of(key) };
}

/* The channel's next unit. */
static inline void house_add(struct house *h, struct str bytes)
{
	struct list_entry o = house_store(h, bytes);

	CHECK_OK(list_write(h->list, &o, e));
	buf_add(&h->all, bytes.p, bytes.n);
}

/* `count` objects of up to `most` bytes each, of numbers that differ everywhere. */
static inline void house_fill(struct house *h, unsigned count, size_t most)
{
	_cleanup_buf_ struct buf b = { 0 };
	uint32_t x = 1;

	for (unsigned i = 0; i < count; i++) {
		size_t n = count == 1 ? most : (size_t)i * 7919 % (most + 1);

		buf_reset(&b);
		while (b.n < n) {
			x = x * 1664525 + 1013904223;
			buf_add(&b, &x, n - b.n < 4 ? n - b.n : 4);
		}
		house_add(h, buf_view(&b));
	}
}

static inline void house_start(struct house *h)
{
	_cleanup_free_ char *text = feeder_order_text(&h->order);
	int in[2], out[2];

	must(fflush(h->list) == 0 && pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
	fflush(NULL);
	h->pid = fork();
	must(h->pid >= 0);
	if (h->pid == 0) {
		alarm(0);
		close(in[1]);
		close(out[0]);
		_exit(feed_main(in[0], out[1]));
	}
	close(in[0]);
	close(out[1]);
	CHECK_OK(fd_write_all(in[1], text, strlen(text), e));
	close(in[1]);
	h->out = out[0];
}

/* The next answer of the program; false: it has said all. */
static inline bool house_answer(struct house *h, struct feeder_answer *ret)
{
	char *end;

	while (!(end = h->lines.n ? memchr(h->lines.p, '\n', h->lines.n) : NULL)) {
		char piece[4096];
		ssize_t n = read(h->out, piece, sizeof(piece));

		if (n <= 0)
			return false;
		buf_add(&h->lines, piece, (size_t)n);
	}
	CHECK_OK(feeder_answer_parse((struct str){ h->lines.p, (size_t)(end - h->lines.p) }, ret, e));
	h->lines.n -= (size_t)(end + 1 - h->lines.p);
	memmove(h->lines.p, end + 1, h->lines.n);
	return true;
}

static inline void house_ready(struct house *h)
{
	struct feeder_answer a = { 0 };

	must(house_answer(h, &a));
	if (a.word != FEEDER_READY)
		test_failed(__FILE__, __LINE__, "not ready: %s", a.text.p ? a.text.p : "?");
	buf_fini(&a.text);
}

static inline char *house_path(const struct house *h, uint64_t epoch)
{
	return strf("%s/train_%llu", h->data, (unsigned long long)epoch);
}

static inline int house_fifo(const struct house *h, uint64_t epoch, int flags)
{
	_cleanup_free_ char *path = house_path(h, epoch);
	int fd = open(path, O_RDONLY | O_CLOEXEC | flags);

	if (fd < 0)
		test_failed(__FILE__, __LINE__, "%s: errno %d", path, errno);
	return fd;
}

/* To the end. */
static inline void house_drain(int fd, struct buf *into)
{
	ssize_t n;

	do {
		buf_need(into, 64 << 10);
		n = read(fd, into->p + into->n, 64 << 10);
		into->n += n > 0 ? (size_t)n : 0;
	} while (n > 0 || (n < 0 && errno == EINTR));
	CHECK(n == 0);
}

/* A whole epoch; the caller frees. */
static inline struct buf house_epoch(const struct house *h, uint64_t epoch)
{
	struct buf b = { 0 };
	int fd = house_fifo(h, epoch, 0);

	buf_init(&b);
	house_drain(fd, &b);
	close(fd);
	return b;
}

static inline void check_bytes_at(const char *file, int line, struct str got, struct str want)
{
	size_t i = 0;

	if (str_eq(got, want))
		return;
	while (i < got.n && i < want.n && got.p[i] == want.p[i])
		i++;
	test_failed(file, line, "%zu bytes instead of %zu, other ones from %zu on", got.n, want.n, i);
}
#define CHECK_BYTES(got, want) check_bytes_at(__FILE__, __LINE__, got, want)

/* Reads one epoch and compares. */
static inline void house_check_epoch(const struct house *h, uint64_t epoch, struct str want)
{
	struct buf b = house_epoch(h, epoch);

	CHECK_BYTES(buf_view(&b), want);
	buf_fini(&b);
}

/* Ends the program; its exit status, and the last counts and the error that it told. */
static inline int house_end(struct house *h, struct feed_stats *ret, struct buf *ret_error)
{
	struct feeder_answer a = { 0 };
	int status = 0;

	if (!ret_error)
		kill(h->pid, SIGTERM);
	while (house_answer(h, &a)) {
		if (a.word == FEEDER_FEED && ret)
			*ret = a.feed;
		if (a.word == FEEDER_ERROR && ret_error) {
			buf_add(ret_error, a.text.p, a.text.n);
			kill(h->pid, SIGTERM);
		} else if (a.word == FEEDER_ERROR) {
			test_failed(__FILE__, __LINE__, "error: %s", a.text.p);
		}
	}
	buf_fini(&a.text);
	must(waitpid(h->pid, &status, 0) == h->pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline void house_close(struct house *h)
{
	close(h->out);
	close(h->data_fd);
	close(h->objects_fd);
	close(h->spool_fd);
	close(h->list_fd);
	fclose(h->list);
	feeder_order_fini(&h->order);
	buf_fini(&h->all);
	buf_fini(&h->lines);
	if (h->overlay) {
		_cleanup_free_ char *merged = strf("%s/merged", test_tmpdir());

		umount2(merged, MNT_DETACH);
	}
	free(h->data);
	CHECK_OK(remove_tree(AT_FDCWD, test_tmpdir(), e)); /* for the next one */
	must(mkdir(test_tmpdir(), 0700) == 0);
}
