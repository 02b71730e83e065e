/* What a bundle is made of, for its writer and its reader. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "product/inside.h"

enum { DEPTH_MAX = 8, NAME_CUT = PRODUCT_NAME_BYTES - 1 - 1 - 32 };

void product_fini(struct product *p)
{
	for (size_t i = 0; i < p->file_count; i++)
		free(p->files[i].name);
	free(p->files);
	free(p->text);
	json_decref(p->manifest);
	*p = (struct product){ 0 };
}

/* ---- headers ---- */

static void octal(unsigned char *at, size_t width, uint64_t n)
{
	at[width - 1] = 0;
	for (size_t i = width - 1; i-- > 0; n >>= 3)
		at[i] = (unsigned char)('0' + (n & 7));
}

/* What does not fit into eleven octal digits is a number of eleven bytes behind a mark, as GNU tar has it. */
static void put_size(unsigned char *at, uint64_t size)
{
	if (size < UINT64_C(1) << 33) {
		octal(at, 12, size);
		return;
	}
	memset(at, 0, 12);
	at[0] = 0x80;
	for (size_t i = 11; size; i--, size >>= 8)
		at[i] = (unsigned char)size;
}

void bundle_header(const char *name, uint64_t size, unsigned char out[BLOCK_BYTES])
{
	unsigned sum = 0;

	memset(out, 0, BLOCK_BYTES);
	memcpy(out, name, strlen(name));
	octal(out + 100, 8, 0644);
	octal(out + 108, 8, 0);
	octal(out + 116, 8, 0);
	put_size(out + 124, size);
	octal(out + 136, 12, 0);
	memset(out + 148, ' ', 8);
	out[156] = '0';
	memcpy(out + 257, "ustar\00000", 8);
	for (size_t i = 0; i < BLOCK_BYTES; i++)
		sum += out[i];
	octal(out + 148, 7, sum);
	out[155] = ' ';
}

/* ---- names ---- */

static bool piece_valid(struct str piece)
{
	if (!piece.n || piece.p[0] == '.' || piece.p[0] == '-')
		return false;
	for (size_t i = 0; i < piece.n; i++) {
		char c = piece.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
		      c == '_' || c == '-'))
			return false;
	}
	return true;
}

bool bundle_name_valid(struct str name)
{
	struct str rest = name;
	size_t depth = 0;

	if (!name.n || name.n > PRODUCT_FILE_NAME_MAX || str_is(name, MANIFEST) || str_is(name, SIGNATURE) ||
	    str_ends(name, STR("/")))
		return false;
	while (rest.n)
		if (!piece_valid(str_cut(&rest, '/')) || ++depth > DEPTH_MAX)
			return false;
	return true;
}

/* ---- the manifest ---- */

static int take_file(struct product *p, const json_t *j, struct err *e)
{
	struct str name = str_of(json_string_value(json_object_get(j, "name")));
	struct str digest = str_of(json_string_value(json_object_get(j, "sha256")));
	const json_t *size = json_object_get(j, "size");
	struct product_file *f = &p->files[p->file_count];

	if (!bundle_name_valid(name))
		return err_set(e, ERR_INVALID, "file %zu has a name that it may not have", p->file_count + 1);
	if (p->file_count && str_cmp(str_of(f[-1].name), name) >= 0)
		return err_set(e, ERR_INVALID, "the list of files is not in order at " PRIstr, ARGstr(name));
	if (!json_is_integer(size) || json_integer_value(size) < 0 || json_integer_value(size) > INT64_MAX / 2 ||
	    !unhex(digest, f->sha256, sizeof(f->sha256)) || json_object_size(j) != 3)
		return err_set(e, ERR_INVALID, "what it says of " PRIstr " makes no sense", ARGstr(name));
	f->size = (uint64_t)json_integer_value(size);
	if (f->size > UINT64_MAX / 4 - p->total_bytes)
		return err_set(e, ERR_INVALID, "its files are too large");
	p->total_bytes += f->size;
	f->name = str_dup(name);
	p->file_count++;
	return 0;
}

/* "iris" of the manifest with the digest abcd...: "iris-abcd..."; lower case, as names in ARNs are. */
static int take_name(struct product *p, struct err *e)
{
	struct str name = str_of(json_string_value(json_object_get(p->about, "algorithm")));
	unsigned char sum[SHA256_BYTES];
	_cleanup_buf_ struct buf b = { 0 };

	for (size_t i = 0; i < name.n && b.n < NAME_CUT; i++) {
		char c = name.p[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && i)))
			return err_set(e, ERR_INVALID, "the algorithm's name is none");
		buf_c(&b, c);
	}
	while (b.n && b.p[b.n - 1] == '-')
		b.n--;
	if (!b.n)
		return err_set(e, ERR_INVALID, "it does not name its algorithm");
	sha256((struct str){ p->text, p->text_bytes }, sum);
	buf_c(&b, '-');
	buf_hex(&b, sum, 16);
	must(b.n < sizeof(p->name));
	memcpy(p->name, b.p, b.n + 1);
	return 0;
}

int bundle_take_manifest(struct product *p, struct err *e)
{
	json_error_t why;
	const json_t *files, *j;
	size_t i;

	p->manifest = json_loadb(p->text, p->text_bytes, JSON_REJECT_DUPLICATES, &why);
	if (!p->manifest)
		return err_set(e, ERR_INVALID, "its manifest is no JSON: line %d: %s", why.line, why.text);
	files = json_object_get(p->manifest, "files");
	p->about = json_object_get(p->manifest, "about");
	if (!str_is(str_of(json_string_value(json_object_get(p->manifest, "format"))), "bloomery-product") ||
	    !json_is_object(p->about) || !json_is_array(files))
		return err_set(e, ERR_INVALID, "it is no product");
	if (json_integer_value(json_object_get(p->manifest, "version")) != 1)
		return err_set(e, ERR_INVALID, "it is a product of another version than this program knows, 1");
	if (json_array_size(files) > PRODUCT_FILES_MAX)
		return err_set(e, ERR_INVALID, "it has more than %d files", PRODUCT_FILES_MAX);
	p->files = xcalloc(json_array_size(files) + 1, sizeof(*p->files));
	json_array_foreach (files, i, j)
		if (take_file(p, j, e) < 0)
			return -1;
	return take_name(p, e);
}

void product_signature_text(const struct product *p, struct buf *out)
{
	buf_z(out, "bloomery-product-signature 1\n");
	buf_hex(out, p->key, sizeof(p->key));
	buf_c(out, '\n');
	buf_hex(out, p->signature, sizeof(p->signature));
	buf_c(out, '\n');
}
