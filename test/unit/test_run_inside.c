/* The container's files as seen from outside, when the container means harm. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "run/phase.h"

static int root(void)
{
	_cleanup_close_ int fd = open(test_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_OK(mkdir_all(fd, "r/opt/ml/output", 0755, e));
	return openat(fd, "r", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static char *failure(int fd)
{
	struct buf b = { 0 };

	inside_read(fd, "/opt/ml/output/failure", 16, &b);
	return b.p ? buf_take(&b) : xstrdup("");
}

#define FAILURE "opt/ml/output/failure"

TEST(inside_reads_a_file_up_to_its_limit)
{
	_cleanup_close_ int fd = root();
	_cleanup_free_ char *got = NULL;

	CHECK_OK(file_put(fd, FAILURE, STR("0123456789abcdefXYZ"), 0600, e));
	got = failure(fd);
	CHECK_STR(got, "0123456789abcdef");
}

TEST(inside_a_missing_file_is_nothing)
{
	_cleanup_close_ int fd = root();
	_cleanup_free_ char *got = failure(fd);

	CHECK_STR(got, "");
}

TEST(inside_links_are_not_followed)
{
	static const char *const targets[] = { "/etc/passwd", "../../../../etc/passwd", "other", "/proc/self/environ" };

	for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
		_cleanup_close_ int fd = root();
		_cleanup_free_ char *got = NULL;

		CHECK_OK(file_put(fd, "opt/ml/output/other", STR("other"), 0644, e));
		CHECK(symlinkat(targets[i], fd, FAILURE) == 0);
		got = failure(fd);
		CHECK_STR(got, "");
		CHECK_OK(remove_tree(AT_FDCWD, test_tmpdir(), e));
		(void)!mkdir(test_tmpdir(), 0700);
	}
}

TEST(inside_a_link_on_the_way_is_not_followed)
{
	_cleanup_close_ int fd = root();
	_cleanup_free_ char *got = NULL;
	struct err why = { 0 };

	CHECK_OK(remove_tree(fd, "opt/ml", e));
	CHECK(symlinkat("/etc", fd, "opt/ml") == 0);
	got = failure(fd);
	CHECK_STR(got, "");
	CHECK(inside_open(fd, "/opt/ml/ssl", O_RDONLY | O_DIRECTORY, &why) < 0);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
}

TEST(inside_special_files_do_not_block)
{
	_cleanup_close_ int fd = root();
	_cleanup_free_ char *got = NULL, *dir = NULL;

	CHECK(mkfifoat(fd, FAILURE, 0600) == 0);
	got = failure(fd);
	CHECK_STR(got, "");
	CHECK(unlinkat(fd, FAILURE, 0) == 0);
	CHECK(mkdirat(fd, FAILURE, 0755) == 0);
	dir = failure(fd);
	CHECK_STR(dir, "");
}

TEST(inside_mkdir_makes_what_is_missing)
{
	_cleanup_close_ int fd = root();
	struct stat st;

	umask(022);
	CHECK_OK(inside_mkdir(fd, "/srv/app/./work/", e));
	CHECK(fstatat(fd, "srv/app/work", &st, 0) == 0);
	CHECK_INT(st.st_mode & 07777, 0755);
	CHECK_OK(inside_mkdir(fd, "/srv/app/work", e));
	CHECK_OK(inside_mkdir(fd, "/", e));
}

TEST(inside_mkdir_follows_links_as_the_container_would)
{
	_cleanup_close_ int fd = root();
	struct stat st;

	CHECK(mkdirat(fd, "real", 0755) == 0);
	CHECK(symlinkat("/real", fd, "link") == 0);
	CHECK(symlinkat("../../../../../..", fd, "up") == 0);
	CHECK_OK(inside_mkdir(fd, "/link/sub", e));
	CHECK(fstatat(fd, "real/sub", &st, 0) == 0);
	CHECK_OK(inside_mkdir(fd, "/up/stays", e));
	CHECK(fstatat(fd, "stays", &st, 0) == 0);
}

TEST(inside_mkdir_says_when_a_file_is_in_the_way)
{
	_cleanup_close_ int fd = root();
	struct err why = { 0 };

	CHECK_OK(file_put(fd, "file", STR("x"), 0644, e));
	CHECK(inside_mkdir(fd, "/file/sub", &why) < 0);
	CHECK(str_find(str_of(why.frame[0]), STR("/file/sub")) >= 0);
}

static void fill(int fd, const char *path, size_t bytes)
{
	char *p = xcalloc(1, bytes);

	memset(p, 'x', bytes);
	CHECK_OK(file_put(fd, path, (struct str){ p, bytes }, 0644, e));
	free(p);
}

TEST(inside_largest_names_directories_by_their_own_bytes)
{
	_cleanup_close_ int fd = root();
	struct buf b = { 0 };

	CHECK_OK(mkdir_all(fd, "opt/ml/model/deep/er", 0755, e));
	CHECK_OK(mkdir_all(fd, "tmp", 0755, e));
	fill(fd, "opt/ml/model/deep/er/big", 3 << 20);
	fill(fd, "opt/ml/output/some", 1 << 20);
	fill(fd, "tmp/little", 64 << 10);
	CHECK(symlinkat("/", fd, "loop") == 0);
	inside_largest(fd, 2, &b);
	CHECK(str_starts(buf_view(&b), STR("/opt/ml/model 3 MiB, /opt/ml/output 1 MiB")));
	CHECK(str_find(buf_view(&b), STR("tmp")) < 0);
	buf_fini(&b);
}

TEST(inside_largest_of_nothing)
{
	_cleanup_close_ int fd = root();
	struct buf b = { 0 };

	CHECK_OK(remove_tree(fd, "opt", e));
	inside_largest(fd, 3, &b);
	CHECK_INT(b.n, 0);
	buf_fini(&b);
}
