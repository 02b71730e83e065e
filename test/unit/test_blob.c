/* The store below the S3 front: durability, listing, sharing, sweeping.  SPDX-License-Identifier: Apache-2.0 */
#include "blob/blob.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "blob/object.h"
#include "harness.h"

static struct err error;

static struct blob_store *open_at(const char *dir)
{
	struct blob_store *b = NULL;

	CHECK_OK(blob_open(dir, &b, e));
	return b;
}

static enum s3_code put(struct blob_store *b, const char *bucket, struct str key, struct str bytes,
                        const struct blob_cond *cond)
{
	struct blob_in in;
	enum s3_code code;

	CHECK_OK(blob_in_begin(b, &in, e));
	CHECK_OK(blob_in_write(&in, bytes, e));
	code = blob_object_put(&in, str_of(bucket), key, STR("0123"), STR("Content-Type: text/plain\n"), cond, &error);
	blob_in_end(&in);
	return code;
}

static unsigned count_files(const char *dir, const char *sub)
{
	_cleanup_free_ char *path = strf("%s/objects/%s", dir, sub);
	DIR *d = opendir(path);
	unsigned n = 0;

	for (struct dirent *ent; d && (ent = readdir(d));)
		n += ent->d_name[0] != '.';
	if (d)
		closedir(d);
	return n;
}

static unsigned count_objects(const char *dir)
{
	unsigned n = 0;

	for (int i = 0; i < 256; i++) {
		char sub[3];

		snprintf(sub, sizeof(sub), "%02x", i);
		n += count_files(dir, sub);
	}
	return n;
}

static char *content(struct blob_store *b, const char *bucket, const char *key)
{
	_cleanup_(blob_object_fini) struct blob_object o = { 0 };
	_cleanup_close_ int fd = -EBADF;
	char text[256] = "";
	size_t n;

	if (blob_object_open(b, str_of(bucket), str_of(key), &o, &fd, &error) != S3_OK)
		return xstrdup("(none)");
	CHECK_OK(fd_read_full(fd, text, sizeof(text) - 1, &n, e));
	CHECK_INT(n, o.size);
	return xstrdup(text);
}

#define CHECK_CONTENT(bucket, key, want)                                 \
	do {                                                             \
		_cleanup_free_ char *got_text = content(b, bucket, key); \
		CHECK_STR(got_text, want);                               \
	} while (0)

TEST(blob_put_get_survives_reopen)
{
	const char *dir = test_tmpdir();
	struct blob_store *b = open_at(dir);

	CHECK_INT(put(b, "bkt", STR("k"), STR("one"), NULL), S3_NoSuchBucket);
	CHECK_INT(count_objects(dir), 0);
	CHECK_OK(blob_bucket_create(b, STR("bkt"), e));
	CHECK_OK(blob_bucket_create(b, STR("bkt"), e));
	CHECK_INT(put(b, "bkt", STR("k"), STR("one"), NULL), S3_OK);
	CHECK_INT(put(b, "bkt", STR("//../k"), STR(""), NULL), S3_OK);
	CHECK_INT(count_files(dir, "incoming"), 0);
	blob_close(b);

	b = open_at(dir);
	CHECK_CONTENT("bkt", "k", "one");
	CHECK_CONTENT("bkt", "//../k", "");
	CHECK_CONTENT("bkt", "other", "(none)");
	blob_close(b);
}

TEST(blob_conditions)
{
	struct blob_store *b = open_at(test_tmpdir());
	struct blob_cond absent = { .if_none_match = STR("*") }, same = { .if_match = STR("\"0123\"") },
	                 other = { .if_match = STR("\"9999\"") };

	CHECK_OK(blob_bucket_create(b, STR("bkt"), e));
	CHECK_INT(put(b, "bkt", STR("k"), STR("x"), &same), S3_NoSuchKey);
	CHECK_INT(put(b, "bkt", STR("k"), STR("one"), &absent), S3_OK);
	CHECK_INT(put(b, "bkt", STR("k"), STR("two"), &absent), S3_PreconditionFailed);
	CHECK_INT(put(b, "bkt", STR("k"), STR("three"), &other), S3_PreconditionFailed);
	CHECK_CONTENT("bkt", "k", "one");
	CHECK_INT(put(b, "bkt", STR("k"), STR("four"), &same), S3_OK);
	CHECK_CONTENT("bkt", "k", "four");
	blob_close(b);
}

