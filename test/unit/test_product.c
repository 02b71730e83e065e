/* Products: what is written is read again, and nothing else is.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "product/product.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "loop/loop.h"
#include "product/shelf.h"

static int make_dir(const char *leaf)
{
	_cleanup_free_ char *path = strf("%s/%s", test_tmpdir(), leaf);
	int fd;

	CHECK(mkdir(path, 0755) == 0 || errno == EEXIST);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

static void put(int dir, const char *path, struct str text)
{
	struct str parent = str_of(path);
	_cleanup_free_ char *to = NULL;

	str_cut_last(&parent, '/');
	if (strchr(path, '/')) {
		to = str_dup(parent);
		CHECK_OK(mkdir_all(dir, to, 0755, e));
	}
	CHECK_OK(file_put(dir, path, text, 0644, e));
}

static json_t *about(void)
{
	json_t *j = json_pack("{ss s{ss}}", "algorithm", "Iris", "request", "AlgorithmDescription", "h\xc3\xa9");

	must(j);
	return j;
}

/* A product of a few files in memory; the caller frees and finishes. */
static void make(const struct product_key *k, struct buf *out, struct product *p)
{
	_cleanup_close_ int dir = make_dir("in"), fd = memfd_create("product", MFD_CLOEXEC);
	json_t *j = about();

	put(dir, "report.html", STR("<html></html>"));
	put(dir, "empty", STR(""));
	put(dir, "images/1/image.tar", (struct str){ "0123456789abcdef", 16 });
	put(dir, "data/a/b", STR("x\n"));
	CHECK_OK(product_write(dir, j, k, fd, p, e));
	json_decref(j);
	buf_need(out, 1 << 16);
	CHECK(lseek(fd, 0, SEEK_SET) == 0);
	CHECK_OK(fd_read_full(fd, out->p, 1 << 16, &out->n, e));
}

