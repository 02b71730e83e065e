/* SPDX-License-Identifier: Apache-2.0 */
#include "product/shelf.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

enum { PRODUCT_JSON_MAX = 8 << 20, SELLERS_MAX_BYTES = 4 << 20, DIGITS = 32 };

/* ---- the directory ---- */

static int check(int fd, const char *path, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "looking at %s", path);
	if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return err_set(e, ERR_DENIED, "%s is to be root's, and nobody else's to write to", path);
	return 0;
}

int shelf_open(const char *data_dir, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/products", data_dir);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "there are no products in %s", data_dir);
	if (fd < 0)
		return err_sys(e, "opening %s", path);
	return check(fd, path, e) < 0 ? -1 : take_fd(fd);
}

/* For the group that bloomeryd is in, which is the data directory's. */
static int make(const char *data_dir, const char *path, struct err *e)
{
	struct stat st;

	if (stat(data_dir, &st) < 0)
		return err_sys(e, "looking at %s", data_dir);
	if (mkdir(path, 0700) < 0)
		return errno == EEXIST ? 0 : err_sys(e, "making %s", path);
	if (geteuid() == 0 && lchown(path, 0, st.st_gid) < 0)
		return err_sys(e, "giving %s to bloomeryd's group", path);
	return chmod(path, 0750) < 0 ? err_sys(e, "opening %s to bloomeryd's group", path) : 0;
}

static void sweep(int shelf)
{
	DIR *d = fdopendir(openat(shelf, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *ent;

	while (d && (ent = readdir(d)))
		if (!strncmp(ent->d_name, ".new-", 5) || !strncmp(ent->d_name, ".old-", 5))
			(void)(remove_tree(shelf, ent->d_name, NULL) == 0); /* the next one tries again */
	if (d)
		closedir(d);
}

int shelf_lock(const char *data_dir, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/products", data_dir);
	_cleanup_close_ int fd = -EBADF;

	if (make(data_dir, path, e) < 0)
		return -1;
	fd = shelf_open(data_dir, e);
	if (fd < 0)
		return -1;
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return err_sys(e, "locking %s", path);
	sweep(fd);
	return take_fd(fd);
}

/* ---- products ---- */

bool shelf_name_valid(struct str name)
{
	struct str head = name, digits = str_cut_last(&head, '-');

	if (name.n > 63 || !head.n || digits.n != DIGITS || head.p[0] == '-')
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];
		bool digit = c >= '0' && c <= '9';

		if (i > head.n ? !digit && !(c >= 'a' && c <= 'f') : !digit && !(c >= 'a' && c <= 'z') && c != '-')
			return false;
	}
	return true;
}

int shelf_read(int shelf, const char *name, json_t **ret, struct err *e)
{
	static const char *const texts[] = { "name", "account", "seller", "algorithm", "image" };
	_cleanup_free_ char *path = strf("%s/product.json", name);
	_cleanup_buf_ struct buf text = { 0 };
	bool good = true;
	json_t *j;

	if (!shelf_name_valid(str_of(name)))
		return err_set(e, ERR_NOT_FOUND, "there is no product %s", name);
	if (file_read_at(shelf, path, PRODUCT_JSON_MAX, &text, e) < 0)
		return -1;
	j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		good &= json_is_string(json_object_get(j, texts[i]));
	good = good && json_is_object(json_object_get(j, "request")) && json_is_object(json_object_get(j, "details")) &&
	       json_is_array(json_object_get(j, "images")) && json_is_integer(json_object_get(j, "imported_ms")) &&
	       !strcmp(json_string_value(json_object_get(j, "name")), name);
	if (!good) {
		json_decref(j);
		return err_set(e, ERR_INVALID, "%s does not say what a product is; import it again", path);
	}
	*ret = j;
	return 0;
}

int shelf_each(int shelf, int (*fn)(const char *name, void *arg, struct err *e), void *arg, struct err *e)
{
	DIR *d = fdopendir(openat(shelf, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *ent;
	int rc = 0;

	if (!d)
		return err_sys(e, "reading the products");
	while (rc == 0 && (ent = readdir(d)))
		if (shelf_name_valid(str_of(ent->d_name)))
			rc = fn(ent->d_name, arg, e);
	closedir(d);
	return rc;
}

/* ---- sellers ---- */

static int read_sellers(int shelf, struct buf *out, struct err *e)
{
	struct err why = { 0 };

	if (file_read_at(shelf, "sellers", SELLERS_MAX_BYTES, out, &why) == 0 || why.kind == ERR_NOT_FOUND)
		return 0;
	if (e)
		*e = why;
	return err_in(e, "reading the list of trusted sellers");
}

static bool has(struct str text, const char *fingerprint)
{
	while (text.n) {
		struct str line = str_trim(str_cut(&text, '\n'));

		if (str_is(str_cut(&line, ' '), fingerprint))
			return true;
	}
	return false;
}

int shelf_trusts(int shelf, const char *fingerprint, bool *ret, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };

	if (read_sellers(shelf, &text, e) < 0)
		return -1;
	*ret = has(buf_view(&text), fingerprint);
	return 0;
}

int shelf_trust(int shelf, const char *fingerprint, const char *words, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };

	if (read_sellers(shelf, &text, e) < 0)
		return -1;
	if (has(buf_view(&text), fingerprint))
		return 0;
	if (text.n && text.p[text.n - 1] != '\n')
		buf_c(&text, '\n');
	buf_f(&text, "%s %s\n", fingerprint, words);
	return file_write_atomic(shelf, "sellers", buf_view(&text), 0644, true, e);
}