TEST(blob_replaced_bytes_stay_until_the_sweep)
{
	const char *dir = test_tmpdir();
	struct blob_store *b = open_at(dir);
	struct wall before;
	struct str key = STR("k");

	CHECK_OK(blob_bucket_create(b, STR("bkt"), e));
	CHECK_INT(put(b, "bkt", key, STR("one"), NULL), S3_OK);
	before = wall_now();
	CHECK_INT(put(b, "bkt", key, STR("two"), NULL), S3_OK);
	CHECK_INT(count_objects(dir), 2);
	CHECK_OK(blob_sweep(b, before, e)); /* replaced later than that: stays */
	CHECK_INT(count_objects(dir), 2);
	CHECK_OK(blob_sweep(b, (struct wall){ wall_now().ms + 1000 }, e));
	CHECK_INT(count_objects(dir), 1);
	CHECK_CONTENT("bkt", "k", "two");
	CHECK_INT(blob_object_drop(b, STR("bkt"), &key, 1, &error), S3_OK);
	CHECK_INT(blob_object_drop(b, STR("bkt"), &key, 1, &error), S3_OK);
	CHECK_OK(blob_sweep(b, (struct wall){ wall_now().ms + 1000 }, e));
	CHECK_INT(count_objects(dir), 0);
	blob_close(b);
}

TEST(blob_copies_share_bytes_and_the_last_one_frees_them)
{
	const char *dir = test_tmpdir();
	struct blob_store *b = open_at(dir);
	_cleanup_(blob_object_fini) struct blob_object from = { 0 };
	struct wall later = { wall_now().ms + 3600000 };
	struct str keys[] = { STR("a"), STR("b"), STR("c") };

	CHECK_OK(blob_bucket_create(b, STR("bkt"), e));
	CHECK_INT(put(b, "bkt", keys[0], STR("bytes"), NULL), S3_OK);
	CHECK_INT(blob_object_get(b, STR("bkt"), keys[0], &from, &error), S3_OK);
	for (int i = 0; i < 3; i++) /* onto itself, and onto two others, one of them twice */
		CHECK_INT(blob_object_copy(b, STR("bkt"), keys[0], &from, STR("bkt"), keys[i], STR(""), NULL, NULL,
		                           &error),
		          S3_OK);
	CHECK_INT(blob_object_copy(b, STR("bkt"), keys[0], &from, STR("bkt"), keys[2], STR(""), NULL, NULL, &error),
	          S3_OK);
	CHECK_INT(count_objects(dir), 1);
	CHECK_INT(blob_object_drop(b, STR("bkt"), keys, 2, &error), S3_OK);
	CHECK_OK(blob_sweep(b, later, e));
	CHECK_CONTENT("bkt", "c", "bytes");
	CHECK_INT(blob_object_drop(b, STR("bkt"), keys + 2, 1, &error), S3_OK);
	CHECK_OK(blob_sweep(b, later, e));
	CHECK_INT(count_objects(dir), 0);
	/* The source has gone: a copy of what is not there any more is refused, whole. */
	CHECK_INT(blob_object_copy(b, STR("bkt"), keys[0], &from, STR("bkt"), keys[1], STR(""), NULL, NULL, &error),
	          S3_OperationAborted);
	blob_close(b);
}

/* ---- listing ---- */

static void show_key(const struct blob_entry *entry, void *arg)
{
	buf_f(arg, " " PRIstr, ARGstr(entry->key));
}

static void show_prefix(struct str prefix, void *arg)
{
	buf_f(arg, " [" PRIstr "]", ARGstr(prefix));
}

static char *listing(struct blob_store *b, struct blob_list q)
{
	struct buf out = { 0 };
	_cleanup_buf_ struct buf last = { 0 };
	struct blob_list_sink sink = { show_key, show_prefix, &out };
	bool more = true, is_prefix = false;

	buf_init(&out);
	q.bucket = STR("bkt");
	while (more) {
		_cleanup_free_ char *after = NULL;

		CHECK_INT(blob_list(b, &q, &sink, &more, &last, &is_prefix, &error), S3_OK);
		if (!more)
			break;
		buf_z(&out, " |");
		after = str_dup(buf_view(&last));
		q.after = str_of(after);
		q.after_prefix = is_prefix;
		if (blob_list(b, &q, &sink, &more, &last, &is_prefix, &error) == S3_OK && more) {
			buf_z(&out, " | ...");
			break;
		}
	}
	return buf_take(&out);
}

