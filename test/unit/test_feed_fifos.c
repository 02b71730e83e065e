/* The FIFOs of Pipe mode and their readers: as they should be, and as they should not (contract 3.1, 3.2, 3.4).
 * SPDX-License-Identifier: Apache-2.0 */
#include <sys/select.h>

#include "feed/out.h"
#include "feed_house.h"

static bool exists(const struct house *h, uint64_t epoch)
{
	_cleanup_free_ char *path = house_path(h, epoch);
	struct stat st;

	return stat(path, &st) == 0 && S_ISFIFO(st.st_mode);
}

/* As trainers do that wait for the next name. */
static void wait_for_name(const struct house *h, uint64_t epoch)
{
	for (int i = 0; i < 2000 && !exists(h, epoch); i++)
		poll(NULL, 0, 5);
	CHECK(exists(h, epoch));
}

static void wait_until_gone(const struct house *h, uint64_t epoch)
{
	for (int i = 0; i < 2000 && exists(h, epoch); i++)
		poll(NULL, 0, 5);
	CHECK(!exists(h, epoch));
}

static void house_simple(struct house *h, unsigned count, size_t most)
{
	house_open(h);
	house_fill(h, count, most);
	house_start(h);
	house_ready(h);
}

TEST(feed_epochs_one_after_the_other)
{
	struct house h;
	struct feed_stats s = { 0 };

	house_simple(&h, 40, 100000);
	CHECK(exists(&h, 0));
	CHECK(!exists(&h, 1));
	for (uint64_t epoch = 0; epoch < 20; epoch++)
		house_check_epoch(&h, epoch, buf_view(&h.all));
	CHECK(exists(&h, 20)); /* the next one was made before the last one had data */
	wait_until_gone(&h, 18);
	CHECK(exists(&h, 0) && exists(&h, 19));
	CHECK_INT(house_end(&h, &s, NULL), 0);
	CHECK_INT(s.epoch, 19);
	CHECK_INT(s.epochs, 20);
	CHECK_INT(s.objects, 20 * 40);
	CHECK_INT(s.bytes, 20 * h.all.n);
	house_close(&h);
}

TEST(feed_next_epoch_is_there_while_one_is_read)
{
	struct house h;
	struct buf rest = { 0 };
	char first;
	int fd;

	house_simple(&h, 1, 8 << 20);
	fd = house_fifo(&h, 0, 0);
	must(read(fd, &first, 1) == 1);
	CHECK(exists(&h, 1));
	house_check_epoch(&h, 1, buf_view(&h.all)); /* before the first has ended */
	house_check_epoch(&h, 2, buf_view(&h.all));
	buf_add(&rest, &first, 1);
	house_drain(fd, &rest);
	CHECK_BYTES(buf_view(&rest), buf_view(&h.all));
	close(fd);
	buf_fini(&rest);
	CHECK_INT(house_end(&h, NULL, NULL), 0);
	house_close(&h);
}

TEST(feed_reader_that_leaves_early_and_comes_again)
{
	struct house h;
	char some[1000];
	struct feed_stats s = { 0 };

	house_simple(&h, 1, 8 << 20);
	for (int i = 0; i < 50; i++) {
		int fd = house_fifo(&h, 0, 0);

		must(read(fd, some, sizeof(some)) == sizeof(some));
		CHECK_BYTES(((struct str){ some, sizeof(some) }), ((struct str){ h.all.p, sizeof(some) }));
		close(fd);
	}
	house_check_epoch(&h, 0, buf_view(&h.all));
	house_check_epoch(&h, 1, buf_view(&h.all));
	house_check_epoch(&h, 1, buf_view(&h.all)); /* the newest that is finished is kept, too */
	house_check_epoch(&h, 2, buf_view(&h.all));
	house_check_epoch(&h, 0, buf_view(&h.all));
	CHECK_INT(house_end(&h, &s, NULL), 0);
	CHECK_INT(s.epochs, 55);
	CHECK_INT(s.epoch, 2);
	house_close(&h);
}

TEST(feed_reader_that_is_killed)
{
	struct house h;

	house_simple(&h, 1, 4 << 20);
	for (uint64_t epoch = 0; epoch < 5; epoch++) {
		pid_t pid = fork();

		must(pid >= 0);
		if (pid == 0) {
			int fd = house_fifo(&h, epoch, 0);
			char c;

			_exit(read(fd, &c, 1) == 1 && pause() ? 1 : 2);
		}
		wait_for_name(&h, epoch + 1); /* now it has opened its own */
		kill(pid, SIGKILL);
		must(waitpid(pid, NULL, 0) == pid);
		house_check_epoch(&h, epoch, buf_view(&h.all));
	}
	CHECK_INT(house_end(&h, NULL, NULL), 0);
	house_close(&h);
}

