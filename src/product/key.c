/* Ed25519 keys of sellers. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "product/product.h"

static const char prefix[] = "bloomery product 1\n"; /* a signature of this kind means nothing else */

struct product_key {
	EVP_PKEY *key;
};

void product_key_free(struct product_key *k)
{
	if (!k)
		return;
	EVP_PKEY_free(k->key);
	free(k);
}

static struct product_key *key_of(const unsigned char seed[PRODUCT_KEY_BYTES])
{
	struct product_key *k = xcalloc(1, sizeof(*k));

	k->key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, PRODUCT_KEY_BYTES);
	must(k->key);
	return k;
}

struct product_key *product_key_new(void)
{
	unsigned char seed[PRODUCT_KEY_BYTES];
	struct product_key *k;

	random_bytes(seed, sizeof(seed));
	k = key_of(seed);
	OPENSSL_cleanse(seed, sizeof(seed));
	return k;
}

static int make_key(int dir, struct err *e)
{
	unsigned char seed[PRODUCT_KEY_BYTES];
	struct buf text = { 0 };
	int rc;

	random_bytes(seed, sizeof(seed));
	buf_need(&text, 2 * sizeof(seed) + 1); /* so that no copy is left behind */
	buf_hex(&text, seed, sizeof(seed));
	buf_c(&text, '\n');
	rc = file_write_atomic(dir, "seller.key", buf_view(&text), 0600, true, e);
	OPENSSL_cleanse(seed, sizeof(seed));
	OPENSSL_cleanse(text.p, text.n);
	buf_fini(&text);
	return rc < 0 ? err_in(e, "making the seller's key") : 0;
}

int product_key_open(int dir, struct product_key **ret, struct err *e)
{
	unsigned char seed[PRODUCT_KEY_BYTES];
	_cleanup_close_ int fd = -EBADF;
	char text[2 * PRODUCT_KEY_BYTES + 2];
	struct stat st;
	size_t n = 0;
	bool good;

	if (faccessat(dir, "seller.key", F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT && make_key(dir, e) < 0)
		return -1;
	fd = open_plain(dir, "seller.key", O_RDONLY, 0, e);
	if (fd < 0)
		return err_in(e, "opening the seller's key");
	if (fstat(fd, &st) < 0)
		return err_sys(e, "looking at the seller's key");
	if (st.st_uid != geteuid() || (st.st_mode & 077))
		return err_set(e, ERR_DENIED,
		               "seller.key is readable by others than its owner, so others may have signed with it; "
		               "remove it and export anew, which makes a new one");
	if (fd_read_full(fd, text, sizeof(text), &n, e) < 0)
		return err_in(e, "reading the seller's key");
	good = n == 2 * sizeof(seed) + 1 && text[n - 1] == '\n' &&
	       unhex((struct str){ text, n - 1 }, seed, sizeof(seed));
	OPENSSL_cleanse(text, sizeof(text));
	if (!good)
		return err_set(e, ERR_INVALID,
		               "seller.key is damaged; put it back from a copy, or remove it to get a new one");
	*ret = key_of(seed);
	OPENSSL_cleanse(seed, sizeof(seed));
	return 0;
}

void product_key_public(const struct product_key *k, unsigned char ret[PRODUCT_KEY_BYTES])
{
	size_t n = PRODUCT_KEY_BYTES;

	must(EVP_PKEY_get_raw_public_key(k->key, ret, &n) == 1 && n == PRODUCT_KEY_BYTES);
}

static void signed_text(struct str manifest, struct buf *out)
{
	buf_z(out, prefix);
	buf_str(out, manifest);
}

void product_sign(const struct product_key *k, struct str manifest, unsigned char ret[PRODUCT_SIGNATURE_BYTES])
{
	_cleanup_buf_ struct buf text = { 0 };
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t n = PRODUCT_SIGNATURE_BYTES;

	signed_text(manifest, &text);
	must(ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, k->key) == 1 &&
	     EVP_DigestSign(ctx, ret, &n, (const unsigned char *)text.p, text.n) == 1 && n == PRODUCT_SIGNATURE_BYTES);
	EVP_MD_CTX_free(ctx);
}

bool product_verify(const unsigned char key[PRODUCT_KEY_BYTES], struct str manifest,
                    const unsigned char signature[PRODUCT_SIGNATURE_BYTES])
{
	EVP_PKEY *public = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, PRODUCT_KEY_BYTES);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	_cleanup_buf_ struct buf text = { 0 };
	bool good;

	signed_text(manifest, &text);
	good = public && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, public) == 1 &&
	       EVP_DigestVerify(ctx, signature, PRODUCT_SIGNATURE_BYTES, (const unsigned char *)text.p, text.n) == 1;
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(public);
	return good;
}

void product_fingerprint(const unsigned char key[PRODUCT_KEY_BYTES], char ret[PRODUCT_FINGERPRINT_BYTES])
{
	unsigned char sum[SHA256_BYTES];
	_cleanup_buf_ struct buf b = { 0 };

	sha256((struct str){ (const char *)key, PRODUCT_KEY_BYTES }, sum);
	buf_z(&b, "sha256:");
	buf_hex(&b, sum, sizeof(sum));
	memcpy(ret, b.p, b.n + 1);
}

void product_account(const unsigned char key[PRODUCT_KEY_BYTES], char ret[PRODUCT_ACCOUNT_BYTES])
{
	unsigned char sum[SHA256_BYTES];
	_cleanup_free_ char *text = NULL;
	uint64_t n = 0;

	sha256((struct str){ (const char *)key, PRODUCT_KEY_BYTES }, sum);
	for (size_t i = 0; i < sizeof(n); i++)
		n = n << 8 | sum[i];
	text = strf("%llu", (unsigned long long)(UINT64_C(100000000000) + n % UINT64_C(900000000000)));
	memcpy(ret, text, PRODUCT_ACCOUNT_BYTES);
}
