/* feed_reader VERB ...: reads channels the ways that trainers do (contract 3.2), hashes what it saw, and says it as one
 * JSON object a line. Part of the test images of the channel tests; it shares no code with what it tests.
 *
 *   tree DIR                        every directory and file below DIR, the files with their SHA-256
 *   at FILE OFFSET LENGTH           those bytes, in hex
 *   random FILE SEED COUNT LENGTH   COUNT reads of LENGTH bytes at places drawn from SEED, hashed in that order
 *   epochs CHANNEL FROM COUNT HOW [BYTES]   HOW to open: block, nonblock, stat, poll; after BYTES it closes early
 *   dies CHANNEL EPOCH BYTES        is killed after BYTES of the epoch
 *   overlap CHANNEL EPOCH           opens the next epoch with this one half read, and finishes both
 *   mix SEED COUNT CHANNEL...       one thread, COUNT epochs of each channel, in random pieces
 *   hold PATH BYTES GO              PATH up to BYTES, then nothing until the file GO is there, then the rest
 *   records CHANNEL EPOCH           takes RecordIO apart: a line a record
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 64 << 10, CHANNELS_MAX = 20, GIVE_UP_S = 60 };

static char piece[1 << 20];

static _Noreturn void die(const char *what, const char *path)
{
	printf("{\"failed\": \"%s\", \"path\": \"%s\", \"errno\": \"%s\"}\n", what, path, strerrorname_np(errno));
	fflush(stdout);
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void nap(double s)
{
	nanosleep(&(struct timespec){ (time_t)s, (long)((s - (double)(time_t)s) * 1e9) }, NULL);
}

/* ---- hashing ---- */

struct sum {
	EVP_MD_CTX *md;
	uint64_t bytes;
};

static struct sum sum_new(void)
{
	struct sum s = { EVP_MD_CTX_new(), 0 };

	EVP_DigestInit_ex(s.md, EVP_sha256(), NULL);
	return s;
}

static void sum_add(struct sum *s, const void *p, size_t n)
{
	EVP_DigestUpdate(s->md, p, n);
	s->bytes += n;
}

static const char *sum_hex(struct sum *s)
{
	static char hex[65];
	unsigned char raw[32];

	EVP_DigestFinal_ex(s->md, raw, NULL);
	EVP_MD_CTX_free(s->md);
	for (int i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", raw[i]);
	return hex;
}

static void print_hex(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		printf("%02x", (unsigned char)p[i]);
}

/* splitmix64, for places and pieces */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* ---- directories and files ---- */

static void hash_file(const char *path, struct sum *s)
{
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		die("open", path);
	while ((n = read(fd, piece, sizeof piece)) > 0)
		sum_add(s, piece, (size_t)n);
	if (n < 0)
		die("read", path);
	close(fd);
}

static void tree(const char *dir, size_t skip)
{
	DIR *d = opendir(dir);
	struct dirent *de;
	char path[PATH_MAX];
	struct stat st;

	if (!d)
		die("opendir", dir);
	while (errno = 0, (de = readdir(d))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, de->d_name);
		if (stat(path, &st) < 0)
			die("stat", path);
		printf("{\"%s\": \"", S_ISDIR(st.st_mode) ? "dir" : "file");
		print_hex(path + skip, strlen(path + skip));
		if (S_ISDIR(st.st_mode)) {
			printf("\", \"mode\": \"%o\"}\n", st.st_mode & 07777);
			tree(path, skip);
		} else {
			struct sum s = sum_new();

			hash_file(path, &s);
			printf("\", \"mode\": \"%o\", \"size\": %lld, \"bytes\": %llu, \"sha256\": \"%s\"}\n",
			       st.st_mode & 07777, (long long)st.st_size, (unsigned long long)s.bytes, sum_hex(&s));
		}
	}
	if (errno)
		die("readdir", dir);
	closedir(d);
}

static void at(const char *path, off_t offset, size_t length)
{
	double began = now();
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		die("open", path);
	n = pread(fd, piece, length < sizeof piece ? length : sizeof piece, offset);
	if (n < 0)
		die("pread", path);
	printf("{\"at\": %lld, \"hex\": \"", (long long)offset);
	print_hex(piece, (size_t)n);
	printf("\", \"seconds\": %.3f}\n", now() - began);
	close(fd);
}

static void random_reads(const char *path, uint64_t seed, int count, size_t length)
{
	struct sum s = sum_new();
	struct stat st;
	int fd = open(path, O_RDONLY);

	if (fd < 0 || fstat(fd, &st) < 0)
		die("open", path);
	for (int i = 0; i < count; i++) {
		ssize_t n = pread(fd, piece, length, (off_t)(draw(&seed) % (uint64_t)st.st_size));

		if (n < 0)
			die("pread", path);
		sum_add(&s, piece, (size_t)n);
	}
	printf("{\"random\": %d, \"bytes\": %llu, \"sha256\": \"%s\"}\n", count, (unsigned long long)s.bytes,
	       sum_hex(&s));
	close(fd);
}

