/* bloomery-fuse, mounted for real (in a mount namespace of the test's own) over a store of files.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/hash.h"
#include "fuse/fastfile.h"
#include "channel/feeder.h"
#include "fuse_store.h"
#include "jobdir/list.h"

struct world {
	char *objects, *list_path, *at;
	FILE *list;
	unsigned count;
	pid_t pid;
	FILE *answers;
	const char *prefix;
	char *endpoint; /* NULL: the store of files */
};

/* False, and the test is skipped, where nothing can be mounted. */
static bool world_open(struct world *w)
{
	*w = (struct world){ .prefix = "p/" };
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0) {
		test_skip("needs root and /dev/fuse");
		return false;
	}
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		test_skip("no mount namespaces here");
		return false;
	}
	w->objects = strf("%s/objects", test_tmpdir());
	w->list_path = strf("%s/list", test_tmpdir());
	w->at = strf("%s/train", test_tmpdir());
	must(mkdir(w->objects, 0700) == 0 && mkdir(w->at, 0755) == 0);
	w->list = fopen(w->list_path, "we");
	must(w->list);
	return true;
}

static void add_listed(struct world *w, const char *key, const char *id, uint64_t size)
{
	struct list_entry entry = { .size = size,
		                    .modified = { 1700000000123 },
		                    .object_id = str_of(id),
		                    .etag = STR("first"),
		                    .key = str_of(key) };

	CHECK_OK(list_write(w->list, &entry, e));
}

/* A new object of the store; returns its id, which the caller frees. */
static char *add(struct world *w, const char *key, struct str bytes)
{
	char *id = strf("%02xid%u", w->count % 256, w->count);
	_cleanup_free_ char *dir = strf("%s/%.2s", w->objects, id), *path = strf("%s/%s", dir, id);

	w->count++;
	mkdir(dir, 0700);
	CHECK_OK(file_put(AT_FDCWD, path, bytes, 0600, e));
	add_listed(w, key, id, bytes.n);
	return id;
}

static void add_bytes(struct world *w, const char *key, size_t n)
{
	char *bytes = xcalloc(n + 1, 1);

	for (size_t i = 0; i < n; i++)
		bytes[i] = (char)((i * 2654435761U + n) >> 13);
	free(add(w, key, (struct str){ bytes, n }));
	free(bytes);
}

static bool bytes_right(const char *bytes, size_t from, size_t n, size_t whole)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != (char)(((from + i) * 2654435761U + whole) >> 13))
			return false;
	return true;
}

static void order_write(const struct world *w, int fd, int list_fd, int objects_fd, int fuse_fd)
{
	struct feeder_order o = { .channel = "train",
		                  .input_mode = "FastFile",
		                  .place = w->endpoint ? PLACE_REMOTE : PLACE_EMBEDDED,
		                  .bucket = "bkt",
		                  .prefix = (char *)w->prefix,
		                  .order = { .share_count = 1 },
		                  .list_fd = list_fd,
		                  .s3 = { w->endpoint, (char *)"us-east-1", (char *)"AKID", (char *)"secret" },
		                  .objects_fd = w->endpoint ? -1 : objects_fd,
		                  .data_fd = -1,
		                  .spool_fd = -1,
		                  .fuse_fd = fuse_fd };
	_cleanup_free_ char *text = feeder_order_text(&o);

	CHECK_OK(fd_write_all(fd, text, strlen(text), e));
}

