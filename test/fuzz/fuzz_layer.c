/* The first byte chooses: an image's name, a clean-up of a path, a root file system, or a layer with whiteouts laid
 * over a tree. The archives really are applied, in a directory beside which a canary lies: whatever the bytes say, the
 * canary and its directory stay as they were.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "oci/image.h"
#include "oci/layer.h"
#include "oci/pull.h"
#include "oci/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 1 << 20, ENTRIES_MAX = 200 };

static char base[64];
static int base_fd = -1;

static void clean_up(void)
{
	if (remove_tree(AT_FDCWD, base, NULL) < 0)
		fprintf(stderr, "cannot remove %s\n", base);
}

static void set_up(void)
{
	const char *in = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

	snprintf(base, sizeof(base), "%s/bloomery-fuzz-XXXXXX", in);
	must(mkdtemp(base));
	base_fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(base_fd >= 0 && file_put(base_fd, "canary", STR("alive"), 0444, NULL) == 0);
	atexit(clean_up);
}

/* Beside the tree there is the canary and nothing else. */
static void check_outside(void)
{
	DIR *d = opendir(base);
	struct dirent *ent;
	struct stat st;

	must(d);
	while ((ent = readdir(d)))
		must(ent->d_name[0] == '.' || !strcmp(ent->d_name, "canary") || !strcmp(ent->d_name, "root"));
	closedir(d);
	must(fstatat(base_fd, "canary", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode));
	must(st.st_size == 5 && (st.st_mode & 0777) == 0444 && st.st_nlink == 1);
}

/* Makes the sums of what still looks like headers right again, so that what was changed in them gets as far as us. */
static void mend_sums(char *p, size_t n)
{
	for (size_t at = 0; at + 512 <= n; at += 512) {
		unsigned sum = 0;

		if (memcmp(p + at + 257, "ustar", 5) != 0)
			continue;
		memset(p + at + 148, ' ', 8);
		for (size_t i = 0; i < 512; i++)
			sum += (unsigned char)p[at + i];
		snprintf(p + at + 148, 8, "%06o", sum & 0777777);
	}
}

static void apply(struct str given, bool layer)
{
	_cleanup_free_ char *mended = str_dup(given);
	struct str bytes = { mended, given.n };
	const struct layer_options o = { .whiteouts = layer, .max_bytes = BYTES_MAX, .max_entries = ENTRIES_MAX };
	_cleanup_close_ int fd = memfd_create("layer", MFD_CLOEXEC), root = -EBADF;
	struct layer_result r = { 0 };

	mend_sums(mended, given.n);
	must(mkdirat(base_fd, "root", 0755) == 0);
	root = openat(base_fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (layer) { /* something to be whited out, replaced and walked through */
		must(mkdirat(root, "a", 0755) == 0 && mkdirat(root, "a/b", 0755) == 0);
		must(file_put(root, "a/b/c", STR("x"), 0644, NULL) == 0);
		must(symlinkat("../../canary", root, "out") == 0 && symlinkat("a", root, "in") == 0);
	}
	must(fd >= 0 && root >= 0 && fd_write_all(fd, bytes.p, bytes.n, NULL) == 0 && lseek(fd, 0, SEEK_SET) == 0);
	if (layer_apply(fd, root, &o, &r, NULL) == 0)
		must(r.bytes <= BYTES_MAX && r.entries <= ENTRIES_MAX);
	must(remove_tree(base_fd, "root", NULL) == 0);
	check_outside();
}

static bool never(void *arg, struct str reference)
{
	(void)arg;
	must(reference_parse(reference, &(struct reference){ 0 }, NULL) == 0);
	return false;
}

static void names(struct str bytes)
{
	_cleanup_free_ char *canonical = NULL, *again = NULL, *leaf = NULL, *reason = NULL;

	reason = pull_reason(bytes);
	must(strlen(reason) <= 4 * bytes.n); /* control characters are written out */
	image_reference_each(bytes, never, NULL);
	if (reference_canonical(bytes, &canonical, NULL) < 0)
		return;
	must(reference_canonical(str_of(canonical), &again, NULL) == 0 && !strcmp(canonical, again));
	leaf = reference_leaf(str_of(canonical));
	must(!strchr(leaf, '/') && leaf[0] != '.' && leaf[0] != '-' && strlen(leaf) < 256);
}

static void path(struct str bytes)
{
	_cleanup_free_ char *name = str_dup(bytes), *clean = NULL, *again = NULL;

	if (layer_path(name, &clean, NULL) < 0)
		return;
	must(clean[0] != '/' && strncmp(clean, "../", 3) != 0 && strcmp(clean, "..") != 0 && !strstr(clean, "/../"));
	must(layer_path(clean, &again, NULL) == 0 && !strcmp(clean, again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str bytes = { (const char *)data + 1, size - 1 };

	if (base_fd < 0)
		set_up();
	if (size == 0)
		return 0;
	switch (data[0]) {
	case 'n': names(bytes); break;
	case 'p': path(bytes); break;
	case 'l': apply(bytes, true); break;
	default: apply(bytes, false); break;
	}
	return 0;
}