/* ---- epochs ---- */

static const char *fifo_path(const char *channel, int epoch)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof path, "/opt/ml/input/data/%s_%d", channel, epoch);
	return path;
}

/* Opens an epoch's FIFO, waiting for its name for a while. block: tries open() itself all the time; nonblock: as ml-io;
 * stat: with growing sleeps, as the TensorFlow extension; poll: every 0.1 s, as the example that brings its own
 * container. */
static int open_epoch(const char *channel, int epoch, const char *how)
{
	const char *path = fifo_path(channel, epoch);
	double end = now() + GIVE_UP_S, wait = 0;
	struct stat st;
	int fd;

	for (; now() < end; nap(wait)) {
		if (!strcmp(how, "block") || !strcmp(how, "nonblock")) {
			fd = open(path, O_RDONLY | (how[0] == 'n' ? O_NONBLOCK : 0));
			if (fd >= 0)
				return fd;
			if (errno != ENOENT)
				die("open", path);
			wait = 0.001;
		} else if (!stat(path, &st)) {
			fd = open(path, O_RDONLY);
			if (fd < 0)
				die("open", path);
			return fd;
		} else {
			wait = how[0] == 's' ? wait + 1 : 0.1;
		}
	}
	errno = ETIMEDOUT;
	die("waiting", path);
}

static ssize_t read_some(int fd, const char *how, const char *path)
{
	ssize_t n;

	if (how[0] == 'n') {
		fd_set set;

		FD_ZERO(&set);
		FD_SET(fd, &set);
		n = select(fd + 1, &set, NULL, NULL, &(struct timeval){ GIVE_UP_S, 0 });
		errno = n ? errno : ETIMEDOUT;
		if (n <= 0)
			die("select", path);
	}
	n = read(fd, piece, PIECE);
	if (n < 0)
		die("read", path);
	return n;
}

static void say_epoch(const char *channel, int epoch, struct sum *s)
{
	unsigned long long bytes = s->bytes;

	printf("{\"channel\": \"%s\", \"epoch\": %d, \"bytes\": %llu, \"sha256\": \"%s\"}\n", channel, epoch, bytes,
	       sum_hex(s));
	fflush(stdout);
}

static void epochs(const char *channel, int from, int count, const char *how, uint64_t limit)
{
	for (int epoch = from; count < 0 || epoch < from + count; epoch++) {
		struct sum s = sum_new();
		int fd = open_epoch(channel, epoch, how);
		ssize_t n;

		while ((!limit || s.bytes < limit) && (n = read_some(fd, how, fifo_path(channel, epoch))) > 0)
			sum_add(&s, piece,
			        limit && limit - s.bytes < (uint64_t)n ? (size_t)(limit - s.bytes) : (size_t)n);
		close(fd);
		say_epoch(channel, epoch, &s);
	}
}

static void dies(const char *channel, int epoch, uint64_t bytes)
{
	int fd = open_epoch(channel, epoch, "block");
	uint64_t had = 0;
	ssize_t n;

	while (had < bytes && (n = read_some(fd, "block", channel)) > 0)
		had += (uint64_t)n;
	raise(SIGKILL);
}

static void finish(int fd, const char *channel, int epoch, struct sum *s)
{
	ssize_t n;

	while ((n = read_some(fd, "block", fifo_path(channel, epoch))) > 0)
		sum_add(s, piece, (size_t)n);
	close(fd);
	say_epoch(channel, epoch, s);
}

static void overlap(const char *channel, int epoch)
{
	struct sum s = sum_new(), next = sum_new();
	int fd = open_epoch(channel, epoch, "block"), fd2;

	sum_add(&s, piece, (size_t)read_some(fd, "block", channel));
	fd2 = open_epoch(channel, epoch + 1, "block");
	sum_add(&next, piece, (size_t)read_some(fd2, "block", channel));
	finish(fd2, channel, epoch + 1, &next);
	finish(fd, channel, epoch, &s);
}

static void mix(uint64_t seed, int count, char **channel, int channels)
{
	struct state {
		int fd, epoch;
		struct sum s;
	} state[CHANNELS_MAX] = { 0 };
	int open_ones = channels;

	for (int i = 0; i < channels; i++)
		state[i].fd = -1;
	while (open_ones > 0) {
		int i = (int)(draw(&seed) % (uint64_t)channels);
		struct state *c = &state[i];
		ssize_t n;

		if (c->epoch == count)
			continue;
		if (c->fd < 0) {
			c->fd = open_epoch(channel[i], c->epoch, "block");
			c->s = sum_new();
			continue;
		}
		n = read(c->fd, piece, 1 + draw(&seed) % PIECE);
		if (n < 0)
			die("read", channel[i]);
		sum_add(&c->s, piece, (size_t)n);
		if (n)
			continue;
		close(c->fd);
		c->fd = -1;
		say_epoch(channel[i], c->epoch, &c->s);
		open_ones -= ++c->epoch == count;
	}
}

