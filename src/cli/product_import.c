/* bloomery product import: a bundle, checked, becomes an algorithm of this site.
 *
 * Nobody's bytes are believed before the signature has been checked, and nothing is unpacked before the seller is known
 * to be trusted. What is unpacked lies in a directory of its own until all of it is there; the rename that puts it on
 * the shelf is the moment from which on the product exists. What a killed import leaves, the next one removes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "cli/product.h"
#include "oci/confined.h"
#include "oci/image.h"
#include "product/shelf.h"

enum { IMAGES_MAX = 16, ROLES_MAX = 64 };

struct import {
	const struct cli_args *args;
	const char *data_dir, *file;
	int shelf, fd, work;
	char *work_name;
	/* what the bundle says of itself, once its signature is known to be right */
	struct seen {
		unsigned char key[PRODUCT_KEY_BYTES];
		char name[PRODUCT_NAME_BYTES];
		uint64_t total_bytes;
	} seen;
	bool known; /* the seller, before this */
	char fingerprint[PRODUCT_FINGERPRINT_BYTES], account[PRODUCT_ACCOUNT_BYTES];
	json_t *manifest, *about; /* about: a view */
	size_t images;            /* that have been given a name */
};

/* ---- in confined children ---- */

static int look_child(void *arg, void *result, struct err *e)
{
	const struct import *im = arg;
	struct seen *seen = result;
	struct product p;

	if (product_open(im->fd, &p, e) < 0)
		return -1;
	memcpy(seen->key, p.key, sizeof(seen->key));
	memcpy(seen->name, p.name, sizeof(seen->name));
	seen->total_bytes = p.total_bytes;
	product_fini(&p);
	return 0;
}

static int unpack(const struct import *im, const struct product *p, struct err *e)
{
	_cleanup_buf_ struct buf signature = { 0 };

	if (memcmp(p->key, im->seen.key, sizeof(p->key)) != 0 || strcmp(p->name, im->seen.name) != 0)
		return err_set(e, ERR_INVALID, "it was replaced while it was read");
	product_signature_text(p, &signature);
	if (file_put(im->work, "manifest.json", (struct str){ p->text, p->text_bytes }, 0644, e) < 0 ||
	    file_put(im->work, "manifest.sig", buf_view(&signature), 0644, e) < 0)
		return -1;
	return product_read_files(im->fd, p, im->work, e);
}

static int unpack_child(void *arg, void *result, struct err *e)
{
	const struct import *im = arg;
	struct product p;
	int rc;

	(void)result;
	if (product_open(im->fd, &p, e) < 0)
		return -1;
	rc = unpack(im, &p, e);
	product_fini(&p);
	return rc;
}

static int in_child(struct import *im, int (*fn)(void *arg, void *result, struct err *e), uint64_t file_bytes,
                    void *result, size_t result_bytes, struct err *e)
{
	const int keep[] = { im->fd, im->work };
	const struct confined_options o = { .confine_to = im->work,
		                            .keep = keep,
		                            .keep_count = ARRAY_LEN(keep),
		                            .file_bytes_max = file_bytes,
		                            .doing = "reading" };
	struct confined child;

	if (lseek(im->fd, 0, SEEK_SET) < 0)
		return err_sys(e, "reading %s", im->file);
	if (confined_start(&o, fn, im, result_bytes, &child, e) < 0)
		return -1;
	return confined_finish(&child, result, e);
}

/* ---- whether it is wanted ---- */

static int check_seller(struct import *im, struct err *e)
{
	product_fingerprint(im->seen.key, im->fingerprint);
	product_account(im->seen.key, im->account);
	if (shelf_trusts(im->shelf, im->fingerprint, &im->known, e) < 0)
		return -1;
	if (im->known || !cli_flag(im->args, "known"))
		return 0;
	return err_set(
	        e, ERR_CLIENT,
	        "it is signed by a seller who is not known here, %s. Ask the seller whether that is what `bloomery "
	        "product key` prints there; if so, `bloomery product trust %s`, or import it without --known",
	        im->fingerprint, im->fingerprint);
}

