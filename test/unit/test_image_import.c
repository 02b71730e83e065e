/* Imports of real archives, whole and hostile ones, and a pull from a registry of our own by the real skopeo. Unpacking
 * with owners needs root; without it these tests say that they were skipped.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "oci/import.h"

#include <archive.h>
#include <archive_entry.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/hash.h"
#include "harness.h"
#include "loop/loop.h"
#include "oci/image.h"
#include "oci/image_store.h"
#include "oci/layout.h"

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

/* --- archives --- */

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

struct item {
	const char *name;
	unsigned type;
	const char *content; /* of a file; target of a link */
	unsigned mode;
	long uid, gid;
	bool hardlink;
	const char *xattr;
};

static void tar_add(struct tar *t, struct item i)
{
	struct archive_entry *entry = archive_entry_new();
	unsigned type = i.type ? i.type : AE_IFREG;
	size_t n = i.content ? strlen(i.content) : 0;

	archive_entry_set_pathname(entry, i.name);
	archive_entry_set_filetype(entry, type);
	archive_entry_set_perm(entry, i.mode ? i.mode : 0644);
	archive_entry_set_uid(entry, i.uid);
	archive_entry_set_gid(entry, i.gid);
	archive_entry_set_mtime(entry, 1000000000, 0);
	if (i.hardlink)
		archive_entry_set_hardlink(entry, i.content);
	else if (type == AE_IFLNK)
		archive_entry_set_symlink(entry, i.content);
	else if (type == AE_IFREG)
		archive_entry_set_size(entry, (la_int64_t)n);
	if (i.xattr)
		archive_entry_xattr_add_entry(entry, i.xattr, "v", 1);
	if (type == AE_IFCHR || type == AE_IFBLK)
		archive_entry_set_rdev(entry, makedev(1, 3));
	CHECK(archive_write_header(t->a, entry) >= ARCHIVE_WARN);
	if (!i.hardlink && type == AE_IFREG && n)
		CHECK(archive_write_data(t->a, i.content, n) == (la_ssize_t)n);
	archive_entry_free(entry);
}

static char *tar_of(const char *name, const struct item *items, size_t n)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct tar t = tar_new(&b, ARCHIVE_FILTER_NONE);
	char *path = in_tmp(name);

	for (size_t i = 0; i < n; i++)
		tar_add(&t, items[i]);
	tar_end(&t);
	CHECK_OK(file_put(AT_FDCWD, path, buf_view(&b), 0600, e));
	return path;
}

/* --- importing and looking --- */

static struct import_options options(void)
{
	static char images[4096];

	snprintf(images, sizeof(images), "%s/images", test_tmpdir());
	return (struct import_options){ .images_dir = images };
}

static int import(const char *name, const char *source, struct import_result *r, struct err *why)
{
	struct import_options o = options();

	return image_import(&o, str_of(name), source, r, why);
}

