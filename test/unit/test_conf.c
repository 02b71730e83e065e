/* bloomery.conf: settings, file systems, and what root takes from it. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/fd.h"
#include "harness.h"

static char *write_conf(const char *text)
{
	char *path = strf("%s/bloomery.conf", test_tmpdir());

	CHECK_OK(file_put(AT_FDCWD, path, str_of(text), 0644, e));
	CHECK(chmod(path, 0644) == 0);
	return path;
}

/* What is said about the text, after the path. */
static char *refusal(const char *text)
{
	_cleanup_free_ char *path = write_conf(text);
	struct err why = { 0 };
	struct conf c;
	char *said;

	conf_init(&c);
	CHECK(conf_read(&c, path, &why) < 0);
	CHECK_INT(why.kind, ERR_INVALID);
	CHECK(str_starts(str_of(why.frame[0]), str_of(path)));
	said = xstrdup(why.frame[0] + strlen(path));
	conf_fini(&c);
	return said;
}

#define CHECK_REFUSED(text, says)                               \
	do {                                                    \
		_cleanup_free_ char *said_ = refusal(text);     \
		CHECK(str_find(str_of(said_), STR(says)) >= 0); \
		if (str_find(str_of(said_), STR(says)) < 0)     \
			CHECK_STR(said_, says);                 \
	} while (0)

TEST(conf_file_systems_by_id)
{
	_cleanup_free_ char *path = write_conf("# where things are\n"
	                                       "file_system.fs-0123456789abcdef0 = /srv/data sets\n"
	                                       "fastfile_links_max=0\n"
	                                       "  file_system.fs-00000001=mount  nfs -o %o,x=50%%\tnas:/a%d  \n");
	const struct conf_file_system *fs;
	struct conf c;
	char **argv;

	conf_init(&c);
	CHECK_OK(conf_read(&c, path, e));
	CHECK_INT(c.file_system_count, 2);
	CHECK_STR(c.fastfile_links_max, "0");
	fs = conf_file_system(&c, STR("fs-0123456789abcdef0"));
	CHECK_STR(fs->directory, "/srv/data sets");
	CHECK(!fs->mount);
	CHECK(!conf_file_system(&c, STR("fs-0123456789abcdef")));
	fs = conf_file_system(&c, STR("fs-00000001"));
	CHECK(fs && !fs->directory);
	argv = conf_mount_argv(fs, "/here", false);
	CHECK_STR(argv[0], "nfs");
	CHECK_STR(argv[1], "-o");
	CHECK_STR(argv[2], "ro,x=50%");
	CHECK_STR(argv[3], "nas:/a/here");
	CHECK(!argv[4]);
	conf_argv_free(argv);
	argv = conf_mount_argv(fs, "/here", true);
	CHECK_STR(argv[2], "rw,x=50%");
	conf_argv_free(argv);
	conf_fini(&c);
}

TEST(conf_refuses_by_file_and_line)
{
	CHECK_REFUSED("\nfile_system.fs-123 = /d\n", ":2: 'fs-123' is not the id of a file system");
	CHECK_REFUSED("file_system.fs-0123456789abcdef012 = /d\n", ":1: 'fs-0123456789abcdef012' is not the id");
	CHECK_REFUSED("file_system.fs-0000000G = /d\n", "is not the id");
	CHECK_REFUSED("file_system. = /d\n", ":1: '' is not the id");
	CHECK_REFUSED("file_system.fs-00000001 = d\n", ":1: file_system.fs-00000001: 'd' is not an absolute path");
	CHECK_REFUSED("file_system.fs-00000001 =\n", "'' is not an absolute path");
	CHECK_REFUSED("file_system.fs-00000001 = /a/../b\n", "has a \"..\" in it");
	CHECK_REFUSED("file_system.fs-00000001 = mounted %d\n", "is not an absolute path");
	CHECK_REFUSED("file_system.fs-00000001 = mount\n", "has no command");
	CHECK_REFUSED("file_system.fs-00000001 = mount a b\n", "has no %d");
	CHECK_REFUSED("file_system.fs-00000001 = mount a %d %\n", "a '%' that is none");
	CHECK_REFUSED("file_system.fs-00000001 = mount a %d %s\n", "a '%' that is none");
	CHECK_REFUSED("file_system.fs-00000001 = /a\nfile_system.fs-00000001 = /b\n",
	              ":2: file_system.fs-00000001 is there twice");
	CHECK_REFUSED("file_systems = /a\n", ":1: there is no setting 'file_systems'");
	CHECK_REFUSED("fastfile_links_max = many\n", ":1: fastfile_links_max is a number, not 'many'");
	CHECK_REFUSED("gpu_shortage = less\n", ":1: gpu_shortage is fewer or refuse, not 'less'");
	CHECK_REFUSED("cdi_dirs = /a b\n", ":1: cdi_dirs is absolute directories separated by blanks, not '/a b'");
	CHECK_REFUSED("x\n", ":1: 'x' is not `key = value`");
	CHECK_REFUSED("s3_secret_key: 12345\n", ":1: 's3_secret_key' is not `key = value`");
}

static int read_as_root(const char *path, struct err *ret)
{
	struct conf c;
	int rc;

	memset(&c, 0xa5, sizeof(c)); /* as what happens to be on a stack */
	conf_init(&c);
	rc = conf_read_root(&c, path, ret);
	if (rc == 0 && c.file_system_count)
		rc = 1;
	conf_fini(&c);
	return rc;
}

