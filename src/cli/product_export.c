/* bloomery product export: an algorithm of this site becomes a bundle.
 *
 * Everything is first laid out as files in a directory of its own on the shelf, then written, signed, to FILE, which
 * appears whole or not at all.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/conf.h"
#include "base/fd.h"
#include "cli/product.h"
#include "http/client.h"
#include "oci/image.h"
#include "oci/import.h"
#include "product/shelf.h"
#include "s3/s3.h"

enum { IMAGE_JSON_MAX = 1 << 20, SCAN_JSON_MAX = 64 << 20 };

static const char *text_in(const json_t *j, const char *member)
{
	const char *z = json_string_value(json_object_get(j, member));

	return z ? z : "";
}

/* ---- whether it is one ---- */

static int find_algorithm(struct gathering *g, const char *name, struct err *e)
{
	const char *status;

	if (access_call(g->access, "sagemaker", "SageMaker.DescribeAlgorithm", json_pack("{ss}", "AlgorithmName", name),
	                &g->algorithm, e) < 0)
		return -1;
	status = text_in(g->algorithm, "AlgorithmStatus");
	if (json_object_get(g->algorithm, "ProductId"))
		return err_set(e, ERR_CLIENT, "it is a product itself, and its seller's to export");
	if (strcmp(status, "Completed") != 0)
		return err_set(e, ERR_CLIENT, "it is in status %s; only what is Completed can be exported", status);
	if (!json_is_true(json_object_get(g->algorithm, "CertifyForMarketplace")))
		return err_set(
		        e, ERR_CLIENT,
		        "it is not certified: create it with CertifyForMarketplace and a ValidationSpecification, so "
		        "that its images are scanned and it has been shown to work");
	return 0;
}

/* What would have to be where it is imported, too. */
static int check_data(const struct gathering *g, struct err *e)
{
	static const char *const members[] = { "AdditionalS3DataSource", "ModelDataUrl", "ModelDataSource",
		                               "AdditionalModelDataSources" };
	const json_t *inference = json_object_get(g->algorithm, "InferenceSpecification"), *c;
	const json_t *training = json_object_get(g->algorithm, "TrainingSpecification");
	const char *found = json_object_get(training, members[0]) ? members[0] : NULL;
	size_t i;

	json_array_foreach (json_object_get(inference, "Containers"), i, c)
		for (size_t k = 0; k < ARRAY_LEN(members); k++)
			if (json_object_get(c, members[k]))
				found = members[k];
	if (!found)
		return 0;
	return err_set(
	        e, ERR_CLIENT,
	        "its specification has %s, data of this site's store, which a product does not carry: put it into "
	        "the image",
	        found);
}

/* ---- images ---- */

static int read_json(const struct gathering *g, const char *path, size_t most, json_t **ret, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };

	if (file_read_at(g->dir, path, most, &text, e) < 0)
		return -1;
	*ret = json_loadb(text.p, text.n, 0, NULL);
	return *ret ? 0 : err_set(e, ERR_IO, "%s cannot be read", path);
}

