/* The names of a FastFile channel, without a file system.  SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "fuse/tree.h"
#include "harness.h"
#include "jobdir/list.h"

static int list_of(const char *const *keys, size_t n)
{
	_cleanup_free_ char *path = strf("%s/list", test_tmpdir());
	FILE *f = fopen(path, "we");

	must(f);
	for (size_t i = 0; i < n; i++) {
		struct list_entry entry = { .size = 10 + i,
			                    .modified = { 1000 * (int64_t)i },
			                    .object_id = STR("ab0"),
			                    .etag = STR("x"),
			                    .key = str_of(keys[i]) };

		CHECK_OK(list_write(f, &entry, e));
	}
	fclose(f);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static struct feeder_order order_of(int list_fd)
{
	return (struct feeder_order){ .channel = "train",
		                      .input_mode = "FastFile",
		                      .place = PLACE_EMBEDDED,
		                      .bucket = "bkt",
		                      .prefix = "p/",
		                      .order = { .share_count = 1 },
		                      .list_fd = list_fd };
}

static uint32_t find(const struct tree *t, const char *path)
{
	struct str rest = str_of(path);
	uint32_t at = TREE_ROOT;

	while (rest.n && at != TREE_NONE)
		at = tree_lookup(t, at, str_cut(&rest, '/'));
	return at;
}

#define KEYS(...) (const char *const[]){ __VA_ARGS__ }, sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *)

static struct tree *tree_of(const char *const *keys, size_t n)
{
	_cleanup_close_ int fd = list_of(keys, n);
	struct feeder_order o = order_of(fd);
	struct tree *t = NULL;

	CHECK_OK(tree_new(&o, &t, e));
	return t;
}

static void refuses(const char *const *keys, size_t n, enum err_kind kind, const char *want)
{
	_cleanup_close_ int fd = list_of(keys, n);
	struct feeder_order o = order_of(fd);
	struct tree *t = NULL;
	struct err why = { 0 };
	char text[4096];

	CHECK(tree_new(&o, &t, &why) < 0);
	CHECK_INT(why.kind, kind);
	CHECK_STR(err_text(&why, text, sizeof(text)), want);
}

TEST(tree_of_files_and_directories)
{
	_cleanup_(tree_freep) struct tree *t = tree_of(
	        KEYS("p/a", "p/b/c", "p/b/d/e", "p/b-", "p/dir/", "p/z/", "p/z/y"));
	struct tree_object object;
	struct tree_stat st;

	CHECK_INT(tree_objects(t), 7);
	CHECK_INT(tree_nodes(t), 10);
	CHECK(tree_stat(t, TREE_ROOT, &st) && st.dir);
	CHECK_INT(st.entries, 5);
	CHECK_INT(st.subdirs, 3);
	CHECK_INT(st.modified.ms, 6000);
	CHECK(tree_stat(t, find(t, "b"), &st) && st.dir && st.entries == 2 && st.subdirs == 1);
	CHECK_INT(st.modified.ms, 2000);
	CHECK(tree_stat(t, find(t, "b/d/e"), &st) && !st.dir);
	CHECK_INT(st.size, 12);
	CHECK_INT(st.modified.ms, 2000);
	CHECK(tree_stat(t, find(t, "dir"), &st) && st.dir && st.entries == 0);
	CHECK(find(t, "a/b") == TREE_NONE && find(t, "nope") == TREE_NONE && find(t, "b/c/d") == TREE_NONE);
	CHECK(!tree_stat(t, 10, &st) && !tree_stat(t, TREE_NONE, &st));
	CHECK(tree_lookup(t, 4711, STR("a")) == TREE_NONE && tree_lookup(t, 0, STR("")) == TREE_NONE);
	CHECK_OK(tree_object(t, find(t, "b/d/e"), &object, e));
	CHECK_STR(object.key, "p/b/d/e");
	CHECK_STR(object.id, "ab0");
	CHECK_STR(object.etag, "x");
}

TEST(tree_entries_stand_in_list_order)
{
	_cleanup_(tree_freep) struct tree *t = tree_of(KEYS("p/z", "p/m/1", "p/a", "p/m/0"));
	_cleanup_buf_ struct buf names = { 0 };

	for (uint32_t i = 0; i < 3; i++)
		buf_f(&names, PRIstr " ", ARGstr(tree_name(t, tree_entry(t, TREE_ROOT, i))));
	CHECK_STR(names.p, "z m a ");
	CHECK(str_is(tree_name(t, tree_entry(t, find(t, "m"), 1)), "0"));
}

TEST(tree_refuses_what_cannot_be)
{
	const char
	        *both = "Data download failed:Failed to download data. S3 keys s3://bkt/p/a and s3://bkt/p/a/b are in "
	                "each other's way in the channel's directory: a name cannot be two files, nor a file and a "
	                "directory. Rename one of the objects, or use a narrower prefix";

	refuses(KEYS("p/a", "p/a/b"), ERR_CLIENT, both);
	refuses(KEYS("p/a/b", "p/a"), ERR_CLIENT, both);
	refuses(KEYS("p/a", "p/a-", "p/a/"), ERR_CLIENT,
	        "Data download failed:Failed to download data. S3 keys s3://bkt/p/a and s3://bkt/p/a/ are in each "
	        "other's "
	        "way in the channel's directory: a name cannot be two files, nor a file and a directory. Rename one of "
	        "the objects, or use a narrower prefix");
	refuses(KEYS("p/x//y"), ERR_CLIENT,
	        "Data download failed:Failed to download data. S3 key: s3://bkt/p/x//y has an illegal char "
	        "sub-sequence "
	        "'//' in it");
	refuses(KEYS("p/../y"), ERR_CLIENT,
	        "Data download failed:Failed to download data. S3 key: s3://bkt/p/../y has the piece '..', which is no "
	        "file name");
	refuses(KEYS("elsewhere"), ERR_BUG, "the key elsewhere is not below p/");
}

TEST(tree_names_two_keys_of_one_path)
{
	_cleanup_close_ int fd = list_of(KEYS("data/train/training/x", "data/training/x"));
	struct feeder_order o = order_of(fd);
	struct tree *t = NULL;
	struct err why = { 0 };

	o.prefix = "data/train";
	CHECK(tree_new(&o, &t, &why) < 0);
	CHECK_INT(why.kind, ERR_CLIENT);
	CHECK(strstr(why.frame[0],
	             "s3://bkt/data/train/training/x and s3://bkt/data/training/x are in each other's way"));
}

/* Every unit is in exactly one of the shares, whatever the order. */
TEST(tree_shares)
{
	char keys[100][16];
	const char *key[100];
	unsigned seen[100] = { 0 };

	for (int i = 0; i < 100; i++) {
		snprintf(keys[i], sizeof(keys[i]), "p/%d", i);
		key[i] = keys[i];
	}
	for (unsigned share = 0; share < 3; share++) {
		_cleanup_close_ int fd = list_of(key, 100);
		struct feeder_order o = order_of(fd);
		_cleanup_(tree_freep) struct tree *t = NULL;
		uint64_t number;

		o.order = (struct unit_order){ .shuffled = true, .seed = 7, .share_number = share, .share_count = 3 };
		CHECK_OK(tree_new(&o, &t, e));
		CHECK_INT(tree_objects(t), share == 0 ? 34 : 33);
		for (uint32_t i = 0; i < tree_objects(t); i++)
			if (str_to_u64(tree_name(t, tree_entry(t, TREE_ROOT, i)), &number) && number < 100)
				seen[number]++;
	}
	for (int i = 0; i < 100; i++)
		CHECK_INT(seen[i], 1);
}