static void import_ok(const char *name, const char *source, struct import_result *r)
{
	CHECK_OK(import(name, source, r, e));
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

static void expect_refused(const char *source, enum err_kind kind, const char *says)
{
	struct import_result r = { 0 };
	struct err why = { 0 };
	char text[8192];

	CHECK(import("bad", source, &r, &why) < 0);
	CHECK_INT(why.kind, kind);
	if (!strstr(err_text(&why, text, sizeof(text)), says))
		test_failed(__FILE__, __LINE__, "'%s' does not say '%s'", text, says);
	check_store_is_clean();
}

static struct stat look(const char *image, const char *path)
{
	struct import_options o = options();
	struct image i = { 0 };
	struct stat st = { 0 };

	CHECK_OK(image_find(o.images_dir, str_of(image), &i, e));
	if (i.rootfs) {
		_cleanup_free_ char *full = strf("%s/%s", i.rootfs, path);

		if (lstat(full, &st) < 0)
			st = (struct stat){ 0 };
	}
	image_fini(&i);
	return st;
}

static void check_content(const char *image, const char *path, const char *want)
{
	struct import_options o = options();
	_cleanup_buf_ struct buf got = { 0 };
	_cleanup_free_ char *full = NULL;
	struct image i = { 0 };

	buf_init(&got);
	CHECK_OK(image_find(o.images_dir, str_of(image), &i, e));
	full = strf("%s/%s", i.rootfs, path);
	if (file_read(full, 1 << 20, &got, NULL) < 0)
		buf_z(&got, "(not there)");
	CHECK_STR(got.p, want);
	image_fini(&i);
}

TEST(a_tar_is_unpacked_as_it_says)
{
	static const struct item items[] = {
		{ "./", AE_IFDIR, NULL, 0700, 0, 0 },
		{ "./etc/", AE_IFDIR, NULL, 0750, 3, 4 },
		{ "./etc/passwd", 0, "root:x:0:0::/:/bin/sh\n", 0640, 1, 2, .xattr = "user.note" },
		{ "./bin/su", 0, "su", 04755 },
		{ "./bin/sh", AE_IFLNK, "/bin/su" },
		{ "./bin/hard", 0, "./bin/su", .hardlink = true },
		{ "./deep/er/file", 0, "x", 0600, 1000, 1000 },
		{ "./dev/null", AE_IFCHR, NULL, 0666 },
		{ "./dev/sda", AE_IFBLK, NULL, 0666 },
		{ "./fifo", AE_IFIFO, NULL, 0622 },
		{ "./n\xc3\xa4me", 0, "utf-8" },
		{ "/absolute", 0, "within the image" },
	};
	_cleanup_free_ char *path = NULL;
	struct import_result r = { 0 };
	struct stat st, other;

	if (cannot_run())
		return;
	path = tar_of("a.tar", items, ARRAY_LEN(items));
	import_ok("my-algo", path, &r);
	CHECK_STR(r.reference, "my-algo:latest");
	CHECK(digest_valid(str_of(r.digest)) && !r.reused);
	CHECK_INT(r.nodes_left_out, 2);
	CHECK_INT(look("my-algo", ".").st_mode & 07777, 0755); /* or the image's users could not enter */
	st = look("my-algo", "etc");
	CHECK(S_ISDIR(st.st_mode) && (st.st_mode & 07777) == 0750 && st.st_uid == 3 && st.st_gid == 4);
	CHECK_INT(st.st_mtime, 1000000000);
	st = look("my-algo", "etc/passwd");
	CHECK((st.st_mode & 07777) == 0640 && st.st_uid == 1 && st.st_gid == 2 && st.st_mtime == 1000000000);
	st = look("my-algo", "bin/su");
	other = look("my-algo", "bin/hard");
	CHECK((st.st_mode & 07777) == 04755 && st.st_ino == other.st_ino && st.st_nlink == 2);
	CHECK(S_ISLNK(look("my-algo", "bin/sh").st_mode) && S_ISFIFO(look("my-algo", "fifo").st_mode));
	CHECK(look("my-algo", "dev/null").st_ino == 0 && look("my-algo", "dev/sda").st_ino == 0);
	check_content("my-algo", "n\xc3\xa4me", "utf-8");
	check_content("my-algo", "absolute", "within the image");
	CHECK_INT(look("my-algo", "..").st_mode & 07777, 0750); /* set-user-id files are out of others' reach */
	import_result_fini(&r);
	check_store_is_clean();
}

TEST(the_digest_is_of_the_uncompressed_tar)
{
	static const int filters[] = { ARCHIVE_FILTER_NONE, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_XZ, ARCHIVE_FILTER_ZSTD,
		                       ARCHIVE_FILTER_BZIP2 };
	char *digest = NULL;

	if (cannot_run())
		return;
	for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
		_cleanup_buf_ struct buf b = { 0 };
		_cleanup_free_ char *path = in_tmp("archive");
		struct tar t = tar_new(&b, filters[i]);
		struct import_result r = { 0 };
		unsigned char sum[SHA256_BYTES];

		tar_add(&t, (struct item){ "train", 0, "#!/bin/sh\n", 0755 });
		tar_end(&t);
		CHECK_OK(file_put(AT_FDCWD, path, buf_view(&b), 0600, e));
		import_ok("a", path, &r);
		if (i == 0) {
			_cleanup_buf_ struct buf want = { 0 };

			sha256(buf_view(&b), sum);
			buf_z(&want, "sha256:");
			buf_hex(&want, sum, sizeof(sum));
			CHECK_STR(r.digest, want.p);
			digest = xstrdup(r.digest);
		}
		CHECK_STR(r.digest, digest);
		CHECK_INT(r.reused, i > 0);
		import_result_fini(&r);
	}
	free(digest);
	check_store_is_clean();
}

TEST(a_directory_has_a_digest_of_its_content)
{
	_cleanup_free_ char *dir = in_tmp("dir"), *sub = in_tmp("dir/sub"), *file = in_tmp("dir/sub/train"),
	                    *hard = in_tmp("dir/hard"), *link = in_tmp("dir/link");
	struct import_result r = { 0 }, again = { 0 }, changed = { 0 };
	struct stat st;

	if (cannot_run())
		return;
	CHECK_OK(mkdir_all(AT_FDCWD, sub, 0755, e));
	CHECK_OK(file_put(AT_FDCWD, file, STR("#!/bin/sh\n"), 0755, e));
	CHECK(symlink("../../../../etc/shadow", link) == 0);
	CHECK(linkat(AT_FDCWD, file, AT_FDCWD, hard, 0) == 0);
	CHECK(chown(file, 1234, 77) == 0 && chmod(file, 04751) == 0);
	import_ok("d", dir, &r);
	import_ok("e", dir, &again);
	CHECK_STR(again.digest, r.digest);
	CHECK(again.reused);
	st = look("d", "sub/train");
	CHECK(st.st_uid == 1234 && st.st_gid == 77 && (st.st_mode & 07777) == 04751 && st.st_nlink == 2);
	CHECK(S_ISLNK(look("d", "link").st_mode)); /* not what it points to */
	CHECK_OK(file_put(AT_FDCWD, file, STR("#!/bin/bash\n"), 0755, e));
	import_ok("d", dir, &changed);
	CHECK(strcmp(changed.digest, r.digest) != 0);
	check_content("d", "sub/train", "#!/bin/bash\n");
	check_content("e", "sub/train", "#!/bin/sh\n");
	import_result_fini(&r);
	import_result_fini(&again);
	import_result_fini(&changed);
	check_store_is_clean();
}