#define CHECK_LIST(want, ...)                                                                  \
	do {                                                                                   \
		_cleanup_free_ char *got_list = listing(b, (struct blob_list){ __VA_ARGS__ }); \
		CHECK_STR(got_list, want);                                                     \
	} while (0)

TEST(blob_list_folds_and_pages)
{
	static const char *const keys[] = { "a",  "a/1", "a/2",       "a/b/3", "b",
		                            "c/", "c/d", "d\xc3\xa9", "e//f",  "\xf0\x9f\x92\xa9" };
	struct blob_store *b = open_at(test_tmpdir());

	CHECK_OK(blob_bucket_create(b, STR("bkt"), e));
	CHECK_OK(blob_bucket_create(b, STR("bku"), e));
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		CHECK_INT(put(b, "bkt", str_of(keys[i]), STR("x"), NULL), S3_OK);
		CHECK_INT(put(b, "bku", str_of(keys[i]), STR("x"), NULL), S3_OK);
	}
	CHECK_LIST(" a a/1 a/2 a/b/3 b c/ c/d d\xc3\xa9 e//f \xf0\x9f\x92\xa9", .max = 100);
	CHECK_LIST(" a [a/] b [c/] d\xc3\xa9 [e/] \xf0\x9f\x92\xa9", .max = 100, .delimiter = STR("/"));
	CHECK_LIST(" a/1 a/2 [a/b/]", .max = 100, .delimiter = STR("/"), .prefix = STR("a/"));
	CHECK_LIST(" [e//]", .max = 100, .delimiter = STR("/"), .prefix = STR("e/"));
	CHECK_LIST(" a [a/] | b [c/] | ...", .max = 2, .delimiter = STR("/"));
	CHECK_LIST(" a a/1 a/2 a/b/3 b | c/ c/d d\xc3\xa9 e//f \xf0\x9f\x92\xa9", .max = 5);
	CHECK_LIST(" c/ c/d", .max = 2, .prefix = STR("c/"));
	CHECK_LIST(" c/d", .max = 2, .prefix = STR("c/"), .after = STR("c/"));
	CHECK_LIST("", .max = 2, .prefix = STR("c/"), .after = STR("d"));
	CHECK_LIST(" c/ | c/d", .max = 1, .prefix = STR("c/"), .after = STR("a"));
	CHECK_LIST("", .max = 2, .prefix = STR("zz"));
	CHECK_LIST("", .max = 0);
	CHECK_LIST(" [a/b] [b] c/ c/d d\xc3\xa9 e//f \xf0\x9f\x92\xa9", .max = 9, .delimiter = STR("b"),
	           .after = STR("a/2"), .prefix = STR(""));
	blob_close(b);
}

TEST(blob_list_seeks_over_what_it_folds)
{
	struct blob_store *b = open_at(test_tmpdir());
	struct mono start;

	CHECK_OK(blob_bucket_create(b, STR("bkt"), e));
	/* A big directory straight into the table: 300000 keys that one common prefix must step over. */
	{
		sqlite3 *db;
		_cleanup_free_ char *path = strf("%s/objects.db", test_tmpdir());

		CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
		CHECK_INT(
		        sqlite3_exec(db,
		                     "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
		                     "INSERT INTO object SELECT 1, CAST(printf('d/%08d', i) AS BLOB), "
		                     "'00000000000000000000000000000000', 1, 'e', 0, x'' FROM n",
		                     NULL, NULL, NULL),
		        SQLITE_OK);
		sqlite3_close(db);
	}
	CHECK_INT(put(b, "bkt", STR("z"), STR("x"), NULL), S3_OK);
	start = mono_now();
	for (int i = 0; i < 100; i++)
		CHECK_LIST(" [d/] z", .max = 1000, .delimiter = STR("/"));
	CHECK(mono_ms_since(start) < 500); /* reading through them would take seconds */
	blob_close(b);
}

static int count_entry(const struct blob_entry *entry, void *arg, struct err *err)
{
	(void)err;
	CHECK_INT(entry->id.n, 32);
	++*(unsigned *)arg;
	return 0;
}

static int refuse_entry(const struct blob_entry *entry, void *arg, struct err *err)
{
	(void)arg;
	return err_set(err, ERR_CLIENT, "no: " PRIstr, ARGstr(entry->key));
}