/* Twice: its images lie there as archives and as files for a while. */
static int check_room(const struct import *im, struct err *e)
{
	struct statvfs fs;
	uint64_t room;

	if (fstatvfs(im->shelf, &fs) < 0)
		return err_sys(e, "measuring the free space");
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (im->seen.total_bytes > room / 2)
		return err_set(e, ERR_LIMIT,
		               "it holds %.1f MB, and needs twice that while it is imported; %.1f MB are free",
		               (double)im->seen.total_bytes / 1e6, (double)room / 1e6);
	return 0;
}

/* ---- its images ---- */

static int import_image(struct import *im, size_t i, const json_t *image, struct err *e)
{
	struct str dir = str_of(json_string_value(json_object_get(image, "directory"))), number = dir;
	_cleanup_free_ char *base = strf("%s/products/%s/" PRIstr, im->data_dir, im->work_name, ARGstr(dir));
	_cleanup_free_ char *like = strf("%s/image.json", base), *archive = strf("%s/image.tar", base);
	_cleanup_free_ char *inside = strf(PRIstr "/image.tar", ARGstr(dir));
	_cleanup_free_ char *name = product_image_name(im->seen.name, i);
	const char *const args[] = { "--quiet", "--like", like, "--own-digest", "import", "--", name, archive, NULL };
	const struct image_program p = { .data_dir = im->data_dir, .args = args, .out = -1, .keep = -1 };
	uint64_t n;

	if (!str_skip(&number, STR("images/")) || !str_to_u64(number, &n) || n != i)
		return err_set(e, ERR_INVALID, "what it says of image %zu makes no sense", i);
	im->images = i;
	if (product_run_image(&p, e) < 0)
		return err_in(e, "image %zu", i);
	if (unlinkat(im->work, inside, 0) < 0) /* it is in the store now */
		return err_sys(e, "removing the archive of image %zu", i);
	return 0;
}

static int import_images(struct import *im, struct err *e)
{
	const json_t *images = json_object_get(im->about, "images"), *image;
	size_t i;

	if (!json_array_size(images) || json_array_size(images) > IMAGES_MAX)
		return err_set(e, ERR_INVALID, "it has no images, or more than %d", IMAGES_MAX);
	json_array_foreach (images, i, image)
		if (import_image(im, i + 1, image, e) < 0)
			return -1;
	return 0;
}

/* ---- what the server has to know ---- */

static int digest_of(const struct import *im, const char *name, char **ret, struct err *e)
{
	_cleanup_free_ char *dir = strf("%s/images", im->data_dir);

	return image_digest(dir, str_of(name), ret, e);
}

/* The i-th image takes its place in the specification: "training", or "inference-N". */
static int put_image(const struct import *im, json_t *request, const char *role, size_t i, char **ret_training,
                     struct err *e)
{
	json_t *containers = json_object_get(json_object_get(request, "InferenceSpecification"), "Containers"), *at;
	_cleanup_free_ char *name = product_image_name(im->seen.name, i), *digest = NULL;
	struct str number = str_of(role);
	uint64_t n = 0;

	if (digest_of(im, name, &digest, e) < 0)
		return -1;
	if (!strcmp(role, "training")) {
		at = json_object_get(request, "TrainingSpecification");
		json_object_set_new(at, "TrainingImage", json_string(name));
		json_object_set_new(at, "TrainingImageDigest", json_string(digest));
		return image_pinned(str_of(name), str_of(digest), ret_training, e);
	}
	if (!str_skip(&number, STR("inference-")) || !str_to_u64(number, &n) || !n ||
	    !(at = json_array_get(containers, n - 1)))
		return err_set(e, ERR_INVALID, "what it says of image %zu makes no sense", i);
	json_object_set_new(at, "Image", json_string(name));
	json_object_set_new(at, "ImageDigest", json_string(digest));
	return 0;
}

static int put_images(const struct import *im, json_t *request, json_t *names, char **ret_training, struct err *e)
{
	const json_t *images = json_object_get(im->about, "images"), *image, *role;
	size_t i, k, roles = 0;

	json_array_foreach (images, i, image) {
		_cleanup_free_ char *name = product_image_name(im->seen.name, i + 1);

		json_array_append_new(names, json_string(name));
		json_array_foreach (json_object_get(image, "roles"), k, role) {
			const char *text = json_string_value(role);

			if (!text || ++roles > ROLES_MAX || (!strcmp(text, "training") && *ret_training))
				return err_set(e, ERR_INVALID, "what it says of image %zu makes no sense", i + 1);
			if (put_image(im, request, text, i + 1, ret_training, e) < 0)
				return -1;
		}
	}
	return *ret_training ? 0 : err_set(e, ERR_INVALID, "it has no training image");
}

