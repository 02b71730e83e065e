/* SPDX-License-Identifier: Apache-2.0 */
#include "op/products.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "aws/arn.h"
#include "base/log.h"
#include "job/jobs.h"
#include "op/algorithm.h"
#include "product/shelf.h"
#include "store/store.h"

enum { PAGE = 100 };

#define PRODUCT_IMAGES "product/" /* as bloomery product names them */

struct sync {
	const struct api *api;
	int shelf; /* -1: there is none */
	unsigned added, removed;
	json_t *refused; /* names, and why */
};

/* ---- on the shelf, and not in the store ---- */

/* A member that names objects of a store, which are not the seller's here; NULL: there is none. */
static const char *data_elsewhere(const json_t *request)
{
	static const char *const members[] = { "AdditionalS3DataSource", "ModelDataUrl", "ModelDataSource",
		                               "AdditionalModelDataSources" };
	const json_t *inference = json_object_get(request, "InferenceSpecification"), *c;
	const json_t *training = json_object_get(request, "TrainingSpecification");
	size_t i;

	if (json_object_get(training, members[0]))
		return members[0];
	json_array_foreach (json_object_get(inference, "Containers"), i, c)
		for (size_t k = 0; k < ARRAY_LEN(members); k++)
			if (json_object_get(c, members[k]))
				return members[k];
	return NULL;
}

/* The seller's word is not enough: what is used as an algorithm keeps the rules of CreateAlgorithm. */
static int check(const struct api *api, const char *name, const json_t *request, struct err *e)
{
	const struct service *service = model_service("sagemaker");
	_cleanup_buf_ struct buf words = { 0 };
	const struct api_call call = { .api = api,
		                       .service = service,
		                       .op = model_operation(service, STR("CreateAlgorithm")),
		                       .caller = api->keys,
		                       .now = wall_now(),
		                       .request_id = "product",
		                       .words = &words };
	json_t *in = json_deep_copy(request);
	const char *elsewhere = data_elsewhere(in);
	int rc;

	if (elsewhere) { /* it would be read here, whosever it is */
		json_decref(in);
		return err_set(e, ERR_INVALID, "%s names data that is not in the product", elsewhere);
	}
	json_object_del(in, "ProductId");
	json_object_del(in, "CertifyForMarketplace"); /* by its seller's validation, which stays there */
	json_object_set_new(in, "AlgorithmName", json_string(name));
	rc = model_check_text(call.op, in, &words, e);
	if (rc == 0)
		rc = algorithm_check(&call, in, e);
	json_decref(in);
	return rc;
}

static int add(struct sync *s, const json_t *product, struct err *e)
{
	const char *name = json_string_value(json_object_get(product, "name"));
	const char *account = json_string_value(json_object_get(product, "account"));
	_cleanup_free_ char *arn = arn_make("sagemaker", s->api->region, account, "algorithm", str_of(name));
	_cleanup_free_ char *request = json_dumps(json_object_get(product, "request"), JSON_COMPACT);
	_cleanup_free_ char *details = json_dumps(json_object_get(product, "details"), JSON_COMPACT);
	const struct store_new_algorithm row = {
		.name = name,
		.arn = arn,
		.status = "Completed",
		.description = json_string_value(json_object_get(product, "description")),
		.image = json_string_value(json_object_get(product, "image")),
		.details = details,
		.request = request,
		.created = { json_integer_value(json_object_get(product, "imported_ms")) },
	};

	must(request && details);
	if (check(s->api, name, json_object_get(product, "request"), e) < 0)
		return -1;
	if (!strcmp(account, s->api->account))
		return err_set(e, ERR_INVALID, "its seller's account is this site's own, %s", account);
	return jobs_algorithm_create(s->api->jobs, &row, e);
}

static int look_at(const char *name, void *arg, struct err *e)
{
	struct stored_algorithm row = { 0 };
	struct sync *s = arg;
	struct err why = { 0 };
	json_t *product;

	if (store_algorithm_find(s->api->store, str_of(name), &row, NULL, &why) == 0) {
		stored_algorithm_fini(&row);
		return 0;
	}
	if (why.kind != ERR_NOT_FOUND) {
		if (e)
			*e = why;
		return -1;
	}
	why = (struct err){ 0 };
	if (shelf_read(s->shelf, name, &product, &why) < 0) {
		log_err(LOG_WARN, &why, "product %s", name);
		return 0;
	}
	if (add(s, product, &why) == 0) {
		s->added++;
	} else {
		log_err(LOG_WARN, &why, "product %s", name);
		json_object_set_new(s->refused, name, json_string(why.frame[0]));
	}
	json_decref(product);
	return 0;
}

/* ---- in the store, and not on the shelf ---- */

struct names {
	struct sync *s;
	char **v;
	size_t n;
};

static void note(const struct store_algorithm_summary *a, void *arg)
{
	struct names *all = arg;
	_cleanup_free_ char *name = str_dup(a->name);
	_cleanup_free_ char *json = strf("%s/product.json", name);

	if (!algorithm_is_foreign(all->s->api, a->name, a->arn) ||
	    (all->s->shelf >= 0 && faccessat(all->s->shelf, json, F_OK, AT_SYMLINK_NOFOLLOW) == 0))
		return;
	all->v = xrealloc(all->v, (all->n + 1) * sizeof(*all->v));
	all->v[all->n++] = take_ptr(name);
}

static int find_gone(struct names *all, struct err *e)
{
	_cleanup_free_ char *token = NULL;

	do {
		const struct store_list q = { .sort = SORT_NAME, .max = PAGE, .token = str_of(token) };
		char *next = NULL;

		if (store_algorithm_list(all->s->api->store, &q, note, all, &next, e) < 0)
			return -1;
		free(token);
		token = next;
	} while (token);
	return 0;
}