TEST(options_replace_the_configuration_and_make_another_image)
{
	static const struct item items[] = { { "train", 0, "x", 0755 } };
	static const char *const entrypoint[] = { "/train", "-v", NULL }, *const env[] = { "A=1", NULL };
	struct import_options o = options();
	struct import_result plain = { 0 }, r = { 0 };
	_cleanup_free_ char *path = NULL;
	struct image i = { 0 };

	if (cannot_run())
		return;
	path = tar_of("a.tar", items, 1);
	import_ok("plain", path, &plain);
	o.entrypoint = entrypoint;
	o.env = env;
	o.working_dir = "/w";
	o.user = "7:8";
	CHECK_OK(image_import(&o, STR("set"), path, &r, e));
	CHECK(strcmp(plain.digest, r.digest) != 0);
	CHECK_OK(image_find(o.images_dir, STR("set"), &i, e));
	CHECK_STR(i.entrypoint[1], "-v");
	CHECK_STR(i.env[0], "A=1");
	CHECK_STR(i.working_dir, "/w");
	CHECK_STR(i.user, "7:8");
	image_fini(&i);
	CHECK_OK(image_find(o.images_dir, STR("plain"), &i, e));
	CHECK(!i.entrypoint[0]);
	image_fini(&i);
	import_result_fini(&plain);
	import_result_fini(&r);
}

/* --- hostile archives --- */

#define REFUSED(kind, says, ...)                                                           \
	do {                                                                               \
		static const struct item items_[] = { __VA_ARGS__ };                       \
		_cleanup_free_ char *path_ = tar_of("bad.tar", items_, ARRAY_LEN(items_)); \
		expect_refused(path_, kind, says);                                         \
	} while (0)

TEST(names_that_lead_out_are_refused)
{
	_cleanup_free_ char *victim = in_tmp("images/victim");

	if (cannot_run())
		return;
	REFUSED(ERR_INVALID, "could lead out", { "../victim", 0, "x" });
	REFUSED(ERR_INVALID, "could lead out", { "a/../../victim", 0, "x" });
	REFUSED(ERR_INVALID, "could lead out", { "ok", 0, "x" },
	        { "link", 0, "../../../etc/passwd", .hardlink = true });
	REFUSED(ERR_INVALID, "no file that came before", { "link", 0, "etc/passwd", .hardlink = true });
	REFUSED(ERR_INVALID, "no file that came before", { "a", AE_IFLNK, "/" },
	        { "link", 0, "a/etc/passwd", .hardlink = true });
	REFUSED(ERR_INVALID, "not a directory", { "a", 0, "x" }, { "a/b", 0, "y" });
	CHECK(access(victim, F_OK) < 0);
}

TEST(links_out_are_only_links_within)
{
	static const struct item items[] = {
		{ "etc", AE_IFLNK, "/../../../../../../etc" }, /* would be the machine's, if followed */
		{ "up", AE_IFLNK, "../../../.." },
		{ "self", AE_IFLNK, "." },
		{ "up/made", 0, "by way of up" },
		{ "self/self/file", 0, "one" },
		{ "over", AE_IFLNK, "file" },
		{ "over", 0, "a file in place of a link" },
	};
	_cleanup_free_ char *path = NULL, *outside = in_tmp("made"), *above = in_tmp("images/made");
	struct import_result r = { 0 };

	if (cannot_run())
		return;
	path = tar_of("a.tar", items, ARRAY_LEN(items));
	import_ok("a", path, &r);
	check_content("a", "made", "by way of up");
	check_content("a", "file", "one");
	check_content("a", "over", "a file in place of a link");
	CHECK(access(outside, F_OK) < 0 && access(above, F_OK) < 0 && access("/made", F_OK) < 0);
	import_result_fini(&r);
}