/* Every image that the specification names is one of the product's. */
static int check_images(const json_t *request, struct err *e)
{
	const json_t *c;
	size_t i;

	json_array_foreach (json_object_get(json_object_get(request, "InferenceSpecification"), "Containers"), i, c)
		if (!str_starts(str_of(json_string_value(json_object_get(c, "Image"))), STR("product/")))
			return err_set(e, ERR_INVALID, "the image of its container %zu is not in it", i + 1);
	return 0;
}

/* Only what an algorithm is; what its seller validated it with, and where, is in its files. */
static json_t *request_of(const struct import *im)
{
	static const char *const members[] = { "AlgorithmDescription", "TrainingSpecification",
		                               "InferenceSpecification" };
	const json_t *from = json_object_get(im->about, "request");
	json_t *request = json_object();

	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		json_t *v = json_object_get(from, members[i]);

		if (v)
			json_object_set_new(request, members[i], json_deep_copy(v));
	}
	json_object_set_new(request, "CertifyForMarketplace", json_true());
	json_object_set_new(request, "ProductId", json_string(strrchr(im->seen.name, '-') + 1));
	return request;
}

static json_t *describe_product(const struct import *im, json_t *request, json_t *names, const char *training)
{
	const char *algorithm = json_string_value(json_object_get(im->about, "algorithm"));
	json_t *j = json_pack("{ss ss ss ss sO s{s[] s[]} sO ss sI}", "name", im->seen.name, "account", im->account,
	                      "seller", im->fingerprint, "algorithm", algorithm ? algorithm : "", "request", request,
	                      "details", "ValidationStatuses", "ImageScanStatuses", "images", names, "image", training,
	                      "imported_ms", (json_int_t)wall_now().ms);
	json_t *description = json_object_get(request, "AlgorithmDescription");

	must(j);
	if (json_is_string(description))
		json_object_set(j, "description", description);
	return j;
}

static int write_product_json(const struct import *im, struct err *e)
{
	json_t *request = request_of(im), *names = json_array(), *j = NULL;
	_cleanup_free_ char *training = NULL, *text = NULL;
	int rc = put_images(im, request, names, &training, e);

	if (rc == 0)
		rc = check_images(request, e);
	if (rc == 0) {
		j = describe_product(im, request, names, training);
		text = json_dumps(j, JSON_INDENT(1) | JSON_SORT_KEYS);
		must(text);
		rc = file_put(im->work, "product.json", str_of(text), 0644, e);
	}
	json_decref(j);
	json_decref(names);
	json_decref(request);
	return rc;
}

/* ---- all of it ---- */

static int read_manifest(struct import *im, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };

	if (file_read_at(im->work, "manifest.json", PRODUCT_MANIFEST_MAX_BYTES, &text, e) < 0)
		return -1;
	im->manifest = json_loadb(text.p, text.n, 0, NULL);
	im->about = json_object_get(im->manifest, "about");
	return json_is_object(json_object_get(im->about, "request"))
	               ? 0
	               : err_set(e, ERR_INVALID, "it does not say what its algorithm is");
}

static int publish(struct import *im, struct err *e)
{
	if (fchmod(im->work, 0755) < 0 || syncfs(im->work) < 0)
		return err_sys(e, "writing the product to disk");
	if (renameat(im->shelf, im->work_name, im->shelf, im->seen.name) < 0)
		return err_sys(e, "putting the product on the shelf");
	free(take_ptr(im->work_name));
	return fsync(im->shelf) < 0 ? err_sys(e, "putting the product on the shelf") : 0;
}

static int unpublish(struct import *im, const char *why, struct err *e)
{
	bool told;
	char *refused = NULL;

	if (remove_tree(im->shelf, im->seen.name, e) < 0)
		return -1;
	(void)(product_tell_server(im->args, im->seen.name, &told, &refused, &(struct err){ 0 }) == 0);
	free(refused);
	return err_set(e, ERR_CLIENT, "its algorithm breaks the rules of algorithms: %s", why);
}

