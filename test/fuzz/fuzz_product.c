/* A bundle that a stranger has written. The first byte chooses: the bytes as they are; or taken as a manifest, with the
 * right signature and frame around it, so that what is behind the signature is reached. Whatever is unpacked stays in
 * its directory.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "product/inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 1 << 16 };

static char base[64];

static void clean_up(void)
{
	if (remove_tree(AT_FDCWD, base, NULL) < 0)
		fprintf(stderr, "cannot remove %s\n", base);
}

static void set_up(void)
{
	snprintf(base, sizeof(base), "%s/bloomery-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	must(mkdtemp(base));
	atexit(clean_up);
}

static void add(struct buf *out, const char *name, struct str text)
{
	static const char zeros[BLOCK_BYTES];
	unsigned char header[BLOCK_BYTES];

	bundle_header(name, text.n, header);
	buf_add(out, header, sizeof(header));
	buf_str(out, text);
	buf_add(out, zeros, bundle_padding(text.n));
}

/* The manifest is what comes before the first NUL; the rest is what follows the signature. */
static void frame(struct str in, struct buf *out)
{
	static struct product_key *k;
	_cleanup_buf_ struct buf signature = { 0 };
	struct str manifest = str_cut(&in, '\0');
	struct product p = { 0 };

	if (!k)
		k = product_key_new();
	product_key_public(k, p.key);
	product_sign(k, manifest, p.signature);
	product_signature_text(&p, &signature);
	add(out, MANIFEST, manifest);
	add(out, SIGNATURE, buf_view(&signature));
	buf_str(out, in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	_cleanup_close_ int fd = -EBADF, into = -EBADF;
	struct str in = { (const char *)data + 1, size - 1 };
	struct product p;
	_cleanup_free_ char *dir = NULL;

	if (size < 2 || size > BYTES_MAX)
		return 0;
	if (!*base)
		set_up();
	dir = strf("%s/out", base);
	must(mkdir(dir, 0700) == 0);
	into = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (data[0] & 1)
		frame(in, &bytes);
	else
		buf_str(&bytes, in);
	fd = memfd_create("bundle", MFD_CLOEXEC);
	must(into >= 0 && fd >= 0 && fd_write_all(fd, bytes.p, bytes.n, NULL) == 0 && lseek(fd, 0, SEEK_SET) == 0);
	if (product_open(fd, &p, NULL) == 0) {
		(void)(product_read_files(fd, &p, into, NULL) == 0);
		product_fini(&p);
	}
	must(remove_tree(AT_FDCWD, dir, NULL) == 0);
	must(rmdir(base) == 0 && mkdir(base, 0700) == 0); /* nothing came to lie beside it */
	return 0;
}