static int memory_of(struct str bytes)
{
	int fd = memfd_create("bundle", MFD_CLOEXEC);

	CHECK_OK(fd_write_all(fd, bytes.p, bytes.n, e));
	CHECK(lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

/* Reads all of it; 0, or -1 and why. */
static int read_whole(struct str bytes, int into, struct err *e)
{
	_cleanup_close_ int fd = memory_of(bytes);
	struct product p;
	int rc;

	if (product_open(fd, &p, e) < 0)
		return -1;
	rc = product_read_files(fd, &p, into, e);
	product_fini(&p);
	return rc;
}

TEST(what_is_written_is_read)
{
	_cleanup_(product_key_freep) struct product_key *k = product_key_new();
	_cleanup_buf_ struct buf bundle = { 0 }, text = { 0 };
	_cleanup_close_ int to = make_dir("out"), fd = -EBADF;
	struct product p = { 0 }, q = { 0 };
	unsigned char key[PRODUCT_KEY_BYTES];

	make(k, &bundle, &p);
	fd = memory_of(buf_view(&bundle));
	CHECK_OK(product_open(fd, &q, e));
	product_key_public(k, key);
	CHECK(memcmp(q.key, key, sizeof(key)) == 0);
	CHECK_STR(q.name, p.name);
	CHECK(strncmp(q.name, "iris-", 5) == 0 && strlen(q.name) == 5 + 32);
	CHECK_INT(q.file_count, 4);
	CHECK_INT(q.total_bytes, 13 + 16 + 2);
	CHECK_STR(q.files[0].name, "data/a/b");
	CHECK_STR(json_string_value(json_object_get(q.about, "algorithm")), "Iris");
	CHECK_OK(product_read_files(fd, &q, to, e));
	CHECK_OK(file_read_at(to, "images/1/image.tar", 100, &text, e));
	CHECK_STR(text.p, "0123456789abcdef");
	product_fini(&p);
	product_fini(&q);
}

/* Other tools can look into it. */
TEST(it_is_a_tar_archive)
{
	_cleanup_(product_key_freep) struct product_key *k = product_key_new();
	_cleanup_buf_ struct buf bundle = { 0 }, said = { 0 };
	_cleanup_free_ char *path = strf("%s/it.tar", test_tmpdir());
	const char *const argv[] = { "/bin/tar", "-tf", path, NULL };
	const struct spawn_options o = { .argv = argv, .in = -1 };
	struct product p = { 0 };
	int status = -1;

	make(k, &bundle, &p);
	CHECK_OK(file_put(AT_FDCWD, path, buf_view(&bundle), 0600, e));
	CHECK_OK(spawn_wait(&o, &said, 1 << 16, &status, e));
	CHECK_INT(status, 0);
	CHECK_STR(said.p, "manifest.json\nmanifest.sig\ndata/a/b\nempty\nimages/1/image.tar\nreport.html\n");
	product_fini(&p);
}

TEST(the_same_in_is_the_same_out)
{
	_cleanup_(product_key_freep) struct product_key *k = product_key_new();
	_cleanup_buf_ struct buf a = { 0 }, b = { 0 };
	struct product p = { 0 }, q = { 0 };

	make(k, &a, &p);
	make(k, &b, &q);
	CHECK(str_eq(buf_view(&a), buf_view(&b)));
	product_fini(&p);
	product_fini(&q);
}

TEST(every_byte_matters)
{
	_cleanup_(product_key_freep) struct product_key *k = product_key_new();
	_cleanup_buf_ struct buf bundle = { 0 };
	struct product p = { 0 };
	struct err why;
	char text[4096];

	make(k, &bundle, &p);
	CHECK_OK(read_whole(buf_view(&bundle), -1, e));
	for (size_t i = 0; i < bundle.n; i++) {
		why = (struct err){ 0 };
		bundle.p[i] ^= (char)(1 << (i % 8));
		if (read_whole(buf_view(&bundle), -1, &why) == 0)
			test_failed(__FILE__, __LINE__, "byte %zu of %zu does not matter", i, bundle.n);
		else if (why.kind != ERR_INVALID)
			test_failed(__FILE__, __LINE__, "byte %zu: %s", i, err_text(&why, text, sizeof(text)));
		bundle.p[i] ^= (char)(1 << (i % 8));
	}
	product_fini(&p);
}

TEST(nothing_may_be_missing_or_added)
{
	_cleanup_(product_key_freep) struct product_key *k = product_key_new();
	_cleanup_buf_ struct buf bundle = { 0 };
	struct product p = { 0 };
	struct err why;

	make(k, &bundle, &p);
	for (size_t n = 0; n < bundle.n; n += 13) {
		why = (struct err){ 0 };
		CHECK(read_whole((struct str){ bundle.p, n }, -1, &why) < 0 && why.kind == ERR_INVALID);
	}
	why = (struct err){ 0 };
	buf_c(&bundle, 0);
	CHECK(read_whole(buf_view(&bundle), -1, &why) < 0);
	CHECK_STR(why.frame[0], "it has been changed: something is behind its end");
	product_fini(&p);
}

TEST(what_was_changed_is_named)
{
	_cleanup_(product_key_freep) struct product_key *k = product_key_new();
	_cleanup_buf_ struct buf bundle = { 0 };
	struct product p = { 0 };
	struct err why = { 0 };
	ptrdiff_t at;

	make(k, &bundle, &p);
	at = str_find(buf_view(&bundle), STR("0123456789abcdef"));
	CHECK(at > 0);
	bundle.p[at] = 'X';
	CHECK(read_whole(buf_view(&bundle), -1, &why) < 0);
	CHECK_STR(why.frame[0], "it has been changed: images/1/image.tar is not what was signed");
	bundle.p[at] = '0';
	at = str_find(buf_view(&bundle), STR("\"Iris\""));
	bundle.p[at + 1] = 'i';
	why = (struct err){ 0 };
	CHECK(read_whole(buf_view(&bundle), -1, &why) < 0);
	CHECK_STR(why.frame[0], "it has been changed: the signature is not one of its manifest.json");
	product_fini(&p);
}

/* ---- bundles that a hostile seller signs himself ---- */

static void octal(char *at, int width, uint64_t n)
{
	for (int i = width - 2; i >= 0; i--, n >>= 3)
		at[i] = (char)('0' + (n & 7));
	at[width - 1] = 0;
}

static void add_entry(struct buf *out, const char *name, struct str text)
{
	char h[512] = { 0 };
	unsigned sum = 0;

	snprintf(h, 100, "%s", name);
	octal(h + 100, 8, 0644);
	octal(h + 108, 8, 0);
	octal(h + 116, 8, 0);
	octal(h + 124, 12, text.n);
	octal(h + 136, 12, 0);
	memset(h + 148, ' ', 8);
	h[156] = '0';
	memcpy(h + 257, "ustar\00000", 8);
	for (size_t i = 0; i < sizeof(h); i++)
		sum += (unsigned char)h[i];
	octal(h + 148, 7, sum);
	h[155] = ' ';
	buf_add(out, h, sizeof(h));
	buf_str(out, text);
	while (out->n % 512)
		buf_c(out, 0);
}

static int read_manifest(const char *manifest, struct err *e)
{
	_cleanup_(product_key_freep) struct product_key *k = product_key_new();
	_cleanup_buf_ struct buf out = { 0 }, signature = { 0 };
	struct product p = { 0 };

	product_key_public(k, p.key);
	product_sign(k, str_of(manifest), p.signature);
	product_signature_text(&p, &signature);
	add_entry(&out, "manifest.json", str_of(manifest));
	add_entry(&out, "manifest.sig", buf_view(&signature));
	buf_need(&out, 1024);
	memset(out.p + out.n, 0, 1024);
	out.n += 1024;
	return read_whole(buf_view(&out), -1, e);
}

#define HEAD "{\"format\":\"bloomery-product\",\"version\":1,\"about\":{\"algorithm\":\"a\"},\"files\":["
#define SUM "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define FILE_(name, size) "{\"name\":\"" name "\",\"size\":" size ",\"sha256\":\"" SUM "\"}"

TEST(hostile_manifests)
{
	static const char *const bad[] = {
		"{}",
		"[]",
		"nonsense",
		HEAD FILE_("../x", "0") "]}",
		HEAD FILE_("/etc/passwd", "0") "]}",
		HEAD FILE_("a/../b", "0") "]}",
		HEAD FILE_(".ssh/x", "0") "]}",
		HEAD FILE_("a//b", "0") "]}",
		HEAD FILE_("a/", "0") "]}",
		HEAD FILE_("", "0") "]}",
		HEAD FILE_("-rf", "0") "]}",
		HEAD FILE_("a\\u0000b", "0") "]}",
		HEAD FILE_("manifest.json", "0") "]}",
		HEAD FILE_("b", "0") "," FILE_("a", "0") "]}",
		HEAD FILE_("a", "0") "," FILE_("a", "0") "]}",
		HEAD FILE_("a", "-1") "]}",
		HEAD FILE_("a", "9223372036854775807") "]}",
		HEAD FILE_("a", "\"1\"") "]}",
		HEAD "{\"name\":\"a\",\"size\":0}]}",
		HEAD "{\"name\":\"a\",\"size\":0,\"sha256\":\"zz\"}]}",
		HEAD FILE_("a/b/c/d/e/f/g/h/i", "0") "]}",
		HEAD FILE_("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		           "aaaaaaaaaaaaa",
		           "0") "]}",
		HEAD FILE_("a", "4611686018427387902") "]}",
		"{\"format\":\"bloomery-product\",\"version\":2,\"about\":{\"algorithm\":\"a\"},\"files\":[]}",
		"{\"format\":\"bloomery-product\",\"version\":1,\"about\":{\"algorithm\":\"../a\"},\"files\":[]}",
		"{\"format\":\"bloomery-product\",\"version\":1,\"about\":{\"algorithm\":\"\"},\"files\":[]}",
		"{\"format\":\"bloomery-product\",\"version\":1,\"about\":[],\"files\":[]}",
		("{\"format\":\"bloomery-product\",\"version\":1,\"version\":1,\"about\":{\"algorithm\":\"a\"},"
		 "\"files\":[]}"),
	};
	struct err why;

	CHECK_OK(read_manifest(HEAD "]}", e));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		why = (struct err){ 0 };
		if (read_manifest(bad[i], &why) == 0)
			test_failed(__FILE__, __LINE__, "taken: %s", bad[i]);
		else
			CHECK_INT(why.kind, ERR_INVALID);
	}
}

/* What lies there already is not written through. */
TEST(links_on_the_way_are_not_followed)
{
	_cleanup_(product_key_freep) struct product_key *k = product_key_new();
	_cleanup_buf_ struct buf bundle = { 0 }, canary = { 0 };
	_cleanup_close_ int to = make_dir("out"), other = make_dir("other");
	struct product p = { 0 };
	struct err why = { 0 };

	make(k, &bundle, &p);
	put(other, "canary", STR("alive"));
	CHECK(symlinkat("../other", to, "data") == 0);
	CHECK(symlinkat("../other/canary", to, "report.html") == 0);
	CHECK(read_whole(buf_view(&bundle), to, &why) < 0);
	CHECK(unlinkat(to, "data", 0) == 0);
	CHECK(read_whole(buf_view(&bundle), to, &why) < 0);
	CHECK_OK(file_read_at(other, "canary", 100, &canary, e));
	CHECK_STR(canary.p, "alive");
	CHECK(faccessat(other, "a", F_OK, 0) < 0);
	product_fini(&p);
}

TEST(what_cannot_be_in_a_product)
{
	_cleanup_(product_key_freep) struct product_key *k = product_key_new();
	_cleanup_close_ int dir = make_dir("in"), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct product p = { 0 };
	struct err why = { 0 };
	json_t *j = about();

	CHECK(symlinkat("/etc/passwd", dir, "link") == 0);
	CHECK(product_write(dir, j, k, null, &p, &why) < 0 && why.kind == ERR_INVALID);
	CHECK(unlinkat(dir, "link", 0) == 0);
	put(dir, "has blank", STR("x"));
	why = (struct err){ 0 };
	CHECK(product_write(dir, j, k, null, &p, &why) < 0 && why.kind == ERR_INVALID);
	json_decref(j);
}

/* ---- keys ---- */

TEST(a_site_has_one_key)
{
	_cleanup_close_ int dir = make_dir("site");
	_cleanup_(product_key_freep) struct product_key *a = NULL, *b = NULL, *c = NULL;
	unsigned char x[PRODUCT_KEY_BYTES], y[PRODUCT_KEY_BYTES];
	char account[PRODUCT_ACCOUNT_BYTES], fingerprint[PRODUCT_FINGERPRINT_BYTES];
	struct err why = { 0 };
	struct stat st;

	CHECK_OK(product_key_open(dir, &a, e));
	CHECK_OK(product_key_open(dir, &b, e));
	product_key_public(a, x);
	product_key_public(b, y);
	CHECK(memcmp(x, y, sizeof(x)) == 0);
	CHECK(fstatat(dir, "seller.key", &st, 0) == 0 && (st.st_mode & 07777) == 0600);
	product_account(x, account);
	CHECK(strlen(account) == 12 && account[0] != '0');
	product_fingerprint(x, fingerprint);
	CHECK(strlen(fingerprint) == 71 && !strncmp(fingerprint, "sha256:", 7));
	CHECK(fchmodat(dir, "seller.key", 0644, 0) == 0);
	CHECK(product_key_open(dir, &c, &why) < 0 && why.kind == ERR_DENIED);
	CHECK_OK(file_put(dir, "seller.key", STR("short\n"), 0600, e));
	CHECK(fchmodat(dir, "seller.key", 0600, 0) == 0);
	why = (struct err){ 0 };
	CHECK(product_key_open(dir, &c, &why) < 0 && why.kind == ERR_INVALID);
}

/* RFC 8032, 7.1, first test vector is of an empty message; ours has a prefix, so only the public key is compared. */
TEST(keys_are_ed25519)
{
	_cleanup_close_ int dir = make_dir("vector");
	_cleanup_(product_key_freep) struct product_key *k = NULL;
	unsigned char key[PRODUCT_KEY_BYTES];
	_cleanup_buf_ struct buf hex = { 0 };

	CHECK_OK(file_put(dir, "seller.key", STR("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60\n"),
	                  0600, e));
	CHECK(fchmodat(dir, "seller.key", 0600, 0) == 0);
	CHECK_OK(product_key_open(dir, &k, e));
	product_key_public(k, key);
	buf_hex(&hex, key, sizeof(key));
	CHECK_STR(hex.p, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
}

TEST(signatures_are_of_one_key_and_one_text)
{
	_cleanup_(product_key_freep) struct product_key *a = product_key_new(), *b = product_key_new();
	unsigned char x[PRODUCT_KEY_BYTES], y[PRODUCT_KEY_BYTES], s[PRODUCT_SIGNATURE_BYTES];

	product_key_public(a, x);
	product_key_public(b, y);
	product_sign(a, STR("text"), s);
	CHECK(product_verify(x, STR("text"), s));
	CHECK(!product_verify(y, STR("text"), s));
	CHECK(!product_verify(x, STR("texT"), s));
	s[5] ^= 1;
	CHECK(!product_verify(x, STR("text"), s));
}

/* ---- the shelf ---- */

#define DIGITS "0123456789abcdef0123456789abcdef"

TEST(names_of_products)
{
	static const char *const good[] = { ("a-" DIGITS), ("9-x-" DIGITS),
		                            ("abcdefghijklmnopqrstuvwxyz-012-" DIGITS) };
	static const char *const bad[] = { "",
		                           "a",
		                           DIGITS,
		                           ("-" DIGITS),
		                           ("a_" DIGITS),
		                           ("A-" DIGITS),
		                           ("../a-" DIGITS),
		                           ("a/b-" DIGITS),
		                           ("a-" DIGITS "0"),
		                           ("-a-" DIGITS),
		                           "a-0123456789abcdef0123456789abcdeF",
		                           "seller.key",
		                           ".new-12",
		                           ("abcdefghijklmnopqrstuvwxyz-0123-x-" DIGITS) };

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		CHECK(shelf_name_valid(str_of(good[i])));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (shelf_name_valid(str_of(bad[i])))
			test_failed(__FILE__, __LINE__, "taken: %s", bad[i]);
}

TEST(sellers_are_remembered)
{
	_cleanup_close_ int shelf = shelf_lock(test_tmpdir(), NULL);
	_cleanup_buf_ struct buf text = { 0 };
	bool known = true;

	CHECK(shelf >= 0);
	CHECK_OK(shelf_trusts(shelf, "sha256:aa", &known, e));
	CHECK(!known);
	CHECK_OK(shelf_trust(shelf, "sha256:aa", "first", e));
	CHECK_OK(shelf_trust(shelf, "sha256:aa", "again", e));
	CHECK_OK(shelf_trust(shelf, "sha256:bb", "second", e));
	CHECK_OK(shelf_trusts(shelf, "sha256:bb", &known, e));
	CHECK(known);
	CHECK_OK(shelf_trusts(shelf, "sha256:b", &known, e));
	CHECK(!known);
	CHECK_OK(file_read_at(shelf, "sellers", 1000, &text, e));
	CHECK_STR(text.p, "sha256:aa first\nsha256:bb second\n");
}

static int count(const char *name, void *arg, struct err *e)
{
	(void)name;
	(void)e;
	++*(int *)arg;
	return 0;
}

TEST(what_was_left_half_done_goes)
{
	int shelf = shelf_lock(test_tmpdir(), NULL), n = 0;
	_cleanup_free_ char *path = strf("%s/products", test_tmpdir());
	struct err why = { 0 };
	json_t *j;

	CHECK(shelf >= 0);
	put(shelf, ".new-0011/images/1/x", STR("x"));
	put(shelf, ".old-a/x", STR("x"));
	put(shelf, ("a-" DIGITS "/product.json"), STR("{}"));
	close(shelf);
	shelf = shelf_lock(test_tmpdir(), NULL);
	CHECK(faccessat(shelf, ".new-0011", F_OK, 0) < 0 && faccessat(shelf, ".old-a", F_OK, 0) < 0);
	CHECK_OK(shelf_each(shelf, count, &n, e));
	CHECK_INT(n, 1);
	CHECK(shelf_read(shelf, ("a-" DIGITS), &j, &why) < 0 && why.kind == ERR_INVALID);
	why = (struct err){ 0 };
	CHECK(shelf_read(shelf, ("b-" DIGITS), &j, &why) < 0 && why.kind == ERR_NOT_FOUND);
	close(shelf);
	CHECK(chmod(path, 0777) == 0);
	why = (struct err){ 0 };
	CHECK(shelf_open(test_tmpdir(), &why) < 0 && why.kind == ERR_DENIED);
}