static void refuses_list(const char *bytes, enum err_kind kind)
{
	_cleanup_free_ char *path = strf("%s/list", test_tmpdir());
	_cleanup_close_ int fd = -EBADF;
	struct feeder_order o;
	struct tree *t = NULL;
	struct err why = { 0 };

	CHECK_OK(file_put(AT_FDCWD, path, str_of(bytes), 0600, e));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	o = order_of(fd);
	CHECK(tree_new(&o, &t, &why) < 0);
	CHECK_INT(why.kind, kind);
}

TEST(tree_of_hostile_lists)
{
	refuses_list("garbage", ERR_SYNTAX);
	refuses_list("1 2 ab0 x 3 p/", ERR_SYNTAX);
	refuses_list("1 2 ab0 x 3 p/a\n1 2 ab0 x 99999999999 p/b\n", ERR_SYNTAX);
	refuses_list("1 2 ../x x 3 p/a\n", ERR_SYNTAX);
	refuses_list("1 2 - x 3 p/a\n", ERR_SYNTAX); /* of another S3 */
	refuses_list("18446744073709551615 2 ab0 x 3 p/a\n", ERR_SYNTAX);
	refuses_list("+ 1\n= 3 abc\n", ERR_SYNTAX);
	refuses_list("+ 1\n@ b 1 2 ab0 x 3 p/a\n", ERR_SYNTAX);
	refuses_list("1 2 ab0 x 3 p/a\n\n", ERR_SYNTAX);
}

/* The list is not trusted a second time either. */
TEST(tree_list_that_changes)
{
	char keys[1000][32];
	const char *key[1000];
	_cleanup_(tree_freep) struct tree *t = NULL;
	_cleanup_free_ char *path = strf("%s/list", test_tmpdir());
	struct tree_object object;
	struct err why = { 0 };

	for (int i = 0; i < 1000; i++) { /* more than a reader has in its buffer */
		snprintf(keys[i], sizeof(keys[i]), "p/%d", i);
		key[i] = keys[i];
	}
	t = tree_of(key, 1000);
	CHECK(truncate(path, 3) == 0);
	CHECK(tree_object(t, find(t, "500"), &object, &why) < 0);
	CHECK_INT(why.kind, ERR_SYNTAX);
}

TEST(tree_of_many)
{
	_cleanup_free_ char *path = strf("%s/list", test_tmpdir());
	_cleanup_(tree_freep) struct tree *t = NULL;
	enum { COUNT = 1000000, BYTES_EACH = 100 };
	struct mallinfo2 before, after; /* all 0 with the address sanitizer */
	FILE *f = fopen(path, "we");
	_cleanup_close_ int fd = -EBADF;
	struct feeder_order o;

	must(f);
	for (int i = 0; i < COUNT; i++) {
		char key[64];

		snprintf(key, sizeof(key), "p/%03d/%08d", i / 1000, i);
		CHECK_OK(list_write(f,
		                    &(struct list_entry){
		                            .size = 1, .object_id = STR("ab0"), .etag = STR("x"), .key = str_of(key) },
		                    e));
	}
	fclose(f);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	o = order_of(fd);
	before = mallinfo2();
	CHECK_OK(tree_new(&o, &t, e));
	after = mallinfo2();
	CHECK(after.uordblks + after.hblkhd < before.uordblks + before.hblkhd + (size_t)COUNT * BYTES_EACH);
	CHECK_INT(tree_nodes(t), COUNT + COUNT / 1000 + 1);
	for (int i = 0; i < COUNT; i += 7) {
		struct tree_stat st;
		char key[64];

		snprintf(key, sizeof(key), "%03d/%08d", i / 1000, i);
		if (!tree_stat(t, find(t, key), &st) || st.dir) {
			CHECK_STR(key, "there");
			break;
		}
	}
}