static void hold(const char *path, uint64_t bytes, const char *go)
{
	struct sum s = sum_new();
	int fd = open(path, O_RDONLY);
	struct stat st;
	ssize_t n = 1;

	if (fd < 0)
		die("open", path);
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); /* no more read ahead by the kernel than it must */
	while (s.bytes < bytes && (n = read(fd, piece, bytes - s.bytes < 4096 ? bytes - s.bytes : 4096)) > 0)
		sum_add(&s, piece, (size_t)n);
	printf("{\"held\": %llu}\n", (unsigned long long)s.bytes);
	fflush(stdout);
	while (stat(go, &st) < 0)
		nap(0.02);
	while (n > 0 && (n = read(fd, piece, PIECE)) > 0)
		sum_add(&s, piece, (size_t)n);
	printf("{\"path\": \"%s\", \"error\": \"%s\", \"bytes\": %llu, \"sha256\": \"%s\"}\n", path,
	       n < 0 ? strerrorname_np(errno) : "", (unsigned long long)s.bytes, sum_hex(&s));
	close(fd);
}

/* ---- RecordIO, as its readers take it apart (contract 2.7) ---- */

static size_t read_whole(int fd, void *p, size_t want)
{
	size_t had = 0;
	ssize_t n;

	while (had < want && (n = read(fd, (char *)p + had, want - had)) > 0)
		had += (size_t)n;
	return had;
}

static void records(const char *channel, int epoch)
{
	int fd = open_epoch(channel, epoch, "block"), parts = 0;
	const char *path = fifo_path(channel, epoch);
	struct sum s = { 0 };
	uint32_t head[2];
	size_t got;

	errno = EBADMSG;
	while ((got = read_whole(fd, head, 8)) == 8) {
		uint32_t flag = head[1] >> 29, left = head[1] & ((1U << 29) - 1), padding = (4 - left % 4) % 4;

		if (head[0] != 0xced7230a || flag > 3 || (parts == 0) != (flag == 0 || flag == 1))
			die("header", path);
		if (!parts++)
			s = sum_new();
		for (size_t n; left > 0; left -= (uint32_t)n) {
			n = read_whole(fd, piece, left < sizeof piece ? left : sizeof piece);
			if (!n)
				die("cut short", path);
			sum_add(&s, piece, n);
		}
		if (read_whole(fd, piece, padding) != padding || memcmp(piece, "\0\0\0", padding))
			die("padding", path);
		if (flag == 1 || flag == 2)
			continue;
		printf("{\"parts\": %d, \"bytes\": %llu, \"sha256\": \"%s\"}\n", parts, (unsigned long long)s.bytes,
		       sum_hex(&s));
		parts = 0;
	}
	if (got || parts)
		die("cut short", path);
	close(fd);
}

static uint64_t number(const char *s)
{
	return strtoull(s, NULL, 0);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	char **a = argv + 2;
	int n = argc - 2;

	if (!strcmp(verb, "tree") && n == 1)
		tree(a[0], strlen(a[0]) + 1);
	else if (!strcmp(verb, "at") && n == 3)
		at(a[0], (off_t)number(a[1]), (size_t)number(a[2]));
	else if (!strcmp(verb, "random") && n == 4)
		random_reads(a[0], number(a[1]), (int)number(a[2]), (size_t)number(a[3]));
	else if (!strcmp(verb, "epochs") && (n == 4 || n == 5))
		epochs(a[0], (int)number(a[1]), (int)number(a[2]), a[3], n == 5 ? number(a[4]) : 0);
	else if (!strcmp(verb, "dies") && n == 3)
		dies(a[0], (int)number(a[1]), number(a[2]));
	else if (!strcmp(verb, "overlap") && n == 2)
		overlap(a[0], (int)number(a[1]));
	else if (!strcmp(verb, "mix") && n >= 3 && n - 2 <= CHANNELS_MAX)
		mix(number(a[0]), (int)number(a[1]), a + 2, n - 2);
	else if (!strcmp(verb, "hold") && n == 3)
		hold(a[0], number(a[1]), a[2]);
	else if (!strcmp(verb, "records") && n == 2)
		records(a[0], (int)number(a[1]));
	else
		return fprintf(stderr, "feed_reader: see the head of feed_reader.c\n"), 2;
	return 0;
}