TEST(attributes_that_mean_something_to_the_machine_are_left_out)
{
	static const struct item items[] = {
		{ "dir", AE_IFDIR, NULL, 0755, .xattr = "trusted.overlay.opaque" },
		{ "file", 0, "x", .xattr = "user.overlay.redirect" },
	};
	_cleanup_free_ char *path = NULL, *full = NULL;
	struct import_options o = options();
	struct import_result r = { 0 };
	struct image i = { 0 };
	char value[16];

	if (cannot_run())
		return;
	path = tar_of("a.tar", items, ARRAY_LEN(items));
	import_ok("a", path, &r);
	CHECK_OK(image_find(o.images_dir, STR("a"), &i, e));
	full = strf("%s/dir", i.rootfs);
	CHECK(getxattr(full, "trusted.overlay.opaque", value, sizeof(value)) < 0);
	CHECK(access(full, F_OK) == 0);
	image_fini(&i);
	import_result_fini(&r);
}

TEST(what_is_no_archive_is_refused)
{
	_cleanup_free_ char *path = in_tmp("file"), *empty_dir = in_tmp("empty");
	_cleanup_buf_ struct buf b = { 0 };
	struct tar t;

	if (cannot_run())
		return;
	CHECK_OK(file_put(AT_FDCWD, path, STR("hello, this is no archive at all\n"), 0600, e));
	expect_refused(path, ERR_INVALID, "not a tar archive");
	CHECK_OK(file_put(AT_FDCWD, path, STR(""), 0600, e));
	expect_refused(path, ERR_INVALID, "empty");
	expect_refused("/there/is/no/such/file", ERR_NOT_FOUND, "there is no file");
	CHECK_OK(mkdir_all(AT_FDCWD, empty_dir, 0755, e));
	expect_refused(empty_dir, ERR_INVALID, "no files");
	t = tar_new(&b, ARCHIVE_FILTER_GZIP);
	for (int i = 0; i < 100; i++) {
		_cleanup_free_ char *name = strf("file-%d-%d", i, i * 7919);

		tar_add(&t, (struct item){ name, 0, name });
	}
	tar_end(&t);
	CHECK_OK(file_put(AT_FDCWD, path, (struct str){ b.p, b.n / 2 }, 0600, e)); /* a cut download */
	expect_refused(path, ERR_INVALID, "runcated");
}

TEST(a_bomb_stops_at_the_limit)
{
	_cleanup_free_ char *path = in_tmp("bomb.tar.gz");
	_cleanup_buf_ struct buf b = { 0 };
	struct import_options o = options();
	struct import_result r = { 0 };
	struct err why = { 0 };
	struct archive_entry *entry;
	char zeros[65536] = { 0 };
	struct tar t;

	if (cannot_run())
		return;
	t = tar_new(&b, ARCHIVE_FILTER_GZIP);
	entry = archive_entry_new();
	archive_entry_set_pathname(entry, "bomb");
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	archive_entry_set_size(entry, 64 << 20);
	CHECK(archive_write_header(t.a, entry) == ARCHIVE_OK);
	for (int i = 0; i < 1024; i++)
		archive_write_data(t.a, zeros, sizeof(zeros));
	archive_entry_free(entry);
	tar_end(&t);
	CHECK(b.n < 1 << 20);
	CHECK_OK(file_put(AT_FDCWD, path, buf_view(&b), 0600, e));
	o.max_bytes = 16 << 20;
	CHECK(image_import(&o, STR("bomb"), path, &r, &why) < 0);
	CHECK_INT(why.kind, ERR_TOO_LARGE);
	check_store_is_clean();
}

/* --- image archives --- */

struct made_layout {
	char *dir;
	json_t *layers, *diff_ids;
	char manifest[DIGEST_HEX_BYTES + 1], config[DIGEST_HEX_BYTES + 1];
	size_t manifest_bytes;
};

static void put_blob(const char *dir, struct str bytes, char hex[DIGEST_HEX_BYTES + 1])
{
	_cleanup_buf_ struct buf name = { 0 };
	_cleanup_free_ char *path = NULL;
	unsigned char sum[SHA256_BYTES];

	sha256(bytes, sum);
	buf_hex(&name, sum, sizeof(sum));
	memcpy(hex, name.p, DIGEST_HEX_BYTES + 1);
	path = strf("%s/blobs/sha256/%s", dir, hex);
	CHECK_OK(file_put(AT_FDCWD, path, bytes, 0644, e));
}

static struct made_layout layout_begin(const char *name)
{
	struct made_layout l = { .dir = in_tmp(name), .layers = json_array(), .diff_ids = json_array() };
	_cleanup_free_ char *blobs = strf("%s/blobs/sha256", l.dir);
	_cleanup_free_ char *mark = strf("%s/oci-layout", l.dir);

	CHECK_OK(mkdir_all(AT_FDCWD, blobs, 0755, e));
	CHECK_OK(file_put(AT_FDCWD, mark, STR("{\"imageLayoutVersion\": \"1.0.0\"}"), 0644, e));
	return l;
}

