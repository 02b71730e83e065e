/* An image on its way to another store. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "oci/image.h"
#include "oci/import.h"

static char *path_of(const char *leaf)
{
	return strf("%s/%s", test_tmpdir(), leaf);
}

static void make_source(const char *dir)
{
	int fd;

	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK_OK(mkdir_all(fd, "etc", 0750, e));
	CHECK_OK(file_put(fd, "etc/secret", STR("only root's"), 0600, e));
	CHECK_OK(file_put(fd, "oci-layout", STR("not one, but it looks so"), 0644, e));
	CHECK(linkat(fd, "etc/secret", fd, "twin", 0) == 0 && symlinkat("etc/secret", fd, "link") == 0);
	CHECK(fchownat(fd, "etc", 12, 34, 0) == 0);
	close(fd);
}

static int open_into(const char *leaf)
{
	_cleanup_free_ char *dir = path_of(leaf);

	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

TEST(a_packed_image_is_the_same_in_another_store)
{
	static const char *const entrypoint[] = { "/run", "me", NULL }, *const env[] = { "A=b", NULL };
	_cleanup_free_ char *here = path_of("here"), *there = path_of("there"), *source = path_of("source"),
	                    *like = path_of("job/image.json"), *tar = path_of("job/image.tar"), *first = NULL;
	struct import_options o = { .images_dir = here, .entrypoint = entrypoint, .env = env };
	struct import_result r = { 0 };
	struct image found = { 0 };
	_cleanup_close_ int into = -EBADF, again = -EBADF, root = -EBADF;
	struct stat a, b;

	if (geteuid() != 0) {
		test_skip("images are root's");
		return;
	}
	make_source(source);
	CHECK_OK(image_import(&o, STR("mine"), source, &r, e));
	first = xstrdup(r.digest);
	import_result_fini(&r);
	into = open_into("job");
	CHECK_OK(image_pack(here, STR("mine"), into, e));
	again = open_into("job2");
	CHECK_OK(image_pack(here, STR("mine"), again, e)); /* the archive is there already */
	CHECK(fstatat(into, "image.tar", &a, 0) == 0 && fstatat(again, "image.tar", &b, 0) == 0 &&
	      a.st_ino == b.st_ino);
	CHECK(image_pack(here, STR("other"), into, NULL) < 0);

	o = (struct import_options){ .images_dir = there, .like = like };
	CHECK_OK(image_import(&o, STR("mine"), tar, &r, e));
	CHECK_STR(r.digest, first);
	import_result_fini(&r);
	CHECK_OK(image_find(there, STR("mine"), &found, e));
	CHECK_STR(found.entrypoint[1], "me");
	CHECK_STR(found.env[0], "A=b");
	root = open(found.rootfs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fstatat(root, "etc", &a, 0) == 0 && a.st_uid == 12 && a.st_gid == 34 && (a.st_mode & 07777) == 0750);
	CHECK(fstatat(root, "etc/secret", &a, 0) == 0 && fstatat(root, "twin", &b, 0) == 0 && a.st_ino == b.st_ino);
	CHECK((a.st_mode & 07777) == 0600);
	CHECK(fstatat(root, "link", &a, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(a.st_mode));
	image_fini(&found);
}

TEST(what_does_not_say_what_an_image_is_is_refused)
{
	static const char *const bad[] = {
		"",
		"null",
		"{}",
		"{\"Entrypoint\":[],\"Cmd\":[],\"Env\":[1],\"WorkingDir\":\"/"
		"\",\"User\":\"\",\"architecture\":\"\",\"digest\":"
		"\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"}",
		"{\"Entrypoint\":[],\"Cmd\":[],\"Env\":[],\"WorkingDir\":\"/"
		"\",\"User\":\"\",\"architecture\":\"\",\"digest\":"
		"\"sha256:../../../../../../../../../../../../../../../../../../../../../00\"}",
	};
	_cleanup_free_ char *path = path_of("image.json");
	json_t *j;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CHECK_OK(file_put(AT_FDCWD, path, str_of(bad[i]), 0644, e));
		CHECK(image_like_read(path, &j, NULL) < 0);
	}
}
