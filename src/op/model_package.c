/* CreateModelPackage, UpdateModelPackage, DeleteModelPackage. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "job/jobs.h"
#include "op/algorithm.h"
#include "op/authorise.h"
#include "op/model.h"
#include "op/products.h"
#include "op/tags.h"
#include "op/training_job.h"
#include "store/store.h"

enum { WHERE_BYTES = 128, SPECIFICATIONS_MAX = 15 };

/* ---- inference specifications ---- */

/* The digest that the image has here, where it is here: what it means does not change with its name any more. One that
 * was given is written as it is looked up. */
static void pin(const struct api_call *call, json_t *c)
{
	struct str given = in_str(c, "ImageDigest");
	_cleanup_free_ char *digest = given.n ? str_dup(given) : NULL;

	for (char *p = digest; p && *p; p++)
		*p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
	if (digest || jobs_image_digest(call->api->jobs, in_str(c, "Image"), &digest, &(struct err){ 0 }) == 0)
		json_object_set_new(c, "ImageDigest", json_string(digest));
}

/* prefix: where it stands, "InferenceSpecification". The data has no role that could read it yet: a model has. */
static int check_specification(const struct api_call *call, json_t *specification, const char *prefix,
                               struct mono since, struct err *e)
{
	_cleanup_free_ char *containers = strf("%s.Containers", prefix);
	json_t *all = json_object_get(specification, "Containers"), *c;
	char where[WHERE_BYTES];
	size_t i;

	json_array_foreach (all, i, c) {
		snprintf(where, sizeof(where), "%s.%zu", containers, i + 1);
		if (container_check_form(c, where, e) < 0 || container_authorise(call, c, (struct str){ 0 }, e) < 0 ||
		    container_check_there(call, c, where, since, e) < 0)
			return -1;
		pin(call, c);
	}
	return containers_check_names(all, containers, e);
}

static bool is_named(const json_t *all, size_t before, struct str name)
{
	for (size_t i = 0; i < before; i++)
		if (str_eq(in_str(json_array_get(all, i), "Name"), name))
			return true;
	return false;
}

static int check_additional(const struct api_call *call, json_t *all, const char *member, struct mono since,
                            struct err *e)
{
	json_t *s;
	size_t i;

	json_array_foreach (all, i, s) {
		_cleanup_free_ char *prefix = strf("%s.%zu", member, i + 1);

		if (is_named(all, i, in_str(s, "Name")))
			return err_set(e, ERR_INVALID, "%s: the Name '" PRIstr "' is given twice", prefix,
			               ARGstr(in_str(s, "Name")));
		if (check_specification(call, s, prefix, since, e) < 0)
			return -1;
	}
	return 0;
}

/* ---- from an algorithm ---- */

/* Its containers that bring no data serve what the algorithm has learnt. */
static void fill_data(json_t *inference, const json_t *source)
{
	json_t *containers = json_object_get(inference, "Containers"), *c;
	json_t *url = json_object_get(source, "ModelDataUrl"), *data = json_object_get(source, "ModelDataSource");
	size_t i;

	json_array_foreach (containers, i, c) {
		if (json_object_get(c, "ModelDataUrl") || json_object_get(c, "ModelDataSource"))
			continue;
		if (url)
			json_object_set(c, "ModelDataUrl", url);
		if (data)
			json_object_set_new(c, "ModelDataSource", json_deep_copy(data));
	}
}

static int use_algorithm(const struct stored_algorithm *a, const json_t *algorithm, json_t *in, json_t *source,
                         struct err *e)
{
	json_t *inference = json_object_get(algorithm, "InferenceSpecification");

	if (strcmp(a->status, "Completed") != 0)
		return err_set(
		        e, ERR_INVALID,
		        "SourceAlgorithmSpecification: algorithm '%s' is in status %s; only a Completed algorithm "
		        "can be used",
		        a->name, a->status);
	if (!inference)
		return err_set(
		        e, ERR_INVALID,
		        "SourceAlgorithmSpecification: algorithm '%s' has no InferenceSpecification that would say "
		        "how its models serve",
		        a->name);
	inference = json_deep_copy(inference);
	fill_data(inference, source);
	json_object_set_new(in, "InferenceSpecification", inference);
	json_object_set_new(source, "AlgorithmName", json_string(a->arn));
	if (json_is_true(json_object_get(algorithm, "CertifyForMarketplace"))) /* contract 8.4 */
		json_object_set_new(in, PACKAGE_ISOLATED, json_true());
	return 0;
}