/* As ml-io reads. */
TEST(feed_reader_with_select)
{
	struct house h;

	house_simple(&h, 30, 200000);
	for (uint64_t epoch = 0; epoch < 5; epoch++) {
		struct buf b = { 0 };
		int fd;
		ssize_t n;

		wait_for_name(&h, epoch);
		fd = house_fifo(&h, epoch, O_NONBLOCK);
		do {
			struct timeval timeout = { .tv_sec = 20 };
			fd_set set;

			FD_ZERO(&set);
			FD_SET(fd, &set);
			CHECK_INT(select(fd + 1, &set, NULL, NULL, &timeout), 1);
			buf_need(&b, 4096);
			n = read(fd, b.p + b.n, 4096);
			b.n += n > 0 ? (size_t)n : 0;
		} while (n > 0 || (n < 0 && errno == EAGAIN));
		CHECK_BYTES(buf_view(&b), buf_view(&h.all));
		close(fd);
		buf_fini(&b);
	}
	CHECK_INT(house_end(&h, NULL, NULL), 0);
	house_close(&h);
}

TEST(feed_channel_without_units)
{
	struct house h;
	struct feed_stats s = { 0 };

	house_simple(&h, 0, 0);
	for (uint64_t epoch = 0; epoch < 500; epoch++)
		house_check_epoch(&h, epoch, STR(""));
	CHECK_INT(house_end(&h, &s, NULL), 0);
	CHECK_INT(s.bytes, 0);
	CHECK_INT(s.epochs, 500);
	house_close(&h);
}

TEST(feed_names_without_end_opened_and_closed)
{
	struct house h;

	house_simple(&h, 3, 100000);
	for (uint64_t epoch = 0; epoch < 600; epoch++) {
		int fd;

		wait_for_name(&h, epoch);
		fd = house_fifo(&h, epoch, epoch % 2 ? O_NONBLOCK : 0);
		close(fd);
	}
	wait_for_name(&h, 600);
	house_check_epoch(&h, 600, buf_view(&h.all));
	CHECK_INT(house_end(&h, NULL, NULL), 0);
	house_close(&h);
}

/* At the limit names are missing, until one ends; nothing else changes. */
TEST(feed_more_epochs_at_once_than_there_may_be)
{
	struct house h;
	int fds[16];
	struct buf b = { 0 };

	house_simple(&h, 1, 4 << 20);
	for (uint64_t epoch = 0; epoch < ARRAY_LEN(fds); epoch++) {
		wait_for_name(&h, epoch);
		fds[epoch] = house_fifo(&h, epoch, 0);
	}
	wait_until_gone(&h, 0);
	CHECK(!exists(&h, 16));
	CHECK(!exists(&h, 15));
	close(fds[3]);
	wait_for_name(&h, 16);
	house_check_epoch(&h, 16, buf_view(&h.all));
	house_drain(fds[9], &b);
	CHECK_BYTES(buf_view(&b), buf_view(&h.all));
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (i != 3)
			close(fds[i]);
	house_check_epoch(&h, 17, buf_view(&h.all));
	buf_fini(&b);
	CHECK_INT(house_end(&h, NULL, NULL), 0);
	house_close(&h);
}

/* Many processes fight for the same names; each reads to the end, and none may wait for ever. */
TEST(feed_readers_that_do_not_share)
{
	struct house h;
	pid_t pids[6];

	house_simple(&h, 2, 30000);
	for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
		pids[i] = fork();
		must(pids[i] >= 0);
		if (pids[i])
			continue;
		for (int k = 0; k < 200; k++) {
			_cleanup_free_ char *path = house_path(&h, (uint64_t)(k % 3));
			int fd = open(path, O_RDONLY);
			char c;

			alarm(30);
			if (fd >= 0 && k % 5 == 0)
				(void)!read(fd, &c, 1);
			while (fd >= 0 && k % 5 && read(fd, &c, 1) > 0)
				if (k % 2)
					break;
			close(fd);
		}
		_exit(0);
	}
	for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
		int status;

		must(waitpid(pids[i], &status, 0) == pids[i]);
		CHECK_INT(status, 0);
	}
	wait_for_name(&h, 0);
	house_check_epoch(&h, 0, buf_view(&h.all));
	CHECK_INT(house_end(&h, NULL, NULL), 0);
	house_close(&h);
}