static void layout_layer(struct made_layout *l, const struct item *items, size_t n)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct tar t = tar_new(&b, ARCHIVE_FILTER_NONE);
	char hex[DIGEST_HEX_BYTES + 1];
	_cleanup_free_ char *digest = NULL;

	for (size_t i = 0; i < n; i++)
		tar_add(&t, items[i]);
	tar_end(&t);
	put_blob(l->dir, buf_view(&b), hex);
	digest = strf("sha256:%s", hex);
	json_array_append_new(l->layers,
	                      json_pack("{s:s, s:s, s:I}", "mediaType", "application/vnd.oci.image.layer.v1.tar",
	                                "digest", digest, "size", (json_int_t)b.n));
	json_array_append_new(l->diff_ids, json_string(digest));
}

static void layout_end(struct made_layout *l, json_t *start, const char *architecture)
{
	_cleanup_free_ char *config = NULL, *manifest = NULL, *index = NULL, *digest = NULL;
	_cleanup_free_ char *path = strf("%s/index.json", l->dir);
	json_t *j = json_pack("{s:s, s:s, s:o, s:{s:s, s:o}}", "architecture", architecture, "os", "linux", "config",
	                      start, "rootfs", "type", "layers", "diff_ids", l->diff_ids);

	config = json_dumps(j, 0);
	json_decref(j);
	put_blob(l->dir, str_of(config), l->config);
	digest = strf("sha256:%s", l->config);
	j = json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:o}", "schemaVersion", 2, "mediaType",
	              "application/vnd.oci.image.manifest.v1+json", "config", "mediaType",
	              "application/vnd.oci.image.config.v1+json", "digest", digest, "size", (json_int_t)strlen(config),
	              "layers", l->layers);
	manifest = json_dumps(j, 0);
	json_decref(j);
	put_blob(l->dir, str_of(manifest), l->manifest);
	l->manifest_bytes = strlen(manifest);
	index = strf(
	        "{\"schemaVersion\": 2, \"manifests\": [{\"mediaType\": \"application/vnd.oci.image.manifest.v1+json\","
	        " \"digest\": \"sha256:%s\", \"size\": %zu}]}",
	        l->manifest, l->manifest_bytes);
	CHECK_OK(file_put(AT_FDCWD, path, str_of(index), 0644, e));
}

static const struct item lower[] = {
	{ "bin/train", 0, "one", 0755 }, { "etc/a", 0, "lower a" },
	{ "etc/b", 0, "lower b" },       { "gone/x", 0, "x" },
	{ "opaque/old", 0, "old" },      { "opaque/keep/old", 0, "old" },
	{ "lib", AE_IFLNK, "usr/lib" },  { "usr/lib/libc", 0, "libc" },
	{ "file", 0, "a file" },
};
static const struct item upper[] = {
	{ "bin/train", 0, "two", 0755 },
	{ "etc/.wh.a", 0, "" },
	{ ".wh.gone", 0, "" },
	{ "opaque/new", 0, "new" },
	{ "opaque/keep/new", 0, "new" },
	{ "opaque/.wh..wh..opq", 0, "" },
	{ "lib/through-link", 0, "in usr/lib" },
	{ "file", AE_IFDIR, NULL, 0755 },
	{ "file/in", 0, "a dir now" },
};

static struct made_layout two_layers(const char *name)
{
	struct made_layout l = layout_begin(name);

	layout_layer(&l, lower, ARRAY_LEN(lower));
	layout_layer(&l, upper, ARRAY_LEN(upper));
	layout_end(&l,
	           json_pack("{s:[s,s], s:[s], s:n, s:s, s:s}", "Entrypoint", "/bin/train", "-x", "Env", "PATH=/bin",
	                     "Cmd", "WorkingDir", "/etc", "User", "5:6"),
	           layout_architecture());
	return l;
}

static void check_two_layers(const char *image)
{
	struct import_options o = options();
	struct image i = { 0 };

	check_content(image, "bin/train", "two");
	check_content(image, "etc/a", "(not there)");
	check_content(image, "etc/b", "lower b");
	check_content(image, "gone/x", "(not there)");
	check_content(image, "opaque/old", "(not there)");
	check_content(image, "opaque/keep/old", "(not there)");
	check_content(image, "opaque/new", "new");
	check_content(image, "opaque/keep/new", "new");
	check_content(image, "usr/lib/through-link", "in usr/lib");
	check_content(image, "file/in", "a dir now");
	CHECK(look(image, "etc/.wh.a").st_ino == 0 && look(image, "opaque/.wh..wh..opq").st_ino == 0);
	CHECK(S_ISLNK(look(image, "lib").st_mode));
	CHECK_OK(image_find(o.images_dir, str_of(image), &i, e));
	CHECK_STR(i.entrypoint[0], "/bin/train");
	CHECK_STR(i.entrypoint[1], "-x");
	CHECK_STR(i.env[0], "PATH=/bin");
	CHECK_STR(i.working_dir, "/etc");
	CHECK_STR(i.user, "5:6");
	CHECK_STR(i.architecture, layout_architecture());
	image_fini(&i);
}