/* With SourceAlgorithmSpecification the InferenceSpecification is the algorithm's. */
static int from_algorithm(const struct api_call *call, json_t *in, struct err *e)
{
	json_t *sources = json_object_get(json_object_get(in, "SourceAlgorithmSpecification"), "SourceAlgorithms");
	json_t *source = json_array_get(sources, 0), *algorithm;
	struct stored_algorithm a = { 0 };
	_cleanup_free_ char *text = NULL;
	struct str name;
	int rc;

	if (!source)
		return 0;
	if (json_object_get(in, "InferenceSpecification"))
		return err_set(e, ERR_INVALID,
		               "InferenceSpecification and SourceAlgorithmSpecification exclude each other: the "
		               "algorithm says how it serves");
	if (json_object_get(source, "ModelDataUrl") && json_object_get(source, "ModelDataSource"))
		return err_set(e, ERR_INVALID,
		               "SourceAlgorithmSpecification: ModelDataUrl and ModelDataSource exclude each other");
	name = in_str(source, "AlgorithmName");
	if (algorithm_authorise(call, name, e) < 0 || algorithm_use(call->api, name, &a, &text, e) < 0)
		return -1;
	algorithm = json_loads(text, JSON_ALLOW_NUL, NULL);
	rc = algorithm ? use_algorithm(&a, algorithm, in, source, e)
	               : err_set(e, ERR_BUG, "the request kept for algorithm %s is damaged", a.name);
	json_decref(algorithm);
	stored_algorithm_fini(&a);
	return rc;
}

/* ---- CreateModelPackage ---- */

static int check_names(const struct api_call *call, const json_t *in, struct str *ret_name, struct err *e)
{
	struct str own = in_str(in, "ModelPackageName"), group = in_str(in, "ModelPackageGroupName");

	if (own.n && group.n)
		return err_set(e, ERR_INVALID,
		               "Both ModelPackageName and ModelPackageGroupName are provided in the input. Cannot "
		               "determine which one to use.");
	if (!own.n && !group.n)
		return err_set(e, ERR_INVALID,
		               "Neither ModelPackageName nor ModelPackageGroupName is given; one of them is needed");
	if (group.n && json_array_size(json_object_get(in, "Tags")))
		return err_set(e, ERR_INVALID,
		               "Tags cannot be given with ModelPackageGroupName: a version has those of its group");
	*ret_name = own;
	return group.n ? group_name(call->api, group, ret_name, e) : 0;
}

/* The group's name as it was given to it. */
static int find_group(const struct api_call *call, struct str name, struct stored_group *ret, struct err *e)
{
	_cleanup_free_ char *arn = NULL;

	if (store_group_find(call->api->store, name, ret, e) == 0)
		return 0;
	arn = sagemaker_arn(call->api, "model-package-group", name);
	return e->kind == ERR_NOT_FOUND ? err_set(e, ERR_INVALID, "ModelPackageGroup %s does not exist.", arn) : -1;
}

static int check(const struct api_call *call, json_t *in, const char *arn, struct err *e)
{
	struct mono since = mono_now();

	if (tags_check(json_object_get(in, "Tags"), e) < 0 || authorise_tags(call, in, arn, e) < 0)
		return -1;
	if (from_algorithm(call, in, e) < 0 || check_specification(call, json_object_get(in, "InferenceSpecification"),
	                                                           "InferenceSpecification", since, e) < 0)
		return -1;
	return check_additional(call, json_object_get(in, "AdditionalInferenceSpecifications"),
	                        "AdditionalInferenceSpecifications", since, e);
}

/* The request without what is kept beside it. */
static char *kept(json_t *in)
{
	static const char *const elsewhere[] = { "ModelPackageName", "ModelPackageGroupName", "ModelApprovalStatus",
		                                 "ClientToken", "Tags" };
	json_t *rest = json_copy(in);
	char *text;

	for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++)
		json_object_del(rest, elsewhere[i]);
	text = json_dumps(rest, JSON_COMPACT);
	must(text);
	json_decref(rest);
	return text;
}

static int create(const struct api_call *call, json_t *in, struct store_new_package *row, char **ret_arn, struct err *e)
{
	_cleanup_free_ char *base = sagemaker_arn(call->api, "model-package", str_of(row->name)), *text = NULL;
	_cleanup_free_ char *who = caller_of(call), *approval = str_dup(in_str(in, "ModelApprovalStatus"));
	_cleanup_free_ char *token = str_dup(in_str(in, "ClientToken"));
	_cleanup_free_ struct store_tag *tags = NULL;

	if (check(call, in, base, e) < 0)
		return -1;
	row->arn = base;
	row->status = "Completed";
	row->approval = *approval ? approval : row->versioned ? "PendingManualApproval" : NULL;
	row->token = *token ? token : NULL;
	row->created_by = who;
	row->created = call->now;
	row->tags = tags = tags_from(json_object_get(in, "Tags"), &row->tag_count);
	row->request = text = kept(in);
	return jobs_package_create(call->api->jobs, row, ret_arn, e);
}

int op_create_model_package(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	_cleanup_free_ char *arn = NULL, *own = NULL;
	struct store_new_package row = { .versioned = json_object_get(in, "ModelPackageGroupName") != NULL };
	struct stored_group group = { 0 };
	struct str name;
	int rc;

	if (products_check_images(call->api, in, e) < 0 || check_names(call, in, &name, e) < 0 ||
	    (row.versioned && find_group(call, name, &group, e) < 0))
		return -1;
	row.name = row.versioned ? group.name : (own = str_dup(name));
	rc = create(call, in, &row, &arn, e);
	stored_group_fini(&group);
	if (rc < 0)
		return not_found_is_invalid(e);
	*ret_out = json_pack("{s:s}", "ModelPackageArn", arn);
	return 0;
}