static int scan_image(const struct gathering *g, const char *dir, const char *image, json_t **ret, struct err *e)
{
	const char *const args[] = { "--json", "scan", "--", image, NULL };
	_cleanup_free_ char *path = strf("%s/scan.json", dir);
	_cleanup_close_ int fd = openat(g->dir, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	int status = 0;
	const struct image_program p = {
		.data_dir = g->data_dir, .args = args, .out = fd, .keep = -1, .ret_status = &status
	};

	if (fd < 0)
		return err_sys(e, "making %s", path);
	if (product_run_image(&p, e) < 0)
		return -1;
	if (status != 0 && status != IMAGE_EXIT_FINDINGS)
		return err_set(e, ERR_CLIENT, "image %s could not be scanned", image);
	return read_json(g, path, SCAN_JSON_MAX, ret, e);
}

static int pack_image(struct gathering *g, const char *image, const char *dir, json_t **ret, struct err *e)
{
	_cleanup_free_ char *json = strf("%s/image.json", dir), *number = NULL;
	_cleanup_close_ int fd = -EBADF;
	json_t *about, *scan;

	if (mkdir_all(g->dir, dir, 0755, e) < 0)
		return -1;
	fd = openat(g->dir, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "opening %s", dir);
	number = strf("%d", fd);
	if (product_run_image(
	            &(struct image_program){ .data_dir = g->data_dir,
	                                     .args = (const char *const[]){ "pack", "--", image, number, NULL },
	                                     .out = -1,
	                                     .keep = fd },
	            e) < 0 ||
	    read_json(g, json, IMAGE_JSON_MAX, &about, e) < 0)
		return -1;
	if (scan_image(g, dir, image, &scan, e) < 0) {
		json_decref(about);
		return -1;
	}
	*ret = json_pack("{ss ss ss ss s[] so}", "directory", dir, "name", image, "digest", text_in(about, "digest"),
	                 "architecture", text_in(about, "architecture"), "roles", "scan", scan);
	must(*ret);
	json_decref(about);
	return 0;
}

/* Each image once, whatever it is for and called. */
static int add_image(struct gathering *g, const char *image, const char *role, struct err *e)
{
	_cleanup_free_ char *dir = strf("images/%zu", json_array_size(g->images) + 1), *digest = NULL;
	_cleanup_free_ char *store = strf("%s/images", g->data_dir);
	json_t *i, *found = NULL;
	size_t at;

	if (image_digest(store, str_of(image), &digest, e) < 0)
		return -1;
	json_array_foreach (g->images, at, i)
		if (!strcmp(text_in(i, "digest"), digest))
			found = i;
	if (!found) {
		if (!g->quiet)
			fprintf(stderr, "image %s\n", image);
		if (pack_image(g, image, dir, &found, e) < 0)
			return err_in(e, "image %s", image);
		json_array_append_new(g->images, found);
		if (!json_is_true(json_object_get(json_object_get(found, "scan"), "passed")))
			return err_set(e, ERR_CLIENT, "image %s does not pass the scan any more: %s", image,
			               text_in(json_object_get(found, "scan"), "reason"));
	}
	json_array_append_new(json_object_get(found, "roles"), json_string(role));
	return 0;
}

static char *pinned(const char *image, const char *digest)
{
	struct str name = str_of(image), at = str_cut(&name, '@'), host = at;
	ptrdiff_t slash;

	if (!*digest)
		return xstrdup(image);
	slash = str_find(host, STR("/"));
	while (slash >= 0) {
		host = (struct str){ host.p + slash + 1, host.n - (size_t)slash - 1 };
		slash = str_find(host, STR("/"));
	}
	str_cut(&host, ':'); /* what is left of the last piece is its tag */
	if (host.n)
		at.n -= host.n + 1;
	return strf(PRIstr "@%s", ARGstr(at), digest);
}

static int add_images(struct gathering *g, struct err *e)
{
	const json_t *t = json_object_get(g->algorithm, "TrainingSpecification");
	const json_t *inference = json_object_get(g->algorithm, "InferenceSpecification"), *c;
	_cleanup_free_ char *image = pinned(text_in(t, "TrainingImage"), text_in(t, "TrainingImageDigest"));
	size_t i;

	if (add_image(g, image, "training", e) < 0)
		return -1;
	json_array_foreach (json_object_get(inference, "Containers"), i, c) {
		_cleanup_free_ char *own = pinned(text_in(c, "Image"), text_in(c, "ImageDigest"));
		_cleanup_free_ char *role = strf("inference-%zu", i + 1);

		if (add_image(g, own, role, e) < 0)
			return -1;
	}
	return 0;
}

/* ---- what is said of it ---- */

static json_t *about_of(const struct gathering *g)
{
	static const char *const members[] = { "AlgorithmDescription", "TrainingSpecification",
		                               "InferenceSpecification" };
	json_t *request = json_object(), *images = json_array(), *j;
	size_t i;

	for (i = 0; i < ARRAY_LEN(members); i++) {
		json_t *v = json_object_get(g->algorithm, members[i]);

		if (v)
			json_object_set(request, members[i], v);
	}
	json_array_foreach (g->images, i, j) {
		json_t *one = json_copy(j);

		json_object_del(one, "scan");
		json_array_append_new(images, one);
	}
	j = json_pack("{ss ss sI so so}", "algorithm", text_in(g->algorithm, "AlgorithmName"), "made_by",
	              "bloomery " BLOOMERY_VERSION, "made_ms", (json_int_t)wall_now().ms, "request", request, "images",
	              images);
	must(j);
	return j;
}

static int put_specification(const struct gathering *g, struct err *e)
{
	_cleanup_free_ char *text = json_dumps(g->algorithm, JSON_INDENT(1) | JSON_SORT_KEYS);

	must(text);
	return file_put(g->dir, "specification.json", str_of(text), 0644, e);
}

static int put_report(const struct gathering *g, const json_t *about, struct err *e)
{
	_cleanup_buf_ struct buf html = { 0 };

	product_report(g, about, &html);
	return file_put(g->dir, "report.html", buf_view(&html), 0644, e);
}

/* ---- the file ---- */

static int write_to(const struct gathering *g, int shelf, const json_t *about, const char *path, struct product *p,
                    struct err *e)
{
	_cleanup_(product_key_freep) struct product_key *key = NULL;
	_cleanup_free_ char *half = strf("%s.half", path);
	_cleanup_close_ int fd = -EBADF;

	if (product_key_open(shelf, &key, e) < 0)
		return -1;
	if (unlink(half) < 0 && errno != ENOENT)
		return err_sys(e, "removing %s, which an earlier export left", half);
	fd = open(half, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_sys(e, "making %s", half);
	if (product_write(g->dir, about, key, fd, p, e) < 0) {
		unlink(half);
		return -1;
	}
	if (fsync(fd) < 0 || rename(half, path) < 0) {
		err_sys(e, "writing %s", path);
		unlink(half);
		product_fini(p);
		return -1;
	}
	return 0;
}

static void print_result(const struct cli_args *a, const struct product *p, const char *path)
{
	char fingerprint[PRODUCT_FINGERPRINT_BYTES], account[PRODUCT_ACCOUNT_BYTES];
	_cleanup_free_ char *arn = NULL;
	json_t *j;

	product_fingerprint(p->key, fingerprint);
	product_account(p->key, account);
	arn = product_arn(a, account, p->name);
	if (cli_flag(a, "json")) {
		j = json_pack("{ss ss ss ss sI sI}", "AlgorithmArn", arn, "Name", p->name, "Seller", fingerprint,
		              "File", path, "Files", (json_int_t)p->file_count, "Bytes", (json_int_t)p->total_bytes);
		must(j);
		print_json(j);
		json_decref(j);
		return;
	}
	printf("%s\n", arn);
	if (isatty(1))
		printf("%zu files, %.1f MB, signed by %s\nTell that fingerprint to those who import it, by another way "
		       "than "
		       "the file.\n",
		       p->file_count, (double)p->total_bytes / 1e6, fingerprint);
}

static int export(struct gathering *g, const struct cli_args *a, int shelf, struct err *e)
{
	struct product p = { 0 };
	json_t *about;
	int rc;

	if (find_algorithm(g, a->rest[1], e) < 0 || check_data(g, e) < 0 || add_images(g, e) < 0 ||
	    product_gather(g, e) < 0 || put_specification(g, e) < 0)
		return -1;
	about = about_of(g);
	rc = put_report(g, about, e);
	if (rc == 0)
		rc = write_to(g, shelf, about, a->rest[2], &p, e);
	json_decref(about);
	if (rc < 0)
		return -1;
	print_result(a, &p, a->rest[2]);
	product_fini(&p);
	return EXIT_DONE;
}

/* Where the data of jobs is: another S3 when the settings name one. */
static int open_s3(const struct cli_args *a, const struct access *access, struct s3 **ret, struct err *e)
{
	struct s3_options o = { .endpoint = access->endpoint,
		                .region = access->region,
		                .access_key = access->access_key,
		                .secret_key = access->secret_key,
		                .session_token = access->token };
	struct conf conf;
	int rc = cli_conf(a, cli_data_dir(a), &conf, e);

	if (rc == 0 && *conf.s3_endpoint)
		o = (struct s3_options){ .endpoint = conf.s3_endpoint,
			                 .region = conf.s3_region,
			                 .access_key = conf.s3_access_key,
			                 .secret_key = conf.s3_secret_key };
	if (rc == 0)
		rc = s3_new(&o, ret, e);
	conf_fini(&conf);
	return rc;
}

static int with_work(struct gathering *g, const struct cli_args *a, struct err *e)
{
	_cleanup_close_ int shelf = shelf_lock(g->data_dir, e);
	_cleanup_free_ char *name = NULL;
	int rc;

	if (shelf < 0)
		return -1;
	g->dir = product_work_new(shelf, &name, e);
	if (g->dir < 0)
		return -1;
	rc = export(g, a, shelf, e);
	close(g->dir);
	if (remove_tree(shelf, name, NULL) < 0)
		(void)0; /* the next one sweeps it */
	return rc;
}

int product_export(const struct cli_args *a, struct err *e)
{
	struct access access = { .http = http_client_new() };
	struct gathering g = { .access = &access,
		               .data_dir = cli_data_dir(a),
		               .profiles = json_array(),
		               .images = json_array(),
		               .quiet = cli_flag(a, "quiet") || !isatty(2) };
	int rc = access_of_data(g.data_dir, &access, e);

	if (rc == 0)
		rc = open_s3(a, &access, &g.s3, e);
	if (rc == 0)
		rc = with_work(&g, a, e);
	s3_free(g.s3);
	access_fini(&access);
	json_decref(g.algorithm);
	json_decref(g.profiles);
	json_decref(g.images);
	if (rc < 0 && e->kind == ERR_INVALID)
		e->kind = ERR_CLIENT;
	return rc < 0 ? err_in(e, "exporting %s", a->rest[1]) : rc;
}