/* No algorithm that was created here has a ProductId, whatever it is called and whatever this site's account was. */
static bool is_product(const struct sync *s, const char *name)
{
	struct stored_algorithm row = { 0 };
	_cleanup_free_ char *text = NULL;
	json_t *request;
	bool is;

	if (store_algorithm_find(s->api->store, str_of(name), &row, &text, NULL) < 0)
		return false;
	stored_algorithm_fini(&row);
	request = json_loads(text, JSON_ALLOW_NUL, NULL);
	is = json_object_get(request, "ProductId") != NULL;
	json_decref(request);
	return is;
}

static int remove_gone(struct sync *s, struct err *e)
{
	struct names all = { .s = s };
	int rc = find_gone(&all, e);

	for (size_t i = 0; i < all.n; i++) {
		struct err why = { 0 };

		if (rc == 0 && is_product(s, all.v[i]) &&
		    jobs_algorithm_delete(s->api->jobs, str_of(all.v[i]), &why) == 0)
			s->removed++;
		free(all.v[i]);
	}
	free(all.v);
	return rc;
}

static int sync_all(struct sync *s, struct err *e)
{
	_cleanup_close_ int shelf = -EBADF;
	struct err why = { 0 };

	s->shelf = shelf = shelf_open(s->api->data_dir, &why);
	if (shelf < 0 && why.kind != ERR_NOT_FOUND) {
		if (e)
			*e = why;
		return -1;
	}
	if ((shelf >= 0 && shelf_each(shelf, look_at, s, e) < 0) || remove_gone(s, e) < 0)
		return -1;
	if (s->added || s->removed)
		log_info("products: %u new, %u removed", s->added, s->removed);
	return 0;
}

int products_sync(const struct api *api, json_t **ret, struct err *e)
{
	struct sync s = { .api = api, .refused = json_object() };

	if (sync_all(&s, e) < 0) {
		json_decref(s.refused);
		return -1;
	}
	*ret = json_pack("{si si so}", "Added", (int)s.added, "Removed", (int)s.removed, "Refused", s.refused);
	must(*ret);
	return 0;
}

int products_answer(const struct api *api, struct buf *out, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	json_t *j;

	if (products_sync(api, &j, e) < 0)
		return -1;
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	must(text);
	buf_z(out, text);
	return 0;
}

/* ---- images that are only used by their product ---- */

struct search {
	const struct api *api;
	int shelf;
	struct str digest;
	bool found;
};

static int compare(const char *name, void *arg, struct err *e)
{
	struct search *s = arg;
	json_t *product, *image;
	size_t i;

	(void)e;
	if (s->found || shelf_read(s->shelf, name, &product, NULL) < 0)
		return 0;
	json_array_foreach (json_object_get(product, "images"), i, image) {
		_cleanup_free_ char *digest = NULL;

		if (jobs_image_digest(s->api->jobs, str_of(json_string_value(image)), &digest, NULL) == 0 &&
		    str_eq_nocase(s->digest, str_of(digest)))
			s->found = true;
	}
	json_decref(product);
	return 0;
}

static bool has_digest(const struct api *api, struct str digest)
{
	_cleanup_close_ int shelf = digest.n ? shelf_open(api->data_dir, NULL) : -1;
	struct search s = { .api = api, .shelf = shelf, .digest = digest };

	if (shelf >= 0 && shelf_each(shelf, compare, &s, NULL) < 0)
		return false;
	return s.found;
}

/* "product/NAME-1", with whatever tag and digest. */
static bool has_name(struct str image)
{
	struct str name;

	if (!str_skip(&image, STR(PRODUCT_IMAGES)))
		return false;
	name = str_cut(&image, '@');
	name = str_cut(&name, ':');
	str_cut_last(&name, '-');
	return shelf_name_valid(name);
}

/* Of a container, or what is like one. */
static int check_image(const struct api *api, const json_t *c, const char *image, const char *digest, struct err *e)
{
	struct str name = str_of(json_string_value(json_object_get(c, image))), rest = name;
	struct str given = str_of(json_string_value(json_object_get(c, digest)));

	str_cut(&rest, '@');
	if (!has_name(name) && !has_digest(api, rest) && !has_digest(api, given))
		return 0;
	return err_set(e, ERR_INVALID,
	               "%s '" PRIstr "' belongs to a product, which is used by its ARN (`bloomery product list`)",
	               image, ARGstr(name));
}

static int check_containers(const struct api *api, const json_t *list, struct err *e)
{
	const json_t *c;
	size_t i;

	json_array_foreach (list, i, c)
		if (check_image(api, c, "Image", "ImageDigest", e) < 0)
			return -1;
	return 0;
}

int products_check_images(const struct api *api, const json_t *in, struct err *e)
{
	const json_t *more = json_object_get(in, "AdditionalInferenceSpecifications"), *spec;
	size_t i;

	if (check_image(api, json_object_get(in, "AlgorithmSpecification"), "TrainingImage", "", e) < 0 ||
	    check_image(api, json_object_get(in, "TrainingSpecification"), "TrainingImage", "TrainingImageDigest", e) <
	            0 ||
	    check_image(api, json_object_get(in, "PrimaryContainer"), "Image", "ImageDigest", e) < 0 ||
	    check_containers(api, json_object_get(in, "Containers"), e) < 0 ||
	    check_containers(api, json_object_get(json_object_get(in, "InferenceSpecification"), "Containers"), e) < 0)
		return -1;
	json_array_foreach (more, i, spec)
		if (check_containers(api, json_object_get(spec, "Containers"), e) < 0)
			return -1;
	return 0;
}