static void run_tool(const char *const *argv)
{
	const struct spawn_options o = { .argv = argv, .in = -1, .out = 2, .err_fd = 2 };
	int status = -1;

	CHECK_OK(spawn_wait(&o, NULL, 0, &status, e));
	CHECK_INT(status, 0);
}

static bool no_tool(const char *path)
{
	if (access(path, X_OK) == 0)
		return false;
	test_skip(path); /* which is not there */
	return true;
}

TEST(an_oci_layout_is_imported_as_directory_and_as_tar)
{
	struct import_result r = { 0 }, tarred = { 0 };
	struct made_layout l;
	_cleanup_free_ char *tar = in_tmp("oci.tar"), *want = NULL;

	if (cannot_run())
		return;
	l = two_layers("oci");
	import_ok("dir", l.dir, &r);
	want = strf("sha256:%s", l.manifest);
	CHECK_STR(r.digest, want);
	check_two_layers("dir");
	run_tool((const char *const[]){ "/bin/tar", "-C", l.dir, "-cf", tar, ".", NULL });
	import_ok("tar", tar, &tarred);
	CHECK_STR(tarred.digest, want);
	CHECK(tarred.reused);
	import_result_fini(&r);
	import_result_fini(&tarred);
	free(l.dir);
	check_store_is_clean();
}

TEST(a_docker_archive_made_by_skopeo_is_imported)
{
	struct import_result r = { 0 };
	struct made_layout l;
	_cleanup_free_ char *from = NULL, *to = NULL, *file = in_tmp("docker.tar");

	if (cannot_run() || no_tool("/usr/bin/skopeo"))
		return;
	l = two_layers("oci");
	from = strf("oci:%s", l.dir);
	to = strf("docker-archive:%s:my-algo:latest", file);
	run_tool((const char *const[]){ "/usr/bin/skopeo", "--insecure-policy", "copy", "-q", from, to, NULL });
	import_ok("docker", file, &r);
	check_two_layers("docker");
	import_result_fini(&r);
	free(l.dir);
}

TEST(an_oci_archive_made_by_umoci_is_imported)
{
	_cleanup_free_ char *layout = in_tmp("umoci"), *image = in_tmp("umoci:v1"), *tar = in_tmp("umoci.tar");
	_cleanup_free_ char *bundle = in_tmp("bundle"), *file = in_tmp("bundle/rootfs/train");
	struct import_result r = { 0 };

	if (cannot_run() || no_tool("/usr/bin/umoci"))
		return;
	run_tool((const char *const[]){ "/usr/bin/umoci", "init", "--layout", layout, NULL });
	run_tool((const char *const[]){ "/usr/bin/umoci", "new", "--image", image, NULL });
	run_tool((const char *const[]){ "/usr/bin/umoci", "unpack", "--image", image, bundle, NULL });
	CHECK_OK(file_put(AT_FDCWD, file, STR("#!/bin/sh\n"), 0755, e));
	run_tool((const char *const[]){ "/usr/bin/umoci", "repack", "--image", image, bundle, NULL });
	run_tool((const char *const[]){ "/bin/tar", "-C", layout, "-cf", tar, ".", NULL });
	import_ok("umoci", tar, &r);
	check_content("umoci", "train", "#!/bin/sh\n");
	import_result_fini(&r);
}

