/* product.h - an algorithm as one signed file: what `bloomery product export` writes and `import` reads.
 *
 * A bundle is a tar archive of plain files that any tar can list, in an order and a form that leave nothing open:
 *
 *     manifest.json   {"format":"bloomery-product","version":1,"about":{...},"files":[{"name","size","sha256"}]}
 *     manifest.sig    "bloomery-product-signature 1", the seller's public key and the signature of manifest.json in hex
 *     then every file of the list, in its order
 *
 * The reader knows each header before it reads it, from the list, and takes no other byte: no links, no directories, no
 * owners, padding and end of zeros. So there is no byte of a bundle that can be changed without being noticed, and
 * nothing in it that could be a path to somewhere else. The signature is Ed25519 over a prefix and the manifest; it is
 * checked before anything is unpacked.
 *
 * Used by the command line; reading runs in a confined child there (oci/confined.h), and in the fuzzer. No state.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/hash.h"
#include "base/str.h"

enum {
	PRODUCT_KEY_BYTES = 32,
	PRODUCT_SIGNATURE_BYTES = 64,
	PRODUCT_FINGERPRINT_BYTES = 7 + 64 + 1, /* "sha256:" and 64 digits, NUL */
	PRODUCT_ACCOUNT_BYTES = 12 + 1,
	PRODUCT_NAME_BYTES = 63 + 1,
	PRODUCT_FILE_NAME_MAX = 99,
	PRODUCT_FILES_MAX = 100000,
	PRODUCT_MANIFEST_MAX_BYTES = 32 << 20
};

/* ---- key.c: who sells ---- */

struct product_key; /* a private one */
/* The site's own: the file "seller.key" in dir, 0600, made when there is none. The caller holds the directory's lock.
 * ERR_DENIED: somebody else may read it. */
int product_key_open(int dir, struct product_key **ret, struct err *e) must_check;
struct product_key *product_key_new(void);    /* a new one that is not kept */
void product_key_free(struct product_key *k); /* NULL is fine */
DEFINE_CLEANUP(struct product_key, product_key_free)
void product_key_public(const struct product_key *k, unsigned char ret[PRODUCT_KEY_BYTES]);
void product_sign(const struct product_key *k, struct str manifest, unsigned char ret[PRODUCT_SIGNATURE_BYTES]);
bool product_verify(const unsigned char key[PRODUCT_KEY_BYTES], struct str manifest,
                    const unsigned char signature[PRODUCT_SIGNATURE_BYTES]);
/* "sha256:..." of a public key, by which people know a seller. */
void product_fingerprint(const unsigned char key[PRODUCT_KEY_BYTES], char ret[PRODUCT_FINGERPRINT_BYTES]);
/* The twelve digits that stand for the seller in ARNs, made from the key, so that nobody else's key gives them. They
 * never begin with 0. */
void product_account(const unsigned char key[PRODUCT_KEY_BYTES], char ret[PRODUCT_ACCOUNT_BYTES]);

/* ---- bundle.c ---- */

struct product_file {
	char *name; /* "images/1/image.tar": letters, digits, ".", "_", "-" and "/", no piece begins with a dot */
	uint64_t size;
	unsigned char sha256[SHA256_BYTES];
};

struct product {
	char *text; /* manifest.json */
	size_t text_bytes;
	json_t *about; /* a view into manifest */
	json_t *manifest;
	unsigned char key[PRODUCT_KEY_BYTES], signature[PRODUCT_SIGNATURE_BYTES];
	char name[PRODUCT_NAME_BYTES]; /* the algorithm's name, cut, and 32 digits of the manifest's digest */
	struct product_file *files;    /* in order */
	size_t file_count;
	uint64_t total_bytes; /* of the files */
};
void product_fini(struct product *p);

/* Writes every file below dir, and about, as a bundle to out. about: an object with a string "algorithm", the
 * algorithm's name. *ret is what a reader will see; the caller finishes it. ERR_INVALID: a name that cannot be in a
 * bundle. Files must not change meanwhile. */
int product_write(int dir, const json_t *about, const struct product_key *k, int out, struct product *ret,
                  struct err *e) must_check;

/* Reads the manifest and checks its signature; fd is then at the first file. ERR_INVALID says what is wrong. */
int product_open(int fd, struct product *ret, struct err *e) must_check;
/* Reads the files, and the end. into >= 0: a directory in which they are made, with the directories that they need;
 * nothing of their names may be there. ERR_INVALID names the file that is not what was signed, or is cut short. On
 * failure what was made is the caller's to remove. */
int product_read_files(int fd, const struct product *p, int into, struct err *e) must_check;
/* manifest.sig. */
void product_signature_text(const struct product *p, struct buf *out);