TEST(conf_of_root_only)
{
	_cleanup_free_ char *path = write_conf("file_system.fs-00000001 = /a\n");
	_cleanup_free_ char *other = strf("%s/other", test_tmpdir());
	_cleanup_close_ int fd = -EBADF;
	struct err why = { 0 };

	if (geteuid() != 0) {
		test_skip("needs root");
		return;
	}
	CHECK_INT(read_as_root(path, &why), 1);
	CHECK(link(path, other) == 0);
	CHECK(read_as_root(path, &why) < 0 && str_find(str_of(why.frame[0]), STR("has another name")) >= 0);
	CHECK(unlink(path) == 0 && symlink(other, path) == 0);
	CHECK(read_as_root(path, &why) == 0); /* nothing is taken through a link */
	CHECK_INT(read_as_root(other, &why), 1);
	CHECK(chmod(other, 0664) == 0);
	CHECK(read_as_root(other, &why) < 0 && str_find(str_of(why.frame[0]), STR("can be written by others")) >= 0);
	CHECK(chmod(other, 0644) == 0 && chown(other, 1234, 1234) == 0);
	CHECK(read_as_root(other, &why) < 0 && str_find(str_of(why.frame[0]), STR("is not root's")) >= 0);
	CHECK_INT(why.kind, ERR_DENIED);
	/* An object that root has taken, and that somebody has moved here. */
	CHECK(chown(other, 0, 0) == 0);
	CHECK_INT(read_as_root(other, &why), 1);
	CHECK((fd = open(other, O_RDONLY | O_CLOEXEC)) >= 0 && fd_mark_data(fd) == 0 && fd_is_data(fd));
	CHECK(read_as_root(other, &why) < 0 && str_find(str_of(why.frame[0]), STR("is an object of the store")) >= 0);
	CHECK(unlink(other) == 0);
	/* So is where devices are described. */
	CHECK_OK(file_put(AT_FDCWD, other, STR("cdi_dirs = /somewhere\n"), 0644, e));
	CHECK(chmod(other, 0666) == 0 && read_as_root(other, &why) < 0);
	CHECK(str_find(str_of(why.frame[0]),
	               STR("names cdi_dirs, whose files say what root has to do, but it can be")) >= 0);
	CHECK(chmod(other, 0644) == 0 && read_as_root(other, &why) == 0);
	/* Without file systems there is nothing for root in it, whosever it is. */
	CHECK_OK(file_put(AT_FDCWD, other, STR("region = x\n"), 0644, e));
	CHECK(read_as_root(other, &why) == 0 && read_as_root(path, &why) == 0);
	CHECK(unlink(other) == 0 && mkfifo(other, 0644) == 0);
	CHECK(read_as_root(other, &why) == 0); /* does not wait for a writer */
	CHECK(unlink(path) == 0 && read_as_root(path, &why) == 0);
}

TEST(conf_file_systems_through_a_descriptor)
{
	_cleanup_free_ char *path = write_conf(
	        "region = x\nfile_system.fs-00000001 = /a b\nfile_system.fs-00000002 = mount m %d\n");
	_cleanup_close_ int fd = memfd_create("conf", MFD_CLOEXEC);
	struct conf c, d = { 0 }, none = { 0 };
	struct buf text = { 0 };
	struct err why = { 0 };

	conf_init(&c);
	CHECK_OK(conf_read(&c, path, e));
	conf_host_write(&c, &text);
	CHECK_STR(text.p, "cdi_dirs = /etc/cdi /var/run/cdi\nfile_system.fs-00000001 = /a b\nfile_system.fs-00000002 = "
	                  "mount m %d\n");
	CHECK_OK(fd_write_all(fd, text.p, text.n, e));
	CHECK_OK(conf_host_read(&d, fd, "the file systems", e));
	CHECK_INT(d.file_system_count, 2);
	CHECK_STR(d.file_systems[1].mount, "m %d");
	CHECK_OK(fd_write_all(fd, "region = y\n", 11, e));
	CHECK(conf_host_read(&none, fd, "the file systems", &why) < 0);
	CHECK_INT(why.kind, ERR_INVALID);
	conf_fini(&none);
	conf_fini(&d);
	conf_fini(&c);
	buf_fini(&text);
}

TEST(conf_copied_for_who_may_not_open_it)
{
	_cleanup_free_ char *path = write_conf("region = x\nrole.arn:aws:iam::000000000000:role/r = p.json\n"),
	                    *link = NULL;
	_cleanup_free_ char *beside = strf("%s/p.json", test_tmpdir());
	struct err why = { 0 };
	struct conf c;
	int fd;

	if (geteuid() != 0)
		return test_skip("only root's own files are copied");
	CHECK(chmod(path, 0600) == 0);
	CHECK_OK(conf_copy(path, &fd, e));
	conf_init(&c);
	CHECK_OK(conf_read_copy(&c, fd, path, e));
	CHECK_STR(c.region, "x");
	CHECK_STR(c.role[0].file, beside); /* as if it had been opened itself */
	conf_fini(&c);
	close(fd);

	/* nobody is given what is no configuration, or may have been put there by somebody else */
	link = strf("%s/link", test_tmpdir());
	CHECK(symlink(path, link) == 0);
	CHECK_OK(conf_copy(link, &fd, e));
	CHECK(fd < 0);
	CHECK(chmod(path, 0620) == 0);
	CHECK_OK(conf_copy(path, &fd, e));
	CHECK(fd < 0);
	CHECK(chmod(path, 0600) == 0 && chown(path, 12345, 0) == 0);
	CHECK_OK(conf_copy(path, &fd, e));
	CHECK(fd < 0);
	CHECK_OK(conf_copy("/nothing/there", &fd, e));
	CHECK(fd < 0);
	CHECK(chown(path, 0, 0) == 0);
	CHECK_OK(file_put(AT_FDCWD, path, STR("root:$y$j9T$secret:19000:0:99999:7:::\n"), 0600, e));
	CHECK(conf_copy(path, &fd, &why) < 0 && why.kind == ERR_INVALID && fd < 0);
}
