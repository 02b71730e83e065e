/* Archives that mean harm to the disk: what has no bytes, what follows the end, and trees deeper than any name.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "oci/import.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "oci/image.h"

static bool cannot_run(void)
{
	if (geteuid() == 0)
		return false;
	test_skip("importing images needs root");
	return true;
}

static char *in_tmp(const char *name)
{
	return strf("%s/%s", test_tmpdir(), name);
}

struct tar {
	struct archive *a;
	struct buf *bytes;
};

static la_ssize_t to_buf(struct archive *a, void *arg, const void *p, size_t n)
{
	(void)a;
	buf_add(arg, p, n);
	return (la_ssize_t)n;
}

static struct tar tar_new(struct buf *out, int filter)
{
	struct tar t = { archive_write_new(), out };

	buf_init(out);
	archive_write_set_format_pax_restricted(t.a);
	archive_write_add_filter(t.a, filter);
	archive_write_set_bytes_in_last_block(t.a, 1);
	CHECK(archive_write_open(t.a, out, NULL, to_buf, NULL) == ARCHIVE_OK);
	return t;
}

static void tar_end(struct tar *t)
{
	CHECK(archive_write_close(t->a) == ARCHIVE_OK);
	archive_write_free(t->a);
}

static void tar_add(struct tar *t, const char *name, unsigned type, const char *target)
{
	struct archive_entry *entry = archive_entry_new();

	archive_entry_set_pathname(entry, name);
	archive_entry_set_filetype(entry, type);
	archive_entry_set_perm(entry, 0755);
	if (type == AE_IFLNK)
		archive_entry_set_symlink(entry, target);
	else if (type == AE_IFREG)
		archive_entry_set_size(entry, 1);
	CHECK(archive_write_header(t->a, entry) >= ARCHIVE_WARN);
	if (type == AE_IFREG)
		CHECK(archive_write_data(t->a, "x", 1) == 1);
	archive_entry_free(entry);
}

static struct import_options options(void)
{
	static char images[4096];

	snprintf(images, sizeof(images), "%s/images", test_tmpdir());
	return (struct import_options){ .images_dir = images };
}

/* How many directories of imports there are. */
static int work_left(void)
{
	_cleanup_free_ char *tmp = in_tmp("images/tmp");
	struct dirent **list = NULL;
	int n = scandir(tmp, &list, NULL, NULL);

	for (int i = 0; i < n; i++)
		free(list[i]);
	free(list);
	return n - 2; /* "." and ".." */
}

static void check_store_is_clean(void)
{
	CHECK_INT(work_left(), 0);
}

static void expect_beyond(uint64_t max_bytes, const char *path, const char *says)
{
	struct import_options o = options();
	struct import_result r = { 0 };
	struct err why = { 0 };
	char text[8192];

	o.max_bytes = max_bytes;
	CHECK(image_import(&o, STR("bomb"), path, &r, &why) < 0);
	CHECK_INT(why.kind, ERR_TOO_LARGE);
	if (!strstr(err_text(&why, text, sizeof(text)), says))
		test_failed(__FILE__, __LINE__, "'%s' does not say '%s'", text, says);
	check_store_is_clean();
}

/* Directories and empty files hold no bytes, but fill a disk as well. */
TEST(a_multitude_of_nothings_stops_at_the_limit)
{
	_cleanup_free_ char *path = in_tmp("nothings.tar.gz");
	_cleanup_buf_ struct buf b = { 0 };
	char name[32];
	struct tar t;

	if (cannot_run())
		return;
	t = tar_new(&b, ARCHIVE_FILTER_GZIP);
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		tar_add(&t, name, AE_IFDIR, NULL);
	}
	tar_end(&t);
	CHECK_OK(file_put(AT_FDCWD, path, buf_view(&b), 0600, e));
	expect_beyond(4 << 20, path, "unpacked it is larger");
}

/* Zeros after the end of the archive are read for the digest only; there must be an end to them, too. */
TEST(a_bomb_behind_the_end_stops_at_the_limit)
{
	_cleanup_free_ char *path = in_tmp("tail.tar.gz"), *zeros = calloc(1, 1 << 20);
	_cleanup_buf_ struct buf plain = { 0 }, b = { 0 };
	struct archive *a = archive_write_new();
	struct archive_entry *entry = archive_entry_new();
	struct tar t;

	if (cannot_run())
		return;
	t = tar_new(&plain, ARCHIVE_FILTER_NONE);
	tar_add(&t, "train", AE_IFREG, NULL);
	tar_end(&t);
	buf_init(&b);
	archive_write_set_format_raw(a);
	archive_write_add_filter_gzip(a);
	CHECK(archive_write_open(a, &b, NULL, to_buf, NULL) == ARCHIVE_OK);
	archive_entry_set_filetype(entry, AE_IFREG);
	CHECK(archive_write_header(a, entry) == ARCHIVE_OK);
	archive_write_data(a, plain.p, plain.n);
	for (int i = 0; i < 80; i++)
		archive_write_data(a, zeros, 1 << 20);
	archive_entry_free(entry);
	CHECK(archive_write_close(a) == ARCHIVE_OK);
	archive_write_free(a);
	CHECK_OK(file_put(AT_FDCWD, path, buf_view(&b), 0600, e));
	expect_beyond(1 << 20, path, "without its compression is larger");
}

/* Chained symbolic links lead deeper than any name may be; what was made there is removed all the same. */
TEST(a_tree_deeper_than_any_name_is_removed)
{
	_cleanup_free_ char *path = in_tmp("deep.tar");
	_cleanup_buf_ struct buf b = { 0 };
	struct import_options o = options();
	struct import_result r = { 0 };
	struct tar t;

	if (cannot_run())
		return;
	t = tar_new(&b, ARCHIVE_FILTER_NONE);
	tar_add(&t, "train", AE_IFREG, NULL);
	for (int i = 0; i < 6; i++) {
		_cleanup_buf_ struct buf name = { 0 };
		char link[16];

		buf_init(&name);
		if (i)
			buf_f(&name, "s%d/", i - 1);
		for (int k = 0; k < 500; k++)
			buf_f(&name, "%sa", k ? "/" : "");
		snprintf(link, sizeof(link), "s%d", i);
		tar_add(&t, name.p, AE_IFDIR, NULL);
		tar_add(&t, link, AE_IFLNK, name.p);
	}
	tar_end(&t);
	CHECK_OK(file_put(AT_FDCWD, path, buf_view(&b), 0600, e));
	CHECK_OK(image_import(&o, STR("deep"), path, &r, e));
	check_store_is_clean();
	CHECK_OK(image_remove(options().images_dir, STR("deep"), e));
	check_store_is_clean();
	import_result_fini(&r);
}
