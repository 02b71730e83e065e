/* One file of an image: its mode, and whether it is a secret. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "oci/scan_inside.h"

enum { LOOK_BYTES = 64 << 10 };

static bool below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(path, dir, n) == 0 && (path[n] == '/' || !path[n]);
}

/* What programs are started from, and what they are told by. */
static bool is_system(const char *path)
{
	static const char *const dirs[] = { "etc", "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "boot" };

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		if (below(path, dirs[i]))
			return true;
	return false;
}

static void check_mode(struct scan *s, const char *path, const struct stat *st)
{
	bool system = is_system(path);

	if (!(st->st_mode & S_IWOTH) || S_ISLNK(st->st_mode))
		return;
	if (S_ISDIR(st->st_mode) && !(st->st_mode & S_ISVTX))
		scan_finding(s, system ? SCAN_HIGH : SCAN_MEDIUM, "world-writable", path,
		             "everybody may replace the files of this directory (mode %04o)", st->st_mode & 07777);
	else if (S_ISREG(st->st_mode))
		scan_finding(s, system ? SCAN_HIGH : SCAN_MEDIUM, "world-writable", path,
		             "everybody may write to this file (mode %04o)", st->st_mode & 07777);
}

/* ---- programs with rights of their own ---- */

static bool is_login(const char *path)
{
	const char *leaf = strrchr(path, '/');

	leaf = leaf ? leaf + 1 : path;
	return !strcmp(leaf, "su") || !strcmp(leaf, "login") || !strcmp(leaf, "sudo");
}

static void check_rights(struct scan *s, int dir, const char *leaf, const char *path, const struct stat *st)
{
	bool writable = st->st_mode & S_IWOTH;

	if (!(st->st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)))
		return;
	if (st->st_mode & S_ISUID) {
		scan_suspect(s, path, "setuid", writable, "runs as user %u whoever starts it (mode %04o)",
		             (unsigned)st->st_uid, st->st_mode & 07777);
		s->can_log_in |= st->st_uid == 0 && is_login(path);
	}
	if ((st->st_mode & S_ISGID) && (st->st_mode & S_IXGRP))
		scan_suspect(s, path, "setgid", writable, "runs as group %u whoever starts it (mode %04o)",
		             (unsigned)st->st_gid, st->st_mode & 07777);
	if (!strcmp(path, "usr/sbin/sshd"))
		s->can_log_in = true;
	if (st->st_size) {
		_cleanup_close_ int fd = openat(dir, leaf, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : fgetxattr(fd, "security.capability", NULL, 0);

		if (n > 0)
			scan_suspect(s, path, "capabilities", writable, "has capabilities whoever starts it");
	}
}

/* ---- secrets ---- */

static bool leaf_is(const char *leaf, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(leaf, names[i]))
			return true;
	return false;
}

static bool ends(const char *path, const char *tail)
{
	return str_ends(str_of(path), str_of(tail));
}

/* The files in which programs keep passwords and tokens; what has to be in one of these, NULL: anything. */
static const struct {
	const char *tail, *holds, *what;
} keepers[] = {
	{ ".aws/credentials", "aws_secret_access_key", "keys of an AWS account" },
	{ "/.netrc", "password", "passwords of hosts" },
	{ "/.git-credentials", "://", "passwords of git servers" },
	{ "/.docker/config.json", "\"auth\"", "passwords of registries" },
	{ "/.pgpass", ":", "passwords of databases" },
	{ "/.pypirc", "password", "a password of a package index" },
	{ "/.npmrc", "_authToken", "a token of a package registry" },
	{ "/.kube/config", "client-key-data", "a key of a cluster" },
	{ "/.config/gcloud/application_default_credentials.json", "\"", "credentials of a cloud account" },
	{ "/.ssh/authorized_keys", "ssh-", "keys that may log in" },
	{ "/.rhosts", "", "hosts that may log in without a password" },
};

static bool holds(int dir, const char *leaf, const char *what)
{
	_cleanup_close_ int fd = openat(dir, leaf, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	_cleanup_free_ char *text = xcalloc(1, LOOK_BYTES);
	size_t n = 0;

	if (fd < 0 || fd_read_full(fd, text, LOOK_BYTES, &n, NULL) < 0)
		return false;
	return str_find((struct str){ text, n }, str_of(what)) >= 0;
}

/* A key of whoever made the image, rather than one of a library's tests. */
static bool is_somebodys(const char *path)
{
	static const char *const dirs[] = { "root", "home", "etc" };

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		if (below(path, dirs[i]))
			return true;
	return strstr(path, ".ssh/") != NULL;
}

static void check_secret(struct scan *s, int dir, const char *leaf, const char *path, const struct stat *st)
{
	static const char *const keys[] = { "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519" };
	_cleanup_free_ char *rooted = strf("/%s", path);

	if (!st->st_size)
		return;
	for (size_t i = 0; i < ARRAY_LEN(keepers); i++)
		if (ends(rooted, keepers[i].tail) && holds(dir, leaf, keepers[i].holds))
			scan_finding(s, SCAN_HIGH, "secret", path, "holds %s", keepers[i].what);
	if ((leaf_is(leaf, keys, ARRAY_LEN(keys)) || ends(leaf, ".pem") || ends(leaf, ".key") || ends(leaf, "_key")) &&
	    holds(dir, leaf, "PRIVATE KEY-----"))
		scan_finding(s, leaf_is(leaf, keys, ARRAY_LEN(keys)) || is_somebodys(path) ? SCAN_HIGH : SCAN_LOW,
		             "secret", path, "is a private key, the same in every copy of the image");
}

void scan_file(struct scan *s, int dir, const char *leaf, const char *path, const struct stat *st)
{
	check_mode(s, path, st);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		/* an overlay's mark of a removed file is one with the numbers 0, 0 */
		if (st->st_rdev)
			scan_finding(s, SCAN_HIGH, "device", path, "is a device node");
		return;
	}
	if (!S_ISREG(st->st_mode))
		return;
	s->files++;
	s->bytes += (uint64_t)st->st_size;
	check_rights(s, dir, leaf, path, st);
	check_secret(s, dir, leaf, path, st);
}
