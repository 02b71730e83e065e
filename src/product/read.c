/* A bundle, read. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "product/inside.h"

enum { SIGNATURE_TEXT_BYTES = 29 + 2 * PRODUCT_KEY_BYTES + 1 + 2 * PRODUCT_SIGNATURE_BYTES + 1 };

static int read_all(int fd, void *into, size_t n, const char *what, struct err *e)
{
	size_t got = 0;

	if (fd_read_full(fd, into, n, &got, e) < 0)
		return err_in(e, "reading %s", what);
	return got == n ? 0 : err_set(e, ERR_INVALID, "it is cut short at %s", what);
}

static int changed(const char *what, struct err *e)
{
	return err_set(e, ERR_INVALID, "it has been changed: %s is not what was signed", what);
}

static int read_zeros(int fd, size_t n, const char *what, struct err *e)
{
	unsigned char block[END_BYTES], bits = 0;

	if (!n)
		return 0;
	if (read_all(fd, block, n, what, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		bits |= block[i];
	return bits ? changed(what, e) : 0;
}

static int read_header(int fd, const char *name, uint64_t size, struct err *e)
{
	unsigned char got[BLOCK_BYTES], want[BLOCK_BYTES];

	if (read_all(fd, got, sizeof(got), name, e) < 0)
		return -1;
	bundle_header(name, size, want);
	return memcmp(got, want, sizeof(got)) ? changed(name, e) : 0;
}

/* ---- the manifest ---- */

/* The only size that is not known before; whatever else the header says is compared. */
static int read_manifest_header(int fd, size_t *ret_bytes, struct err *e)
{
	unsigned char got[BLOCK_BYTES], want[BLOCK_BYTES];
	uint64_t size = 0;
	size_t n = 0;

	if (fd_read_full(fd, got, sizeof(got), &n, e) < 0)
		return err_in(e, "reading it");
	if (n < sizeof(got) || memcmp(got, MANIFEST, sizeof(MANIFEST)) != 0)
		return err_set(e, ERR_INVALID, "it is no product: it does not begin with " MANIFEST);
	for (size_t i = 124; i < 135; i++) {
		if (got[i] < '0' || got[i] > '7')
			return changed(MANIFEST, e);
		size = size << 3 | (uint64_t)(got[i] - '0');
	}
	if (!size || size > PRODUCT_MANIFEST_MAX_BYTES)
		return err_set(e, ERR_INVALID, "its " MANIFEST " is larger than it may be");
	bundle_header(MANIFEST, size, want);
	if (memcmp(got, want, sizeof(got)) != 0)
		return changed(MANIFEST, e);
	*ret_bytes = (size_t)size;
	return 0;
}

static int read_signature(int fd, struct product *p, struct err *e)
{
	_cleanup_buf_ struct buf again = { 0 };
	char text[SIGNATURE_TEXT_BYTES];
	struct str rest = { text, sizeof(text) };

	if (read_header(fd, SIGNATURE, sizeof(text), e) < 0 || read_all(fd, text, sizeof(text), SIGNATURE, e) < 0 ||
	    read_zeros(fd, bundle_padding(sizeof(text)), SIGNATURE, e) < 0)
		return -1;
	str_cut(&rest, '\n');
	if (!unhex(str_cut(&rest, '\n'), p->key, sizeof(p->key)) ||
	    !unhex(str_cut(&rest, '\n'), p->signature, sizeof(p->signature)))
		return changed(SIGNATURE, e);
	product_signature_text(p, &again); /* digits of one case only */
	if (again.n != sizeof(text) || memcmp(again.p, text, sizeof(text)) != 0)
		return changed(SIGNATURE, e);
	if (!product_verify(p->key, (struct str){ p->text, p->text_bytes }, p->signature))
		return err_set(e, ERR_INVALID, "it has been changed: the signature is not one of its " MANIFEST);
	return 0;
}

static int open_product(int fd, struct product *p, struct err *e)
{
	if (read_manifest_header(fd, &p->text_bytes, e) < 0)
		return -1;
	p->text = malloc(p->text_bytes + 1);
	if (!p->text)
		return err_set(e, ERR_IO, "there is no memory for its " MANIFEST);
	p->text[p->text_bytes] = 0;
	if (read_all(fd, p->text, p->text_bytes, MANIFEST, e) < 0 ||
	    read_zeros(fd, bundle_padding(p->text_bytes), MANIFEST, e) < 0 || read_signature(fd, p, e) < 0)
		return -1;
	return bundle_take_manifest(p, e); /* not before it is known that it is its seller's */
}

int product_open(int fd, struct product *ret, struct err *e)
{
	struct product p = { 0 };

	if (open_product(fd, &p, e) < 0) {
		product_fini(&p);
		return -1;
	}
	*ret = p;
	return 0;
}

/* ---- the files ---- */

/* Step by step, each a directory and no link to one, also where somebody has put one. */
static int make_file(int into, const char *name, struct err *e)
{
	_cleanup_close_ int dir = open_beneath(into, ".", O_RDONLY | O_DIRECTORY, 0, e);
	struct str rest = str_of(name);

	while (dir >= 0 && str_has_byte(rest, '/')) {
		_cleanup_free_ char *piece = str_dup(str_cut(&rest, '/'));
		int next;

		if (mkdirat(dir, piece, 0755) < 0 && errno != EEXIST)
			return err_sys(e, "making the directory %s", piece);
		next = open_beneath(dir, piece, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, e);
		close(dir);
		dir = next;
	}
	return dir < 0 ? -1 : open_beneath(dir, rest.p, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644, e);
}

static int copy_file(int fd, const struct product_file *f, int out, char *copy, struct err *e)
{
	_cleanup_(hash_freep) struct hash *h = hash_new(HASH_SHA256);
	unsigned char sum[SHA256_BYTES];

	for (uint64_t done = 0; done < f->size;) {
		size_t n = f->size - done < COPY_BYTES ? (size_t)(f->size - done) : COPY_BYTES;

		if (read_all(fd, copy, n, f->name, e) < 0)
			return -1;
		hash_add(h, copy, n);
		if (out >= 0 && fd_write_all(out, copy, n, e) < 0)
			return err_in(e, "writing %s", f->name);
		done += n;
	}
	hash_end(take_ptr(h), sum);
	return memcmp(sum, f->sha256, sizeof(sum)) ? changed(f->name, e) : 0;
}

static int read_file(int fd, const struct product_file *f, int into, char *copy, struct err *e)
{
	_cleanup_close_ int out = -EBADF;

	if (read_header(fd, f->name, f->size, e) < 0)
		return -1;
	if (into >= 0) {
		out = make_file(into, f->name, e);
		if (out < 0)
			return err_in(e, "making %s", f->name);
	}
	if (copy_file(fd, f, out, copy, e) < 0)
		return -1;
	return read_zeros(fd, bundle_padding(f->size), f->name, e);
}

int product_read_files(int fd, const struct product *p, int into, struct err *e)
{
	_cleanup_free_ char *copy = xcalloc(1, COPY_BYTES);
	size_t n = 0;

	for (size_t i = 0; i < p->file_count; i++)
		if (read_file(fd, &p->files[i], into, copy, e) < 0)
			return -1;
	if (read_zeros(fd, END_BYTES, "its end", e) < 0)
		return -1;
	if (fd_read_full(fd, copy, 1, &n, e) < 0)
		return err_in(e, "reading its end");
	return n ? err_set(e, ERR_INVALID, "it has been changed: something is behind its end") : 0;
}