TEST(blob_each_and_prefix_exists)
{
	struct blob_store *b = open_at(test_tmpdir());
	unsigned n = 0;
	bool there = true;
	char text[4096];

	CHECK_OK(blob_bucket_create(b, STR("bkt"), e));
	for (int i = 0; i < 30; i++) {
		_cleanup_free_ char *key = strf("%s/%d", i % 2 ? "odd" : "even", i);

		CHECK_INT(put(b, "bkt", str_of(key), STR("x"), NULL), S3_OK);
	}
	CHECK_OK(blob_each(b, STR("bkt"), STR("odd/"), count_entry, &n, e));
	CHECK_INT(n, 15);
	CHECK(blob_each(b, STR("bkt"), STR("even"), refuse_entry, NULL, &error) < 0);
	CHECK_INT(error.kind, ERR_CLIENT);
	CHECK_STR(err_text(&error, text, sizeof(text)), "listing s3://bkt/even: no: even/0");
	CHECK(blob_each(b, STR("none"), STR(""), count_entry, &n, &error) < 0);
	CHECK_INT(error.kind, ERR_NOT_FOUND);
	CHECK_OK(blob_prefix_exists(b, STR("bkt"), STR("ev"), &there, e));
	CHECK(there);
	CHECK_OK(blob_prefix_exists(b, STR("bkt"), STR("evil"), &there, e));
	CHECK(!there);
	CHECK_OK(blob_bucket_exists(b, STR("none"), &there, e));
	CHECK(!there);
	blob_close(b);
}

static const char *look(struct blob_store *b, const char *prefix)
{
	struct blob_look l = { 0 };
	static char text[8];

	CHECK_OK(blob_look(b, STR("looks"), str_of(prefix), &l, e));
	snprintf(text, sizeof(text), "%s%s%s", l.exact ? "e" : "", l.inside ? "i" : "", l.beside ? "b" : "");
	return text;
}

TEST(blob_look_tells_a_folder_from_a_part_of_a_name)
{
	static const char *const keys[] = { "one",     "train/", "train/a", "train/b", "two/x",  "two-1/x", "three",
		                            "three/x", "four.1", "four.2",  "four.3",  "four.4", "four/x",  "five0" };
	static const char *const cases[][2] = { { "", "i" },        { "one", "e" },    { "on", "b" },
		                                { "onet", "" },     { "train/", "i" }, { "train", "i" },
		                                { "trai", "b" },    { "two/", "i" },   { "two-1", "i" },
		                                { "train/a", "e" }, { "three", "ei" }, { "five", "b" } };
	_cleanup_(blob_closep) struct blob_store *b = open_at(test_tmpdir());
	struct blob_look l;

	CHECK_OK(blob_bucket_create(b, STR("looks"), e));
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		CHECK_INT(put(b, "looks", str_of(keys[i]), STR("x"), NULL), S3_OK);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		CHECK_STR(look(b, cases[i][0]), cases[i][1]);
	CHECK_STR(look(b, "two"), "ib");
	CHECK_STR(look(b, "four"), "b"); /* that there is a folder too is seen no more */
	CHECK_INT(blob_look(b, STR("nobody"), STR(""), &l, &error), -1);
	CHECK_INT(error.kind, ERR_NOT_FOUND);
}

TEST(blob_find_gives_the_object_and_its_bytes)
{
	_cleanup_(blob_closep) struct blob_store *b = open_at(test_tmpdir());
	_cleanup_buf_ struct buf scratch = { 0 };
	_cleanup_close_ int fd = -EBADF;
	struct blob_entry entry = { 0 };
	char bytes[8] = { 0 };

	CHECK_OK(blob_bucket_create(b, STR("finds"), e));
	CHECK_INT(put(b, "finds", STR("k"), STR("hello"), NULL), S3_OK);
	CHECK_OK(blob_find(b, STR("finds"), STR("k"), &scratch, &entry, &fd, e));
	CHECK(str_is(entry.key, "k") && str_is(entry.etag, "0123") && entry.size == 5 && entry.id.n == 32);
	CHECK_INT(read(fd, bytes, sizeof(bytes)), 5);
	CHECK_STR(bytes, "hello");
	CHECK_OK(blob_find(b, STR("finds"), STR("k"), &scratch, &entry, NULL, e));
	CHECK_INT(entry.id.n, 32);
	CHECK_INT(blob_find(b, STR("finds"), STR("l"), &scratch, &entry, &fd, &error), -1);
	CHECK_INT(error.kind, ERR_NOT_FOUND);
	CHECK_INT(blob_find(b, STR("other"), STR("k"), &scratch, &entry, NULL, &error), -1);
	CHECK_INT(error.kind, ERR_NOT_FOUND);
}

