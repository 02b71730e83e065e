/* A bundle, written. SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "product/inside.h"

struct writer {
	int dir, out;
	struct product_file *files;
	size_t n;
	char *copy;
};

static int gather(struct writer *w, const char *path, struct err *e);

static int gather_one(struct writer *w, const char *path, const char *leaf, struct err *e)
{
	_cleanup_free_ char *name = *path ? strf("%s/%s", path, leaf) : xstrdup(leaf);
	struct stat st;

	if (fstatat(w->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "looking at %s", name);
	if (S_ISDIR(st.st_mode))
		return gather(w, name, e);
	if (!S_ISREG(st.st_mode) || !bundle_name_valid(str_of(name)))
		return err_set(e, ERR_INVALID, "%s cannot be in a product", name);
	if (w->n == PRODUCT_FILES_MAX)
		return err_set(e, ERR_TOO_LARGE, "a product has at most %d files", PRODUCT_FILES_MAX);
	w->files = xrealloc(w->files, (w->n + 1) * sizeof(*w->files));
	w->files[w->n++] = (struct product_file){ .name = take_ptr(name), .size = (uint64_t)st.st_size };
	return 0;
}

static int gather(struct writer *w, const char *path, struct err *e)
{
	int fd = openat(w->dir, *path ? path : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *ent;
	int rc = 0;

	if (!d)
		return err_sys(e, "reading %s", *path ? path : "the product's directory");
	while (rc == 0 && (ent = readdir(d)))
		if (strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0)
			rc = gather_one(w, path, ent->d_name, e);
	closedir(d);
	return rc;
}

static int by_name(const void *a, const void *b)
{
	const struct product_file *x = a, *y = b;

	return str_cmp(str_of(x->name), str_of(y->name));
}

/* Through all of a file: into its digest, and to `to` unless that is -1. */
static int go_through(struct writer *w, struct product_file *f, int to, struct err *e)
{
	_cleanup_close_ int fd = open_beneath(w->dir, f->name, O_RDONLY | O_NOFOLLOW, 0, e);
	_cleanup_(hash_freep) struct hash *h = hash_new(HASH_SHA256);
	unsigned char sum[SHA256_BYTES];
	uint64_t done = 0;
	size_t n = 1;

	if (fd < 0)
		return -1;
	while (n) {
		if (fd_read_full(fd, w->copy, COPY_BYTES, &n, e) < 0)
			return err_in(e, "reading %s", f->name);
		if (n > f->size - done)
			break;
		hash_add(h, w->copy, n);
		if (to >= 0 && fd_write_all(to, w->copy, n, e) < 0)
			return err_in(e, "writing the product");
		done += n;
	}
	hash_end(take_ptr(h), sum);
	if (done != f->size || n || (to >= 0 && memcmp(sum, f->sha256, sizeof(sum)) != 0))
		return err_set(e, ERR_IO, "%s was changed while it was read", f->name);
	memcpy(f->sha256, sum, sizeof(sum));
	return 0;
}

static int put_padding(struct writer *w, uint64_t size, struct err *e)
{
	static const char zeros[BLOCK_BYTES];

	return fd_write_all(w->out, zeros, bundle_padding(size), e);
}

static int put_text(struct writer *w, const char *name, struct str text, struct err *e)
{
	unsigned char header[BLOCK_BYTES];

	bundle_header(name, text.n, header);
	if (fd_write_all(w->out, header, sizeof(header), e) < 0 || fd_write_all(w->out, text.p, text.n, e) < 0)
		return -1;
	return put_padding(w, text.n, e);
}

static int put_files(struct writer *w, struct err *e)
{
	static const char zeros[END_BYTES];
	unsigned char header[BLOCK_BYTES];

	for (size_t i = 0; i < w->n; i++) {
		bundle_header(w->files[i].name, w->files[i].size, header);
		if (fd_write_all(w->out, header, sizeof(header), e) < 0 || go_through(w, &w->files[i], w->out, e) < 0 ||
		    put_padding(w, w->files[i].size, e) < 0)
			return -1;
	}
	return fd_write_all(w->out, zeros, sizeof(zeros), e);
}

static json_t *list_of(const struct writer *w)
{
	json_t *list = json_array();

	for (size_t i = 0; i < w->n; i++) {
		_cleanup_buf_ struct buf hex = { 0 };
		json_t *j;

		buf_hex(&hex, w->files[i].sha256, SHA256_BYTES);
		j = json_pack("{ss sI ss}", "name", w->files[i].name, "size", (json_int_t)w->files[i].size, "sha256",
		              hex.p);
		must(j);
		json_array_append_new(list, j);
	}
	return list;
}

static int make_manifest(const struct writer *w, const json_t *about, const struct product_key *k, struct product *p,
                         struct err *e)
{
	json_t *j = json_pack("{ss si sO so}", "format", "bloomery-product", "version", 1, "about", (json_t *)about,
	                      "files", list_of(w));

	must(j);
	p->text = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(j);
	must(p->text);
	p->text_bytes = strlen(p->text);
	if (p->text_bytes > PRODUCT_MANIFEST_MAX_BYTES)
		return err_set(e, ERR_TOO_LARGE, "what there is to say of the product is too much");
	product_key_public(k, p->key);
	product_sign(k, (struct str){ p->text, p->text_bytes }, p->signature);
	return bundle_take_manifest(p, e);
}

static int write_all(struct writer *w, const json_t *about, const struct product_key *k, struct product *p,
                     struct err *e)
{
	_cleanup_buf_ struct buf signature = { 0 };

	if (gather(w, "", e) < 0)
		return -1;
	if (w->n)
		qsort(w->files, w->n, sizeof(*w->files), by_name);
	for (size_t i = 0; i < w->n; i++)
		if (go_through(w, &w->files[i], -1, e) < 0)
			return -1;
	if (make_manifest(w, about, k, p, e) < 0)
		return -1;
	product_signature_text(p, &signature);
	if (put_text(w, MANIFEST, (struct str){ p->text, p->text_bytes }, e) < 0 ||
	    put_text(w, SIGNATURE, buf_view(&signature), e) < 0)
		return err_in(e, "writing the product");
	return put_files(w, e);
}

int product_write(int dir, const json_t *about, const struct product_key *k, int out, struct product *ret,
                  struct err *e)
{
	struct writer w = { .dir = dir, .out = out, .copy = xcalloc(1, COPY_BYTES) };
	struct product p = { 0 };
	int rc = write_all(&w, about, k, &p, e);

	for (size_t i = 0; i < w.n; i++)
		free(w.files[i].name);
	free(w.files);
	free(w.copy);
	if (rc < 0)
		product_fini(&p);
	else
		*ret = p;
	return rc;
}