/* Starts it in a process of its own, and reads its first answer. */
static void world_serve(struct world *w, struct feeder_answer *ret)
{
	int fuse_fd = -1, in[2], out[2];
	char line[8192];

	fclose(take_ptr(w->list));
	CHECK_OK(fastfile_mount(w->at, "train", &fuse_fd, e));
	must(pipe(in) == 0 && pipe(out) == 0);
	w->pid = fork();
	if (w->pid == 0) {
		int list_fd = open(w->list_path, O_RDONLY | O_CLOEXEC);
		int objects_fd = open(w->objects, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		order_write(w, in[1], list_fd, objects_fd, fuse_fd);
		close(in[1]);
		close(out[0]);
		_exit(fastfile_main(in[0], out[1])); /* so confined that no checker of leaks could look at it */
	}
	close(in[0]), close(in[1]), close(out[1]), close(fuse_fd);
	w->answers = fdopen(out[0], "r");
	must(w->answers);
	if (fgets(line, sizeof(line), w->answers))
		CHECK_OK(feeder_answer_parse((struct str){ line, strcspn(line, "\n") }, ret, e));
}

static void world_start(struct world *w)
{
	struct feeder_answer a = { .word = FEEDER_ERROR };

	world_serve(w, &a);
	if (a.word != FEEDER_READY)
		CHECK_STR(a.text.p, "ready");
	buf_fini(&a.text);
}

/* What it has said up to its end: the last statistics, and all sentences. */
static int world_end(struct world *w, int signo, struct feed_stats *ret_stats, struct buf *troubles)
{
	struct feeder_answer a = { 0 };
	char line[8192];
	int status = -1;

	kill(w->pid, signo);
	while (fgets(line, sizeof(line), w->answers)) {
		CHECK_OK(feeder_answer_parse((struct str){ line, strcspn(line, "\n") }, &a, e));
		if (a.word == FEEDER_FEED && ret_stats)
			*ret_stats = a.feed;
		if (a.word == FEEDER_TROUBLE && troubles)
			buf_f(troubles, "%s\n", a.text.p);
	}
	buf_fini(&a.text);
	fclose(w->answers);
	waitpid(w->pid, &status, 0);
	umount2(w->at, MNT_DETACH);
	free(w->objects), free(w->list_path), free(w->at);
	return status;
}

static int open_in(const struct world *w, const char *path, int flags)
{
	_cleanup_free_ char *whole = strf("%s/%s", w->at, path);

	return open(whole, flags | O_CLOEXEC, 0644);
}

static void check_file(const struct world *w, const char *path, size_t size)
{
	_cleanup_buf_ struct buf got = { 0 };
	_cleanup_free_ char *whole = strf("%s/%s", w->at, path);

	CHECK_OK(file_read(whole, 64 << 20, &got, e));
	CHECK_INT(got.n, size);
	CHECK(got.n == size && bytes_right(got.p, 0, size, size));
}

TEST(mount_reads_every_file)
{
	static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 65536, 131073, 1 << 20, (5 << 20) + 12345 };
	struct world w;
	struct feed_stats stats = { 0 };
	char key[64];

	if (!world_open(&w))
		return;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		snprintf(key, sizeof(key), "p/d%zu/e/f%zu", i % 3, i);
		add_bytes(&w, key, sizes[i]);
	}
	free(add(&w, "p/empty-dir/", STR("")));
	world_start(&w);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		snprintf(key, sizeof(key), "d%zu/e/f%zu", i % 3, i);
		check_file(&w, key, sizes[i]);
	}
	CHECK_INT(world_end(&w, SIGTERM, &stats, NULL), 0);
	CHECK_INT(stats.objects, ARRAY_LEN(sizes) - 1); /* nobody asks for a byte of the empty one */
	CHECK_INT(stats.bytes, 1 + 4095 + 4096 + 4097 + 65536 + 131073 + (1 << 20) + (5 << 20) + 12345);
	CHECK_INT(stats.epochs, 1);
}