TEST(damaged_image_archives_are_refused)
{
	struct made_layout l;
	_cleanup_free_ char *manifest = NULL, *layer = NULL, *index = NULL, *config = NULL;
	_cleanup_buf_ struct buf b = { 0 };
	const char *digest;

	if (cannot_run())
		return;
	l = layout_begin("oci");
	layout_layer(&l, lower, ARRAY_LEN(lower));
	json_incref(l.layers);
	layout_end(&l, json_object(), layout_architecture());
	digest = json_string_value(json_object_get(json_array_get(l.layers, 0), "digest"));
	layer = strf("%s/blobs/sha256/%s", l.dir, digest + 7);
	manifest = strf("%s/blobs/sha256/%s", l.dir, l.manifest);
	config = strf("%s/blobs/sha256/%s", l.dir, l.config);
	index = strf("%s/index.json", l.dir);

	CHECK_OK(file_read(layer, 1 << 20, &b, e));
	b.p[600] ^= 1;
	CHECK_OK(file_put(AT_FDCWD, layer, buf_view(&b), 0644, e));
	expect_refused(l.dir, ERR_INVALID, "damaged");
	CHECK(unlink(layer) == 0);
	expect_refused(l.dir, ERR_INVALID, "lacks its file");
	CHECK(symlink("/etc/passwd", layer) == 0);
	expect_refused(l.dir, ERR_INVALID, "which is not within it");
	CHECK_OK(file_put(AT_FDCWD, config, STR("{}"), 0644, e));
	expect_refused(l.dir, ERR_INVALID, "damaged");
	CHECK_OK(file_put(AT_FDCWD, manifest, STR("not json"), 0644, e));
	expect_refused(l.dir, ERR_INVALID, "damaged");
	CHECK_OK(file_put(AT_FDCWD, index, STR("{\"manifests\": [{\"digest\": \"sha256:../../../etc/passwd\"}]}"), 0644,
	                  e));
	expect_refused(l.dir, ERR_INVALID, "not a sha256 digest");
	CHECK_OK(file_put(AT_FDCWD, index, STR("{\"manifests\": []}"), 0644, e));
	expect_refused(l.dir, ERR_INVALID, "no image for this machine");
	CHECK_OK(file_put(AT_FDCWD, index, STR("{\"layers\": []}"), 0644, e));
	expect_refused(l.dir, ERR_INVALID, "not an index");
	json_decref(l.layers);
	free(l.dir);
}

TEST(an_index_gives_the_image_of_this_machine)
{
	struct import_result r = { 0 };
	struct made_layout l;
	_cleanup_free_ char *path = NULL, *index = NULL, *want = NULL;

	if (cannot_run())
		return;
	l = two_layers("oci");
	path = strf("%s/index.json", l.dir);
	index = strf(
	        "{\"manifests\": [{\"digest\": \"sha256:%064d\", \"platform\": {\"os\": \"linux\", \"architecture\": "
	        "\"s390x\"}},"
	        "{\"digest\": \"sha256:%064d\", \"platform\": {\"os\": \"unknown\", \"architecture\": \"unknown\"}},"
	        "{\"digest\": \"sha256:%s\", \"platform\": {\"os\": \"linux\", \"architecture\": \"%s\"}}]}",
	        1, 2, l.manifest, layout_architecture());
	CHECK_OK(file_put(AT_FDCWD, path, str_of(index), 0644, e));
	import_ok("multi", l.dir, &r);
	want = strf("sha256:%s", l.manifest);
	CHECK_STR(r.digest, want);
	import_result_fini(&r);
	free(l.dir);
}

/* --- a crash, and company --- */

TEST(a_killed_import_leaves_nothing_after_the_next)
{
	_cleanup_free_ char *fifo = in_tmp("never-ending"), *tar = NULL;
	static const struct item items[] = { { "train", 0, "x", 0755 } };
	struct mono start;
	pid_t pid;
	int end;

	if (cannot_run())
		return;
	CHECK(mkfifo(fifo, 0600) == 0);
	pid = fork();
	if (pid == 0) {
		struct import_result r = { 0 };

		_exit(import("killed", fifo, &r, NULL) < 0);
	}
	end = open(fifo, O_WRONLY | O_CLOEXEC); /* it has opened the other, so its work directory is there */
	CHECK_INT(work_left(), 1);
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid);
	tar = tar_of("a.tar", items, 1);
	start = mono_now();
	do { /* its child dies of its death, but a moment later, and until then the directory is in use */
		struct import_result r = { 0 };

		import_ok("next", tar, &r);
		import_result_fini(&r);
	} while (work_left() && mono_ms_since(start) < 10000);
	check_store_is_clean();
	close(end);
}

TEST(imports_at_once_do_not_disturb_each_other)
{
	static const struct item items[] = { { "train", 0, "x", 0755 } };
	_cleanup_free_ char *tar = NULL;
	struct import_options o = options();
	json_t *list = NULL;

	if (cannot_run())
		return;
	tar = tar_of("a.tar", items, 1);
	for (int p = 0; p < 8; p++) {
		_cleanup_free_ char *name = strf("n%d", p % 4);
		struct import_result r = { 0 };

		if (fork() == 0)
			_exit(import(name, tar, &r, NULL) < 0);
	}
	for (int p = 0; p < 8; p++) {
		int status = -1;

		CHECK(wait(&status) > 0);
		CHECK_INT(status, 0);
	}
	CHECK_OK(image_list(o.images_dir, &list, e));
	CHECK_INT(json_array_size(list), 4);
	json_decref(list);
	check_store_is_clean();
}

/* --- a registry --- */

/* Serves a layout as a registry would: the API version, one manifest under any name, blobs by digest. Runs in a child
 * until it is killed. */
