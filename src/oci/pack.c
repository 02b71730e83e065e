/* An image lent to another machine: its root file system as one archive, beside it what image.json says.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The archive is made once and stays with the image, whose directory it goes with. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "oci/dirtar.h"
#include "oci/image.h"
#include "oci/image_store.h"
#include "oci/import.h"

enum { IMAGE_JSON_MAX = 1 << 20 };

/* What it holds is the image's: root's file, but not root's words. */
static int mark(int fd, struct err *e)
{
	return fd_mark_data(fd) < 0 ? err_sys(e, "marking the archive as data") : 0;
}

static int write_archive(int images, int work, const char *rootfs, const char *name, const char *to, struct err *e)
{
	_cleanup_close_ int from = openat(images, rootfs, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), fd = -EBADF;
	_cleanup_free_ char *made = strf("%s/rootfs.tar", name);

	if (from < 0)
		return err_sys(e, "opening the image's files");
	fd = openat(work, "rootfs.tar", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_sys(e, "making an archive");
	if (dirtar_write(from, fd, e) < 0 || mark(fd, e) < 0)
		return -1;
	if (fsync(fd) < 0 || renameat(images, made, images, to) < 0)
		return err_sys(e, "keeping the archive");
	return 0;
}

static int make_archive(int images, const char *hex, const char *to, struct err *e)
{
	_cleanup_free_ char *rootfs = strf("sha256-%s/rootfs", hex), *name = NULL;
	_cleanup_close_ int work = image_store_work_new(images, &name, e);
	int rc;

	if (work < 0)
		return -1;
	rc = write_archive(images, work, rootfs, name, to, e);
	if (remove_tree(images, name, NULL) < 0)
		(void)0; /* the next one sweeps it */
	return rc;
}

/* A copy, as the image's own may not have marks or other names. */
static int tell_about(int images, const char *hex, int into, struct err *e)
{
	_cleanup_free_ char *path = strf("sha256-%s/image.json", hex);
	_cleanup_buf_ struct buf text = { 0 };
	_cleanup_close_ int fd = -EBADF;

	if (file_read_at(images, path, IMAGE_JSON_MAX, &text, e) < 0)
		return -1;
	if (unlinkat(into, "image.json.new", 0) < 0 && errno != ENOENT)
		return err_sys(e, "removing an old image.json.new");
	fd = openat(into, "image.json.new", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_sys(e, "making image.json");
	if (mark(fd, e) < 0 || fd_write_all(fd, text.p, text.n, e) < 0)
		return -1;
	return renameat(into, "image.json.new", into, "image.json") < 0 ? err_sys(e, "making image.json") : 0;
}

static int pack(int images, const char *hex, int into, struct err *e)
{
	_cleanup_free_ char *archive = strf("sha256-%s/rootfs.tar", hex);

	if (faccessat(images, archive, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && make_archive(images, hex, archive, e) < 0)
		return -1;
	if (unlinkat(into, "image.tar", 0) < 0 && errno != ENOENT)
		return err_sys(e, "removing an old archive");
	if (linkat(images, archive, into, "image.tar", 0) < 0)
		return err_sys(e, "lending the archive");
	return tell_about(images, hex, into, e);
}

int image_pack(const char *images_dir, struct str name, int into, struct err *e)
{
	_cleanup_close_ int images = -EBADF, hold = -EBADF;
	struct image found = { 0 };
	struct str hex;
	int rc = -1;

	if (image_find(images_dir, name, &found, e) < 0)
		return -1;
	images = image_store_open(images_dir, e);
	hold = images < 0 ? -1 : image_hold(&found, e);
	hex = str_of(found.digest);
	if (hold >= 0 && str_skip(&hex, STR("sha256:")))
		rc = pack(images, hex.p, into, e);
	image_fini(&found);
	return rc < 0 ? err_in(e, "packing the image " PRIstr, ARGstr(name)) : 0;
}

/* ---- the other side ---- */

static bool texts(const json_t *list)
{
	const json_t *v;
	size_t i;

	json_array_foreach (list, i, v)
		if (!json_is_string(v))
			return false;
	return json_is_array(list);
}

int image_like_read(const char *path, json_t **ret, struct err *e)
{
	static const char *const lists[] = { "Entrypoint", "Cmd", "Env" }, *const words[] = { "WorkingDir", "User",
		                                                                              "architecture",
		                                                                              "digest" };
	_cleanup_buf_ struct buf text = { 0 };
	json_t *j;
	bool ok = true;

	if (file_read(path, IMAGE_JSON_MAX, &text, e) < 0)
		return -1;
	j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		ok &= texts(json_object_get(j, lists[i]));
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		ok &= json_is_string(json_object_get(j, words[i]));
	if (!ok || !digest_valid(str_of(json_string_value(json_object_get(j, "digest"))))) {
		json_decref(j);
		return err_set(e, ERR_INVALID, "%s does not say what an image is", path);
	}
	*ret = j;
	return 0;
}