/* ---- UpdateModelPackage ---- */

static int merge_metadata(json_t *request, const json_t *in, struct err *e)
{
	enum { PROPERTIES_MAX = 50 };
	json_t *have = json_object_get(request, "CustomerMetadataProperties"), *key;
	json_t *add = json_object_get(in, "CustomerMetadataProperties");
	size_t i;

	if (add && !have)
		json_object_set_new(request, "CustomerMetadataProperties", have = json_object());
	json_array_foreach (json_object_get(in, "CustomerMetadataPropertiesToRemove"), i, key)
		json_object_del(have, json_string_value(key));
	if (add)
		json_object_update(have, add);
	if (json_object_size(have) > PROPERTIES_MAX)
		return err_set(e, ERR_LIMIT,
		               "A model package can have at most %d CustomerMetadataProperties; this would make it %zu",
		               PROPERTIES_MAX, json_object_size(have));
	if (have && !json_object_size(have))
		json_object_del(request, "CustomerMetadataProperties");
	return 0;
}

static int merge_specifications(json_t *request, const json_t *in, struct err *e)
{
	json_t *have = json_object_get(request, "AdditionalInferenceSpecifications"), *s;
	const json_t *add = json_object_get(in, "AdditionalInferenceSpecificationsToAdd");
	size_t i;

	if (!json_array_size(add))
		return 0;
	if (!have)
		json_object_set_new(request, "AdditionalInferenceSpecifications", have = json_array());
	json_array_foreach (add, i, s) {
		if (is_named(have, json_array_size(have), in_str(s, "Name")))
			return err_set(e, ERR_INVALID,
			               "AdditionalInferenceSpecificationsToAdd.%zu: the model package has a "
			               "specification '" PRIstr "' already",
			               i + 1, ARGstr(in_str(s, "Name")));
		json_array_append(have, s);
	}
	if (json_array_size(have) > SPECIFICATIONS_MAX)
		return err_set(
		        e, ERR_LIMIT,
		        "A model package can have at most %d AdditionalInferenceSpecifications; this would make it %zu",
		        SPECIFICATIONS_MAX, json_array_size(have));
	return 0;
}

static int merge(json_t *request, const json_t *in, struct err *e)
{
	static const char *const replaced[] = { "ApprovalDescription", "InferenceSpecification",
		                                "SourceUri",           "ModelCard",
		                                "ModelLifeCycle",      "ModelPackageRegistrationType" };

	for (size_t i = 0; i < ARRAY_LEN(replaced); i++)
		if (json_object_get(in, replaced[i]))
			json_object_set(request, replaced[i], json_object_get(in, replaced[i]));
	return merge_metadata(request, in, e) < 0 ? -1 : merge_specifications(request, in, e);
}

static int edit(void *arg, const struct stored_package *p, char **ret_request, char **ret_approval, struct err *e)
{
	const json_t *in = arg;
	json_t *request = json_loads(p->request, JSON_ALLOW_NUL, NULL);
	struct str approval = in_str(in, "ModelApprovalStatus");
	int rc = request ? merge(request, in, e)
	                 : err_set(e, ERR_BUG, "the request kept for model package %s is damaged", p->arn);

	if (rc == 0) {
		*ret_request = json_dumps(request, JSON_COMPACT);
		must(*ret_request);
		*ret_approval = approval.n ? str_dup(approval) : p->approval ? xstrdup(p->approval) : NULL;
	}
	json_decref(request);
	return rc;
}

int op_update_model_package(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	_cleanup_free_ char *arn = NULL, *who = caller_of(call);
	const struct jobs_package_edit how = { .edit = edit, .arg = in, .by = who, .at = call->now };
	struct mono since = mono_now();

	if (package_arn(call->api, in_str(in, "ModelPackageArn"), &arn, e) < 0 ||
	    check_specification(call, json_object_get(in, "InferenceSpecification"), "InferenceSpecification", since,
	                        e) < 0 ||
	    check_additional(call, json_object_get(in, "AdditionalInferenceSpecificationsToAdd"),
	                     "AdditionalInferenceSpecificationsToAdd", since, e) < 0)
		return -1;
	if (jobs_package_update(call->api->jobs, str_of(arn), &how, e) < 0)
		return e->kind == ERR_NOT_FOUND ? package_missing(arn, e) : -1;
	*ret_out = json_pack("{s:s}", "ModelPackageArn", arn);
	return 0;
}

int op_delete_model_package(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	_cleanup_free_ char *arn = NULL;

	(void)ret_out;
	if (package_arn(call->api, in_str(in, "ModelPackageName"), &arn, e) < 0)
		return -1;
	if (jobs_package_delete(call->api->jobs, str_of(arn), e) < 0)
		return e->kind == ERR_NOT_FOUND ? package_missing(arn, e) : -1;
	return 0;
}