static int tell(struct import *im, bool *ret_told, struct err *e)
{
	_cleanup_free_ char *refused = NULL;

	if (product_tell_server(im->args, im->seen.name, ret_told, &refused, e) < 0)
		return -1;
	return refused ? unpublish(im, refused, e) : 0;
}

static void print_result(const struct import *im, bool told, bool new)
{
	_cleanup_free_ char *arn = product_arn(im->args, im->account, im->seen.name);
	json_t *j;

	if (cli_flag(im->args, "json")) {
		_cleanup_free_ char *report = strf("%s/products/%s/report.html", im->data_dir, im->seen.name);

		j = json_pack("{ss ss ss ss sb sb}", "AlgorithmArn", arn, "Name", im->seen.name, "Seller",
		              im->fingerprint, "Report", report, "Served", (int)told, "New", (int)new);
		must(j);
		print_json(j);
		json_decref(j);
		return;
	}
	printf("%s\n", arn);
	if (!isatty(1))
		return;
	printf("sold by %s\nits report: %s/products/%s/report.html\n", im->fingerprint, im->data_dir, im->seen.name);
	if (!told)
		printf("no server serves here just now; it knows the product when it starts\n");
}

static int import_new(struct import *im, struct err *e)
{
	char nothing[1];

	if (check_room(im, e) < 0 ||
	    in_child(im, unpack_child, im->seen.total_bytes + PRODUCT_MANIFEST_MAX_BYTES, nothing, 0, e) < 0 ||
	    read_manifest(im, e) < 0 || import_images(im, e) < 0 || write_product_json(im, e) < 0)
		return -1;
	if (shelf_trust(im->shelf, im->fingerprint, im->seen.name, e) < 0)
		return -1;
	return publish(im, e);
}

static int import(struct import *im, struct err *e)
{
	bool told = false, new;

	im->shelf = shelf_lock(im->data_dir, e);
	if (im->shelf < 0)
		return -1;
	product_sweep_images(im->data_dir, im->shelf);
	im->work = product_work_new(im->shelf, &im->work_name, e);
	if (im->work < 0 || in_child(im, look_child, PRODUCT_MANIFEST_MAX_BYTES, &im->seen, sizeof(im->seen), e) < 0)
		return -1;
	im->seen.name[sizeof(im->seen.name) - 1] = 0;
	if (!shelf_name_valid(str_of(im->seen.name)))
		return err_set(e, ERR_BUG, "the product has no name");
	if (check_seller(im, e) < 0)
		return -1;
	new = faccessat(im->shelf, im->seen.name, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
	if ((new &&import_new(im, e) < 0) || tell(im, &told, e) < 0)
		return -1;
	print_result(im, told, new);
	if (!im->known)
		fprintf(stderr,
		        "bloomery: this is the first product here of the seller %s, who is known from now on; "
		        "`bloomery "
		        "product key` prints the same at the seller's if it is who you think\n",
		        im->fingerprint);
	return EXIT_DONE;
}

static void tear_down(struct import *im)
{
	if (im->work_name && remove_tree(im->shelf, im->work_name, NULL) < 0)
		(void)0; /* the next import sweeps it */
	if (im->images && im->shelf >= 0)
		product_sweep_images(im->data_dir, im->shelf);
	free(im->work_name);
	json_decref(im->manifest);
	cleanup_closep(&im->work);
	cleanup_closep(&im->fd);
	cleanup_closep(&im->shelf);
}

int product_import(const struct cli_args *a, struct err *e)
{
	struct import im = {
		.args = a, .data_dir = cli_data_dir(a), .file = a->rest[1], .shelf = -EBADF, .work = -EBADF
	};
	struct stat st;
	int rc;

	im.fd = open(im.file, O_RDONLY | O_CLOEXEC);
	if (im.fd < 0)
		return err_sys(e, "opening %s", im.file);
	if (fstat(im.fd, &st) < 0 || !S_ISREG(st.st_mode))
		rc = err_set(e, ERR_CLIENT, "it is no file");
	else
		rc = import(&im, e);
	tear_down(&im);
	if (rc < 0 && e->kind == ERR_INVALID)
		e->kind = ERR_CLIENT; /* not the command line is wrong */
	return rc < 0 ? err_in(e, "importing %s", im.file) : rc;
}