static _Noreturn void serve(int listener, const struct made_layout *l)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		_cleanup_close_ int c = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		_cleanup_buf_ struct buf body = { 0 };
		_cleanup_free_ char *path = NULL, *head = NULL;
		char request[8192] = { 0 }, name[512] = { 0 };
		const char *type = "application/octet-stream", *digest;
		size_t n = 0;
		bool found = true;

		buf_init(&body);
		while (n < sizeof(request) - 1 && !strstr(request, "\r\n\r\n")) {
			ssize_t got = read(c, request + n, sizeof(request) - 1 - n);

			if (got <= 0 || request[0] == 0x16) /* a TLS hello */
				break;
			n += (size_t)got;
		}
		if (sscanf(request, "%*s %500s", name) != 1)
			continue;
		digest = strstr(name, "sha256:");
		while (strstr(name, "/manifests/hang"))
			pause();
		if (strstr(name, "/manifests/none")) {
			found = false;
		} else if (strstr(name, "/manifests/")) {
			type = "application/vnd.oci.image.manifest.v1+json";
			path = strf("%s/blobs/sha256/%s", l->dir, l->manifest);
		} else if (digest) {
			path = strf("%s/blobs/sha256/%s", l->dir, digest + 7);
		}
		if (path && file_read(path, 1 << 24, &body, NULL) < 0)
			found = false;
		head = strf("HTTP/1.1 %s\r\nContent-Length: %zu\r\nContent-Type: %s\r\nConnection: close\r\n"
		            "Docker-Distribution-API-Version: registry/2.0\r\n\r\n",
		            found ? "200 OK" : "404 Not Found", body.n, type);
		if (fd_write_all(c, head, strlen(head), NULL) < 0 || strncmp(request, "HEAD", 4) == 0 ||
		    fd_write_all(c, body.p, body.n, NULL) < 0)
			continue;
	}
}

TEST(an_image_is_pulled_from_a_registry)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	_cleanup_close_ int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_free_ char *registry = NULL, *name = NULL, *missing = NULL, *hanging = NULL;
	struct conf conf = { .registry_insecure = "" };
	struct conf_registry ca = { .kind = CONF_REGISTRY_CA, .value = "/nothing" };
	struct import_options o = options();
	struct import_result r = { 0 }, again = { 0 };
	socklen_t n = sizeof(at);
	struct err why = { 0 };
	struct made_layout l;
	pid_t server;

	if (cannot_run() || no_tool("/usr/bin/skopeo"))
		return;
	l = two_layers("oci");
	CHECK(bind(listener, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(listener, 64) == 0);
	CHECK(getsockname(listener, (struct sockaddr *)&at, &n) == 0);
	server = fork();
	if (server == 0)
		serve(listener, &l);
	registry = strf("127.0.0.1:%d", ntohs(at.sin_port));
	name = strf("%s/team/algo:1", registry);
	missing = strf("%s/team/algo:none", registry);
	o.conf = &conf; /* this machine's own may do without TLS */
	CHECK_OK(image_pull(&o, str_of(name), STR(""), &r, e));
	CHECK_STR(r.reference, name);
	check_two_layers(name);
	CHECK_OK(image_pull(&o, str_of(name), STR("algo:1"), &again, e));
	CHECK_STR(again.reference, "algo:1");
	CHECK(again.reused);
	CHECK(image_pull(&o, str_of(missing), STR(""), &again, &why) < 0);
	CHECK_INT(why.kind, ERR_CLIENT);
	CHECK(!strncmp(why.frame[why.depth - 1], "Cannot pull algorithm container. Either the image does not exist or",
	               67));
	ca.name = registry; /* then TLS is insisted on, which this server does not speak */
	ca.value = "/etc/ssl/certs/ca-certificates.crt";
	conf.registry = &ca;
	conf.registry_count = 1;
	CHECK(image_pull(&o, str_of(name), STR(""), &again, &why) < 0 && why.kind == ERR_CLIENT);
	hanging = strf("%s/team/algo:hang", registry);
	conf.registry_count = 0;
	o.stall_s = 1;
	CHECK(image_pull(&o, str_of(hanging), STR(""), &again, &why) < 0 && why.kind == ERR_CLIENT);
	CHECK(strstr(why.frame[why.depth - 1], "the registry has sent nothing for 1 seconds"));
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	import_result_fini(&r);
	import_result_fini(&again);
	free(l.dir);
	check_store_is_clean();
}

TEST(exit_statuses_carry_the_kind)
{
	static const enum err_kind kinds[] = { ERR_NOT_FOUND, ERR_IN_USE, ERR_INVALID, ERR_CLIENT, ERR_IO };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		CHECK_INT(image_exit_kind(image_exit_status(kinds[i])), kinds[i]);
	CHECK_INT(image_exit_status(ERR_BUG), IMAGE_EXIT_FAILED);
	CHECK_INT(image_exit_kind(77), ERR_IO);
}