TEST(mount_attributes)
{
	struct world w;
	_cleanup_free_ char *file = NULL, *dir = NULL, *ahead = NULL;
	_cleanup_buf_ struct buf kb = { 0 };
	struct statvfs v;
	struct stat st;
	char value[16];

	if (!world_open(&w))
		return;
	add_bytes(&w, "p/d/x", 1000);
	add_bytes(&w, "p/d/sub/y", 1);
	world_start(&w);
	file = strf("%s/d/x", w.at);
	dir = strf("%s/d", w.at);
	CHECK(stat(file, &st) == 0);
	CHECK_INT(st.st_mode, S_IFREG | 0444);
	CHECK_INT(st.st_size, 1000);
	CHECK_INT(st.st_nlink, 1);
	CHECK_INT(st.st_blocks, 2);
	CHECK_INT(st.st_mtim.tv_sec, 1700000000);
	CHECK_INT(st.st_mtim.tv_nsec, 123000000);
	CHECK(st.st_uid == 0 && st.st_gid == 0);
	CHECK(stat(dir, &st) == 0);
	CHECK_INT(st.st_mode, S_IFDIR | 0555);
	CHECK_INT(st.st_nlink, 3);
	CHECK_INT(st.st_mtim.tv_sec, 1700000000);
	ahead = strf("/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev), minor(st.st_dev));
	CHECK_OK(file_read(ahead, 64, &kb, e));
	CHECK_STR(kb.p, "1024\n");
	CHECK(statvfs(w.at, &v) == 0 && v.f_namemax == 255 && v.f_files == 5);
	CHECK(getxattr(file, "user.x", value, sizeof(value)) < 0 && errno == EOPNOTSUPP);
	CHECK_INT(world_end(&w, SIGTERM, NULL, NULL), 0);
}

/* The second mount is writable as far as the kernel goes, so that the program's own answer is seen. */
TEST(mount_is_read_only)
{
	struct world w;
	_cleanup_free_ char *x = NULL, *y = NULL;
	struct timespec times[2] = { 0 };

	if (!world_open(&w))
		return;
	add_bytes(&w, "p/x", 10);
	world_start(&w);
	x = strf("%s/x", w.at);
	y = strf("%s/y", w.at);
	for (int pass = 0; pass < 2; pass++) {
		CHECK(open_in(&w, "x", O_WRONLY) < 0 && errno == EROFS);
		CHECK(open_in(&w, "x", O_RDWR) < 0 && errno == EROFS);
		CHECK(open_in(&w, "y", O_WRONLY | O_CREAT) < 0 && errno == EROFS);
		CHECK(mkdir(y, 0755) < 0 && errno == EROFS);
		CHECK(unlink(x) < 0 && errno == EROFS);
		CHECK(rename(x, y) < 0 && errno == EROFS);
		CHECK(link(x, y) < 0 && errno == EROFS);
		CHECK(symlink("x", y) < 0 && errno == EROFS);
		CHECK(truncate(x, 0) < 0 && errno == EROFS);
		CHECK(chmod(x, 0777) < 0 && errno == EROFS);
		CHECK(utimensat(AT_FDCWD, x, times, 0) < 0 && errno == EROFS);
		CHECK(mount(NULL, w.at, NULL, MS_REMOUNT, NULL) == 0);
	}
	check_file(&w, "x", 10);
	CHECK_INT(world_end(&w, SIGTERM, NULL, NULL), 0);
}

TEST(mount_random_access)
{
	enum { SIZE = 9 << 20, READS = 300 };
	struct world w;
	_cleanup_free_ char *bytes = xcalloc(300000, 1);
	uint64_t state = 42;
	int fd;

	if (!world_open(&w))
		return;
	add_bytes(&w, "p/x", SIZE);
	world_start(&w);
	fd = open_in(&w, "x", O_RDONLY);
	for (int i = 0; i < READS; i++) {
		size_t from, n;

		state = state * 6364136223846793005 + 1442695040888963407;
		from = (size_t)(state >> 20) % SIZE;
		n = (size_t)(state >> 44) % 300000;
		ssize_t got = pread(fd, bytes, n, (off_t)from);

		CHECK_INT(got, n < SIZE - from ? n : SIZE - from);
		CHECK(got < 0 || bytes_right(bytes, from, (size_t)got, SIZE));
	}
	CHECK_INT(pread(fd, bytes, 10, SIZE), 0);
	close(fd);
	CHECK_INT(world_end(&w, SIGTERM, NULL, NULL), 0);
}

TEST(mount_big_directory)
{
	enum { COUNT = 100000 };
	struct world w;
	_cleanup_free_ unsigned char *seen = xcalloc(COUNT, 1);
	struct dirent *entry;
	unsigned count = 0;
	long middle = 0;
	char key[64];
	DIR *d;

	if (!world_open(&w))
		return;
	for (int i = 0; i < COUNT; i++) {
		snprintf(key, sizeof(key), "p/%06d", i);
		add_listed(&w, key, "00none", 1);
	}
	world_start(&w);
	d = opendir(w.at);
	must(d);
	while ((entry = readdir(d))) {
		uint64_t n;

		if (str_to_u64(str_of(entry->d_name), &n) && n < COUNT && !seen[n]++)
			count++;
		if (count == COUNT / 2 && !middle)
			middle = telldir(d);
	}
	CHECK_INT(count, COUNT);
	seekdir(d, middle);
	for (count = 0; readdir(d);)
		count++;
	CHECK_INT(count, COUNT / 2);
	closedir(d);
	CHECK_INT(world_end(&w, SIGTERM, NULL, NULL), 0);
}

/* What is there when the object is read for the first time stays. */
TEST(mount_keeps_what_was_replaced)
{
	struct world w;
	_cleanup_free_ char *id = NULL, *path = NULL;
	char bytes[8] = { 0 };
	int fd;

	if (!world_open(&w))
		return;
	id = add(&w, "p/x", STR("first"));
	path = strf("%s/%.2s/%s", w.objects, id, id);
	world_start(&w);
	fd = open_in(&w, "x", O_RDONLY | O_DIRECT);
	CHECK(pread(fd, bytes, 2, 0) == 2);
	CHECK(unlink(path) == 0);
	CHECK(pread(fd, bytes, 5, 0) == 5 && memcmp(bytes, "first", 5) == 0);
	close(fd);
	CHECK_INT(world_end(&w, SIGTERM, NULL, NULL), 0);
}

TEST(mount_says_what_cannot_be_read)
{
	struct world w;
	_cleanup_buf_ struct buf troubles = { 0 };
	_cleanup_free_ char *id = NULL, *path = NULL;
	char byte;
	int fd;

	if (!world_open(&w))
		return;
	add_listed(&w, "p/gone", "00gone", 10);
	id = add(&w, "p/short", STR("12345"));
	add_bytes(&w, "p/whole", 10);
	path = strf("%s/%.2s/%s", w.objects, id, id);
	world_start(&w);
	CHECK(truncate(path, 3) == 0);
	fd = open_in(&w, "gone", O_RDONLY);
	CHECK(fd >= 0 && read(fd, &byte, 1) < 0 && errno == EIO);
	close(fd);
	fd = open_in(&w, "short", O_RDONLY);
	CHECK(fd >= 0 && read(fd, &byte, 1) < 0 && errno == EIO);
	close(fd);
	check_file(&w, "whole", 10);
	CHECK_INT(world_end(&w, SIGTERM, NULL, &troubles), 0);
	CHECK(troubles.p &&
	      strstr(troubles.p, "s3://bkt/p/gone cannot be read: opening 00/00gone: No such file or directory"));
	CHECK(troubles.p &&
	      strstr(troubles.p, "s3://bkt/p/short cannot be read: its file in the store has 3 bytes, not 5"));
}

TEST(mount_sparse_terabyte)
{
	struct world w;
	_cleanup_free_ char *id = NULL, *path = NULL;
	const uint64_t size = 1ULL << 40;
	char byte = 1;
	int fd;

	if (!world_open(&w))
		return;
	id = strf("ffhuge");
	path = strf("%s/ff", w.objects);
	must(mkdir(path, 0700) == 0);
	free(path);
	path = strf("%s/ff/ffhuge", w.objects);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (ftruncate(fd, (off_t)size) < 0 || pwrite(fd, "z", 1, (off_t)size - 1) != 1) {
		close(fd);
		test_skip("no sparse terabytes here");
		return;
	}
	close(fd);
	add_listed(&w, "p/huge", id, size);
	world_start(&w);
	fd = open_in(&w, "huge", O_RDONLY);
	CHECK(pread(fd, &byte, 1, 0) == 1 && byte == 0);
	CHECK(pread(fd, &byte, 1, (off_t)size / 2) == 1 && byte == 0);
	CHECK(pread(fd, &byte, 1, (off_t)size - 1) == 1 && byte == 'z');
	CHECK(pread(fd, &byte, 1, (off_t)size) == 0);
	close(fd);
	CHECK_INT(world_end(&w, SIGTERM, NULL, NULL), 0);
}

TEST(mount_ends_when_killed)
{
	struct world w;
	siginfo_t gone;
	struct stat st;
	_cleanup_free_ char *y = NULL;
	char byte;
	int fd;

	if (!world_open(&w))
		return;
	add_bytes(&w, "p/x", 1 << 20);
	world_start(&w);
	y = strf("%s/y", w.at);
	fd = open_in(&w, "x", O_RDONLY);
	CHECK(pread(fd, &byte, 1, 0) == 1);
	kill(w.pid, SIGKILL);
	CHECK(waitid(P_PID, (id_t)w.pid, &gone, WEXITED | WNOWAIT) == 0);
	CHECK(stat(y, &st) < 0 && errno == ENOTCONN);
	CHECK(pread(fd, &byte, 1, (1 << 20) - 1) < 0);
	close(fd);
	CHECK(world_end(&w, SIGKILL, NULL, NULL) != 0);
}

TEST(mount_ends_when_nobody_listens)
{
	struct world w;
	int status = -1;

	if (!world_open(&w))
		return;
	add_bytes(&w, "p/x", 10);
	world_start(&w);
	fclose(w.answers);
	CHECK(waitpid(w.pid, &status, 0) == w.pid);
	CHECK_INT(status, 0);
	umount2(w.at, MNT_DETACH);
	free(w.objects), free(w.list_path), free(w.at);
}

TEST(mount_refuses_a_bad_channel)
{
	struct feeder_answer a = { 0 };
	struct world w;
	int status = 0;

	if (!world_open(&w))
		return;
	add_bytes(&w, "p/x", 10);
	add_bytes(&w, "p/x/y", 10);
	world_serve(&w, &a);
	CHECK_INT(a.word, FEEDER_ERROR);
	CHECK_INT(a.kind, ERR_CLIENT);
	CHECK(a.text.p && strstr(a.text.p, "s3://bkt/p/x and s3://bkt/p/x/y are in each other's way"));
	buf_fini(&a.text);
	status = world_end(&w, SIGTERM, NULL, NULL);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

/* ---- another S3 ---- */

/* The store runs in a process of its own, and dies with the test; SIGUSR1 replaces all of its objects. */
static void replace_all(int signo)
{
	(void)signo;
	atomic_store(&store.replaced, 1);
}

static pid_t start_store(struct world *w)
{
	char url[64] = "";
	int out[2];
	pid_t pid;

	must(pipe(out) == 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGUSR1, replace_all);
		w->endpoint = store_start();
		(void)!write(out[1], w->endpoint, strlen(w->endpoint) + 1);
		for (;;)
			pause();
	}
	close(out[1]);
	CHECK(read(out[0], url, sizeof(url)) > 0);
	close(out[0]);
	w->endpoint = strf("%s", url);
	return pid;
}

static void end_store(struct world *w, pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	free(w->endpoint);
}

static void check_range(int fd, uint64_t from, size_t n)
{
	char *bytes = xcalloc(n, 1);
	ssize_t got = pread(fd, bytes, n, (off_t)from);

	CHECK_INT(got, n);
	CHECK(got == (ssize_t)n && store_right(bytes, from, n));
	free(bytes);
}

TEST(mount_of_another_s3)
{
	const uint64_t size = ((uint64_t)30 << 20) + 4711, huge = 1ULL << 40;
	struct feed_stats stats = { 0 };
	struct world w;
	uint64_t state = 3;
	char byte;
	pid_t pid;
	int fd;

	if (!world_open(&w))
		return;
	pid = start_store(&w);
	add_listed(&w, "p/x", "-", size);
	add_listed(&w, "p/huge", "-", huge);
	add_listed(&w, "p/none", "-", 0);
	world_start(&w);
	fd = open_in(&w, "x", O_RDONLY);
	for (int i = 0; i < 50; i++) {
		state = state * 6364136223846793005 + 1442695040888963407;
		check_range(fd, (state >> 20) % (size - 300000), (size_t)(state >> 44) % 300000 + 1);
	}
	for (uint64_t at = 0; at < size; at += 1 << 20)
		check_range(fd, at, at + (1 << 20) < size ? 1 << 20 : (size_t)(size - at));
	close(fd);
	fd = open_in(&w, "huge", O_RDONLY);
	check_range(fd, huge / 2, 100);
	check_range(fd, huge - 100, 100);
	close(fd);
	fd = open_in(&w, "none", O_RDONLY);
	CHECK(fd >= 0 && read(fd, &byte, 1) == 0);
	close(fd);
	CHECK_INT(world_end(&w, SIGTERM, &stats, NULL), 0);
	CHECK_INT(stats.objects, 2);
	CHECK(stats.bytes >= size && stats.stalls_store > 0);
	end_store(&w, pid);
}

TEST(mount_of_an_object_that_is_replaced)
{
	_cleanup_buf_ struct buf troubles = { 0 };
	struct world w;
	char byte;
	pid_t pid;
	int fd;

	if (!world_open(&w))
		return;
	pid = start_store(&w);
	add_listed(&w, "p/x", "-", 64 << 20);
	world_start(&w);
	fd = open_in(&w, "x", O_RDONLY);
	check_range(fd, 5 << 20, 100);
	kill(pid, SIGUSR1);
	CHECK(pread(fd, &byte, 1, 50 << 20) < 0 && errno == EIO);
	check_range(fd, 5 << 20, 100); /* what was read is still what it was */
	close(fd);
	CHECK_INT(world_end(&w, SIGTERM, NULL, &troubles), 0);
	CHECK(troubles.p && strstr(troubles.p, "s3://bkt/p/x cannot be read: the object was replaced"));
	end_store(&w, pid);
}

/* SIGTERM is heard while reads wait for a store that is gone. */
TEST(mount_ends_while_the_store_is_gone)
{
	struct mono start;
	struct world w;
	pid_t pid, reader;
	int fd, status = -1;

	if (!world_open(&w))
		return;
	pid = start_store(&w);
	add_listed(&w, "p/x", "-", 64 << 20);
	world_start(&w);
	fd = open_in(&w, "x", O_RDONLY);
	check_range(fd, 0, 100);
	end_store(&w, pid);
	reader = fork();
	if (reader == 0) {
		char byte;

		_exit(pread(fd, &byte, 1, 50 << 20) < 0 ? 0 : 1);
	}
	close(fd);
	nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL);
	CHECK_INT(waitpid(reader, &status, WNOHANG), 0);
	start = mono_now();
	CHECK_INT(world_end(&w, SIGTERM, NULL, NULL), 0);
	CHECK(mono_ms_since(start) < 5000);
	CHECK(waitpid(reader, &status, 0) == reader && status == 0);
}
