/* Images that algorithms and models name by their digests: <data>/pins/<hex> is an empty file for each, for who removes
 * images (oci/image.h). SPDX-License-Identifier: Apache-2.0
 *
 * A pin is there before what names its image is stored, and goes after that has gone; what a kill leaves between is
 * found at the next start. The loop's thread. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "job/control.h"

enum { HEX_BYTES = 64 };

static bool is_hex(struct str s)
{
	size_t n = 0;

	while (n < HEX_BYTES && n < s.n && ((s.p[n] >= '0' && s.p[n] <= '9') || (s.p[n] >= 'a' && s.p[n] <= 'f')))
		n++;
	return n == HEX_BYTES;
}

/* The next digest in a text, which is moved behind it. */
static bool next_digest(struct str *text, struct str *ret)
{
	ptrdiff_t at;

	while ((at = str_find(*text, STR("sha256:"))) >= 0) {
		*text = (struct str){ text->p + at + 7, text->n - (size_t)at - 7 };
		if (is_hex(*text)) {
			*ret = (struct str){ text->p, HEX_BYTES };
			return true;
		}
	}
	return false;
}

int pins_add(struct jobs *js, const char *text, struct err *e)
{
	struct str rest = text ? str_of(text) : (struct str){ 0 }, hex;
	_cleanup_free_ char *dir = strf("%s/pins", js->data_dir);
	_cleanup_close_ int fd = -EBADF;

	while (next_digest(&rest, &hex)) {
		_cleanup_free_ char *leaf = str_dup(hex);
		_cleanup_close_ int pin = -EBADF;

		if (fd < 0 && mkdir_all(AT_FDCWD, dir, 0700, e) < 0)
			return -1;
		if (fd < 0)
			fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		pin = fd < 0 ? -1 : openat(fd, leaf, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (pin < 0)
			return err_sys(e, "pinning the image sha256:%s in %s", leaf, dir);
	}
	return fd >= 0 && fsync(fd) < 0 ? err_sys(e, "syncing %s", dir) : 0;
}

struct wanted {
	char (*hex)[HEX_BYTES];
	size_t n, room;
};

static void want(const char *text, void *arg)
{
	struct wanted *w = arg;
	struct str rest = str_of(text), hex;

	while (next_digest(&rest, &hex)) {
		if (w->n == w->room) {
			w->room = w->room ? 2 * w->room : 64;
			w->hex = xrealloc(w->hex, w->room * sizeof(*w->hex));
		}
		memcpy(w->hex[w->n++], hex.p, HEX_BYTES);
	}
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, HEX_BYTES);
}

void pins_sweep(struct jobs *js)
{
	_cleanup_free_ char *path = strf("%s/pins", js->data_dir), *hexes = NULL;
	struct wanted w = { 0 };
	struct err e = { 0 };
	struct dirent *one;
	DIR *d;

	if (store_pins_each(js->store, want, &w, &e) < 0) {
		log_err(LOG_WARN, &e, "looking for images that are not pinned any more");
		free(w.hex);
		return;
	}
	hexes = (char *)w.hex;
	if (w.n)
		qsort(hexes, w.n, HEX_BYTES, compare);
	d = opendir(path);
	while (d && (one = readdir(d)))
		if (one->d_name[0] != '.' &&
		    (strlen(one->d_name) != HEX_BYTES || !w.n || !bsearch(one->d_name, hexes, w.n, HEX_BYTES, compare)))
			(void)unlinkat(dirfd(d), one->d_name, 0);
	if (d)
		closedir(d);
}