TEST(feed_container_that_puts_other_things_there)
{
	struct house h;
	_cleanup_free_ char *one = NULL, *two = NULL, *secret = strf("%s/secret", test_tmpdir());
	_cleanup_buf_ struct buf still = { 0 };
	struct stat st;
	int fd;

	CHECK_OK(file_put(AT_FDCWD, secret, STR("untouched"), 0600, e));
	house_open(&h);
	house_fill(&h, 5, 50000);
	one = house_path(&h, 1);
	two = house_path(&h, 2);
	CHECK_OK(file_put(AT_FDCWD, one, STR("of the image"), 0644, e));
	must(symlink(secret, two) == 0);
	house_start(&h);
	house_ready(&h);
	house_check_epoch(&h, 0, buf_view(&h.all));
	house_check_epoch(&h, 1, buf_view(&h.all));
	house_check_epoch(&h, 2, buf_view(&h.all));
	/* A name that waits already is the container's to spoil; the others come as if nothing had been. */
	wait_for_name(&h, 3);
	free(one);
	one = house_path(&h, 3);
	must(unlink(one) == 0 && symlink(secret, one) == 0);
	must(chmod(h.data, 0) == 0);
	house_check_epoch(&h, 2, buf_view(&h.all));
	must(lstat(one, &st) == 0);
	CHECK(S_ISLNK(st.st_mode));
	CHECK_OK(file_read(secret, 100, &still, e));
	CHECK_STR(still.p, "untouched");
	must(chmod(h.data, 0755) == 0);
	fd = house_fifo(&h, 0, 0);
	close(fd);
	house_check_epoch(&h, 0, buf_view(&h.all));
	CHECK_INT(house_end(&h, NULL, NULL), 0);
	house_close(&h);
}

TEST(feed_name_that_cannot_be_made_is_told_once)
{
	struct house h;
	struct feeder_answer a = { 0 };
	_cleanup_free_ char *one = NULL;
	int troubles = 0;

	house_open(&h);
	house_fill(&h, 5, 50000);
	one = house_path(&h, 1);
	must(mkdir(one, 0755) == 0);
	house_start(&h);
	house_ready(&h);
	for (int i = 0; i < 3; i++)
		house_check_epoch(&h, 0, buf_view(&h.all));
	must(rmdir(one) == 0);
	house_check_epoch(&h, 0, buf_view(&h.all));
	house_check_epoch(&h, 1, buf_view(&h.all));
	kill(h.pid, SIGTERM);
	while (house_answer(&h, &a))
		if (a.word == FEEDER_TROUBLE && troubles++ == 0)
			CHECK_STR(a.text.p, "channel train: the FIFO train_1: giving it its name: Is a directory");
	CHECK_INT(troubles, 1);
	buf_fini(&a.text);
	house_close(&h);
}

TEST(feed_directory_renamed_away)
{
	struct house h;
	_cleanup_free_ char *away = NULL;

	house_simple(&h, 5, 50000);
	house_check_epoch(&h, 0, buf_view(&h.all));
	away = strf("%s.away", h.data);
	must(rename(h.data, away) == 0 && mkdir(h.data, 0755) == 0);
	free(h.data);
	h.data = strf("%s", away);
	house_check_epoch(&h, 1, buf_view(&h.all));
	house_check_epoch(&h, 2, buf_view(&h.all));
	CHECK_INT(house_end(&h, NULL, NULL), 0);
	house_close(&h);
}

TEST(feed_ends_when_nobody_listens)
{
	struct house h;
	int status, fd;
	char c;

	house_simple(&h, 1, 4 << 20);
	fd = house_fifo(&h, 0, 0); /* and never reads on */
	must(read(fd, &c, 1) == 1);
	close(h.out);
	h.out = -EBADF;
	must(waitpid(h.pid, &status, 0) == h.pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(fd);
	house_close(&h);
}

TEST(feed_counts_who_waits)
{
	struct house h;
	struct feed_stats s = { 0 };
	struct buf b = { 0 };
	char c;
	int fd;

	house_simple(&h, 1, 8 << 20);
	fd = house_fifo(&h, 0, 0);
	must(read(fd, &c, 1) == 1);
	poll(NULL, 0, 1200);
	house_drain(fd, &b);
	close(fd);
	buf_fini(&b);
	CHECK_INT(house_end(&h, &s, NULL), 0);
	CHECK(s.stalls_reader >= 1);
	CHECK(s.wait_reader_ms >= 1000 && s.wait_reader_ms < 20000);
	CHECK(s.active_ms >= s.wait_reader_ms);
	CHECK(s.wait_store_ms < 1000);
	house_close(&h);
}

TEST(feed_object_that_is_not_there_ends_the_channel)
{
	struct house h;
	struct buf error = { 0 };
	struct pollfd p = { .events = POLLIN };

	house_open(&h);
	house_fill(&h, 3, 1000);
	must(unlinkat(h.objects_fd, "02/0200000002", 0) == 0);
	house_start(&h);
	house_ready(&h);
	p.fd = house_fifo(&h, 0, 0);
	CHECK_INT(poll(&p, 1, 300), 0); /* no end of file: the trainer must not take it for the epoch's */
	CHECK_INT(house_end(&h, NULL, &error), 1);
	CHECK(str_starts(buf_view(&error), STR("channel train, epoch 0: s3://b/p/00000002: ")));
	CHECK(str_find(buf_view(&error), STR("No such file")) >= 0);
	buf_fini(&error);
	close(p.fd);
	house_close(&h);
}