TEST(bucket_names)
{
	CHECK(bucket_name_ok(STR("abc")));
	CHECK(bucket_name_ok(STR("sagemaker-us-east-1-000000000000")));
	CHECK(bucket_name_ok(STR("a.b.c")));
	CHECK(bucket_name_ok(STR("1.2.3")));
	CHECK(!bucket_name_ok(STR("ab")));
	CHECK(!bucket_name_ok(STR("Abc")));
	CHECK(!bucket_name_ok(STR("a_b")));
	CHECK(!bucket_name_ok(STR("-abc")));
	CHECK(!bucket_name_ok(STR("abc.")));
	CHECK(!bucket_name_ok(STR("a..b")));
	CHECK(!bucket_name_ok(STR("192.168.1.1")));
	CHECK(!bucket_name_ok(STR("xn--abc")));
	CHECK(!bucket_name_ok(STR("abc-s3alias")));
	CHECK(!bucket_name_ok(STR("a/../../b")));
}

/* ---- adopting ---- */

TEST(blob_adopt_twice_is_once)
{
	const char *dir = test_tmpdir();
	struct blob_store *b = open_at(dir);
	_cleanup_free_ char *path = strf("%s/model.tar.gz", dir);
	struct str md5 = STR("900150983cd24fb0d6963f7d28e17f72"), key = STR("out/job/output/model.tar.gz");
	bool there = false;

	CHECK_OK(file_put(AT_FDCWD, path, STR("abc"), 0600, e));
	CHECK(blob_adopt(b, STR("bkt"), key, path, 3, md5, &error) < 0);
	CHECK_INT(error.kind, ERR_NOT_FOUND);
	CHECK(access(path, F_OK) == 0); /* refused: the file is where it was */
	CHECK_OK(blob_bucket_create(b, STR("bkt"), e));
	CHECK_OK(blob_adopt(b, STR("bkt"), key, path, 3, md5, e));
	CHECK(access(path, F_OK) < 0);
	CHECK_CONTENT("bkt", "out/job/output/model.tar.gz", "abc");
	CHECK_OK(blob_adopt(b, STR("bkt"), key, path, 3, md5, e));
	CHECK_INT(count_objects(dir), 1);
	/* Deleted since: taking the fact again does not bring it back. */
	CHECK_INT(blob_object_drop(b, STR("bkt"), &key, 1, &error), S3_OK);
	CHECK_OK(blob_adopt(b, STR("bkt"), key, path, 3, md5, e));
	CHECK_OK(blob_prefix_exists(b, STR("bkt"), STR(""), &there, e));
	CHECK(!there);
	CHECK(blob_adopt(b, STR("bkt"), STR("other"), path, 3, md5, &error) < 0);
	CHECK_INT(error.kind, ERR_NOT_FOUND);
	blob_close(b);
}

TEST(blob_adopt_goes_on_where_a_crash_stopped_it)
{
	const char *dir = test_tmpdir();
	struct blob_store *b = open_at(dir);
	_cleanup_free_ char *path = strf("%s/model.tar.gz", dir), *db = strf("%s/objects.db", dir);
	struct str md5 = STR("900150983cd24fb0d6963f7d28e17f72");
	sqlite3 *sqlite;

	CHECK_OK(blob_bucket_create(b, STR("bkt"), e));
	CHECK_OK(file_put(AT_FDCWD, path, STR("abc"), 0644, e));
	CHECK_OK(blob_adopt(b, STR("bkt"), STR("m"), path, 3, md5, e));
	blob_close(b);
	/* As if the commit had not happened: the file has been moved, and nothing knows of it. */
	CHECK_INT(sqlite3_open(db, &sqlite), SQLITE_OK);
	CHECK_INT(sqlite3_exec(sqlite, "DELETE FROM object; DELETE FROM adopted", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(sqlite);
	b = open_at(dir);
	CHECK_CONTENT("bkt", "m", "(none)");
	CHECK_OK(blob_adopt(b, STR("bkt"), STR("m"), path, 3, md5, e));
	CHECK_CONTENT("bkt", "m", "abc");
	blob_close(b);
}

/* ---- many at once, and crashes ---- */

enum { WRITERS = 8, EACH = 60 };

struct writer {
	struct blob_store *b;
	int number, ack_fd;
};

static void *write_many(void *arg)
{
	struct writer *w = arg;

	for (int i = 0; i < EACH; i++) {
		_cleanup_free_ char *key = strf("w%d/%d", w->number, i);

		if (put(w->b, "bkt", str_of(key), str_of(key), NULL) != S3_OK)
			break;
		if (w->ack_fd >= 0) {
			int16_t ack[2] = { (int16_t)w->number, (int16_t)i };

			if (write(w->ack_fd, ack, sizeof(ack)) < 0)
				break;
		}
	}
	return NULL;
}

static void write_from_all(struct blob_store *b, int ack_fd)
{
	pthread_t thread[WRITERS];
	struct writer w[WRITERS];

	for (int i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ b, i, ack_fd };
		pthread_create(&thread[i], NULL, write_many, &w[i]);
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(thread[i], NULL);
}

TEST(blob_concurrent_puts)
{
	const char *dir = test_tmpdir();
	struct blob_store *b = open_at(dir);
	unsigned n = 0;

	CHECK_OK(blob_bucket_create(b, STR("bkt"), e));
	write_from_all(b, -1);
	CHECK_OK(blob_each(b, STR("bkt"), STR(""), count_entry, &n, e));
	CHECK_INT(n, WRITERS * EACH);
	CHECK_INT(count_files(dir, "incoming"), 0);
	blob_close(b);
}

TEST(blob_kill_9_keeps_what_was_acknowledged_and_nothing_else)
{
	const char *dir = test_tmpdir();

	for (int round = 0; round < 6; round++) {
		int pipes[2];
		int16_t ack[2];
		unsigned acks = 0, rows = 0;
		struct blob_store *b;
		pid_t child;

		CHECK(pipe(pipes) == 0);
		child = fork();
		if (child == 0) {
			close(pipes[0]);
			b = open_at(dir);
			CHECK_OK(blob_bucket_create(b, STR("bkt"), e));
			write_from_all(b, pipes[1]);
			_exit(0);
		}
		close(pipes[1]);
		/* Killed after some acknowledgements; those that are in the pipe then count as well. */
		while (read(pipes[0], ack, sizeof(ack)) == (ssize_t)sizeof(ack))
			if (++acks == 20u + 37u * (unsigned)round)
				kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		close(pipes[0]);

		b = open_at(dir);
		CHECK_OK(blob_each(b, STR("bkt"), STR(""), count_entry, &rows, e));
		CHECK(acks >= 20u + 37u * (unsigned)round);
		CHECK(rows >= acks);
		CHECK_INT(count_files(dir, "incoming"), 0);
		CHECK_OK(blob_sweep(b, (struct wall){ wall_now().ms + 1000 }, e));
		CHECK_INT(count_objects(dir), rows);
		for (int w = 0; w < WRITERS; w++) {
			_cleanup_free_ char *key = strf("w%d/0", w), *got = content(b, "bkt", key);

			CHECK(strcmp(got, "(none)") == 0 || strcmp(got, key) == 0);
		}
		blob_close(b);
	}
}

TEST(blob_start_keeps_a_landed_file_and_removes_a_loose_one)
{
	const char *dir = test_tmpdir();
	struct blob_store *b = open_at(dir);
	struct blob_in in;
	_cleanup_free_ char *loose = strf("%s/objects/incoming/00112233445566778899aabbccddeeff", dir);

	CHECK_OK(blob_bucket_create(b, STR("bkt"), e));
	CHECK_OK(blob_in_begin(b, &in, e));
	CHECK_OK(blob_in_write(&in, STR("abc"), e));
	CHECK_INT(blob_object_put(&in, STR("bkt"), STR("k"), STR("0"), STR(""), NULL, &error), S3_OK);
	/* Crash between the commit and the end: the first name is still there. */
	close(in.fd);
	CHECK_OK(file_put(AT_FDCWD, loose, STR("half"), 0644, e));
	CHECK_INT(count_files(dir, "incoming"), 2);
	blob_close(b);
	b = open_at(dir);
	CHECK_INT(count_files(dir, "incoming"), 0);
	CHECK_INT(count_objects(dir), 1);
	CHECK_CONTENT("bkt", "k", "abc");
	blob_close(b);
}
