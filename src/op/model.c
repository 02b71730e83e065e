/* CreateModel, DescribeModel, ListModels, DeleteModel (contract 7.1, 7.2). SPDX-License-Identifier: Apache-2.0 */
#include "op/model.h"

#include <stdlib.h>

#include "iam/iam.h"
#include "job/jobs.h"
#include "op/authorise.h"
#include "op/page.h"
#include "op/products.h"
#include "op/tags.h"
#include "op/training_job.h"
#include "store/store.h"

enum { WHERE_BYTES = 32 };

static int missing(const struct api_call *call, struct str name, struct err *e)
{
	_cleanup_free_ char *arn = sagemaker_arn(call->api, "model", name);

	return err_set(e, ERR_INVALID, "Could not find model \"%s\".", arn);
}

/* ---- the containers of a request ---- */

/* The i-th, and what it is called in the request; NULL: there are no more. */
static json_t *container_at(const json_t *in, size_t i, char where[WHERE_BYTES])
{
	json_t *primary = json_object_get(in, "PrimaryContainer");

	if (primary) {
		snprintf(where, WHERE_BYTES, "PrimaryContainer");
		return i ? NULL : primary;
	}
	snprintf(where, WHERE_BYTES, "Containers.%zu", i + 1);
	return json_array_get(json_object_get(in, "Containers"), i);
}

/* Of a container whose package says the rest. */
static int check_packaged(const json_t *c, const char *where, struct err *e)
{
	static const char *const theirs[] = { "Image", "ImageConfig", "ModelDataUrl", "ModelDataSource" };

	for (size_t i = 0; i < ARRAY_LEN(theirs); i++)
		if (json_object_get(c, theirs[i]))
			return err_set(e, ERR_INVALID,
			               "%s: %s cannot be given with ModelPackageName, whose package says it", where,
			               theirs[i]);
	return 0;
}

static int check_container(json_t *c, const char *where, struct err *e)
{
	if (json_object_get(c, "ModelPackageName"))
		return check_packaged(c, where, e);
	if (json_object_get(c, "InferenceSpecificationName"))
		return err_set(
		        e, ERR_INVALID,
		        "%s: InferenceSpecificationName is one of a model package; name that in ModelPackageName",
		        where);
	if (!in_str(c, "Image").n)
		return err_set(e, ERR_INVALID, "%s: neither Image nor ModelPackageName is given; one of them is needed",
		               where);
	return container_check_form(c, where, e);
}

static int check_form(const json_t *in, struct err *e)
{
	const json_t *containers = json_object_get(in, "Containers");
	char where[WHERE_BYTES];
	json_t *c;

	if (json_object_get(in, "PrimaryContainer") && json_array_size(containers))
		return err_set(e, ERR_INVALID,
		               "PrimaryContainer and Containers exclude each other; a pipeline is said in Containers");
	if (!json_object_get(in, "PrimaryContainer") && !json_array_size(containers))
		return err_set(e, ERR_INVALID,
		               "Neither PrimaryContainer nor Containers is given; one of them is needed");
	if (json_object_get(in, "InferenceExecutionConfig") && !json_array_size(containers))
		return err_set(e, ERR_INVALID, "InferenceExecutionConfig is for models with Containers; leave it out");
	for (size_t i = 0; (c = container_at(in, i, where)); i++)
		if (check_container(c, where, e) < 0)
			return -1;
	return containers_check_names(containers, "Containers", e);
}

/* ---- what they come to ---- */

/* The containers themselves, with those of packages in the place of who names them. */
struct real {
	json_t *list;
	bool isolated; /* a package wants it */
};

static void real_fini(struct real *r)
{
	json_decref(r->list);
}

/* Also what Describe says of the package: its ARN, as of algorithms. */
static int add_packaged(const struct api_call *call, json_t *c, const char *where, bool lone, struct real *r,
                        struct err *e)
{
	json_t *own = json_object_get(c, "Environment"), *theirs, *name = json_object_get(c, "ContainerHostname");
	struct package_use u = { 0 };
	size_t i;
	int rc = 0;

	if (package_use(call, in_str(c, "ModelPackageName"), in_str(c, "InferenceSpecificationName"), &u, e) < 0)
		return err_in(e, "%s", where);
	if (!lone && json_array_size(u.containers) > 1)
		rc = err_set(e, ERR_INVALID,
		             "%s: the model package %s has %zu containers, a pipeline of its own; name it in "
		             "PrimaryContainer",
		             where, u.arn, json_array_size(u.containers));
	json_object_set_new(c, "ModelPackageName", json_string(u.arn));
	json_array_foreach (u.containers, i, theirs) {
		json_t *environment = json_object_get(theirs, "Environment");

		if (own && environment)
			json_object_update(environment, own);
		else if (own)
			json_object_set_new(theirs, "Environment", json_deep_copy(own));
		if (!lone && name)
			json_object_set(theirs, "ContainerHostname", name);
		json_array_append(r->list, theirs);
	}
	r->isolated |= u.isolated;
	package_use_fini(&u);
	return rc;
}

static int find_real(const struct api_call *call, const json_t *in, struct real *r, struct err *e)
{
	bool lone = json_object_get(in, "PrimaryContainer");
	char where[WHERE_BYTES];
	json_t *c;

	r->list = json_array();
	for (size_t i = 0; (c = container_at(in, i, where)); i++) {
		if (!json_object_get(c, "ModelPackageName"))
			json_array_append(r->list, c);
		else if (add_packaged(call, c, where, lone, r, e) < 0)
			return -1;
	}
	return 0;
}

static int authorise_model(const struct api_call *call, const json_t *in, const json_t *containers, const char *arn,
                           struct err *e)
{
	struct str role = in_str(in, "ExecutionRoleArn");
	const json_t *c;
	size_t i;

	if (!call->api->iam)
		return 0;
	if (authorise_known_role(call, role, e) < 0)
		return -1;
	if (role.n && authorise_action(call->api, call->session, "iam:PassRole", role, e) < 0)
		return -1;
	if (authorise_tags(call, in, arn, e) < 0)
		return -1;
	json_array_foreach (containers, i, c)
		if (container_authorise(call, c, role, e) < 0)
			return -1;
	return 0;
}

static int check_there(const struct api_call *call, const json_t *in, const json_t *containers, struct err *e)
{
	bool lone = json_array_size(containers) == 1;
	struct mono since = mono_now();
	char where[WHERE_BYTES];
	const json_t *c;
	size_t i;

	json_array_foreach (containers, i, c) {
		snprintf(where, sizeof(where), lone ? "The container" : "Container %zu", i + 1);
		if (container_check_there(call, c, where, since, e) < 0)
			return -1;
	}
	return jobs_check_network(call->api->jobs, in, 1, e);
}

/* ---- CreateModel ---- */

/* What Describe says and the request did not (contract 7.2). */
static void fill(json_t *in, const struct real *r)
{
	char where[WHERE_BYTES];
	json_t *c;

	for (size_t i = 0; (c = container_at(in, i, where)); i++)
		if (!json_object_get(c, "Mode"))
			json_object_set_new(c, "Mode", json_string("SingleModel"));
	if (r->isolated || !json_object_get(in, "EnableNetworkIsolation"))
		json_object_set_new(in, "EnableNetworkIsolation", json_boolean(r->isolated));
	if (!json_array_size(json_object_get(in, "Containers")))
		json_object_del(in, "Containers");
}

/* A pipeline's have the names they were given, where all were; the name of a lone container means nothing (the API's
 * text of ContainerHostname). */
static json_t *resolved(const struct real *r)
{
	size_t n = json_array_size(r->list), named = 0, i;
	json_t *list = json_array();
	const json_t *c;

	json_array_foreach (r->list, i, c)
		named += json_object_get(c, "ContainerHostname") != NULL;
	json_array_foreach (r->list, i, c) {
		_cleanup_free_ char *name = n > 1 && named == n ? str_dup(in_str(c, "ContainerHostname"))
		                                                : strf("container-%zu", i + 1);

		json_array_append_new(list, container_resolved(c, name));
	}
	return list;
}

static char *dump(json_t *j)
{
	char *text = json_dumps(j, JSON_COMPACT);

	must(text);
	return text;
}

int op_create_model(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct str name = in_str(in, "ModelName");
	_cleanup_free_ char *arn = sagemaker_arn(call->api, "model", name), *text = NULL, *containers = NULL;
	_cleanup_free_ struct store_tag *tags = NULL;
	struct store_new_model row = { .name = name.p, .arn = arn, .created = call->now };
	_cleanup_(real_fini) struct real real = { 0 };
	json_t *list;

	if (check_form(in, e) < 0 || products_check_images(call->api, in, e) < 0 ||
	    tags_check(json_object_get(in, "Tags"), e) < 0 || find_real(call, in, &real, e) < 0 ||
	    authorise_model(call, in, real.list, arn, e) < 0 || check_there(call, in, real.list, e) < 0)
		return -1;
	row.tags = tags = tags_from(json_object_get(in, "Tags"), &row.tag_count);
	fill(in, &real);
	row.request = text = dump(in);
	list = resolved(&real);
	row.containers = containers = dump(list);
	json_decref(list);
	if (jobs_model_create(call->api->jobs, &row, e) < 0)
		return -1;
	*ret_out = json_pack("{s:s}", "ModelArn", arn);
	return 0;
}

/* ---- DescribeModel ---- */

static void describe(const struct stored_model *m, const json_t *request, struct buf *out)
{
	static const char *const echoed[] = { "PrimaryContainer", "Containers", "InferenceExecutionConfig",
		                              "ExecutionRoleArn", "VpcConfig" };

	buf_z(out, "{\"ModelName\":");
	add_json_string(out, str_of(m->name));
	for (size_t i = 0; i < ARRAY_LEN(echoed); i++)
		add_json_member(out, request, echoed[i]);
	buf_z(out, ",\"CreationTime\":");
	add_seconds(out, m->created);
	buf_z(out, ",\"ModelArn\":");
	add_json_string(out, str_of(m->arn));
	add_json_member(out, request, "EnableNetworkIsolation");
	/* No instance types are recommended: there are none to choose from. */
	buf_z(out, ",\"DeploymentRecommendation\":{\"RecommendationStatus\":\"NOT_APPLICABLE\","
	           "\"RealTimeInferenceRecommendations\":[]}}");
}

int op_describe_model(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct str name = in_str(in, "ModelName");
	struct stored_model m = { 0 };
	json_t *request;

	(void)ret_out;
	if (store_model_find(call->api->store, name, &m, e) < 0)
		return e->kind == ERR_NOT_FOUND ? missing(call, name, e) : -1;
	request = json_loads(m.request, JSON_ALLOW_NUL, NULL);
	if (request)
		describe(&m, request, call->raw);
	stored_model_fini(&m);
	json_decref(request);
	return request ? 0 : err_set(e, ERR_BUG, "the request kept for model " PRIstr " is damaged", ARGstr(name));
}

/* ---- ListModels, DeleteModel ---- */

static void add_summary(const struct store_model_summary *m, void *arg)
{
	struct buf *out = arg;

	page_comma(out);
	buf_z(out, "{\"ModelName\":");
	add_json_string(out, m->name);
	buf_z(out, ",\"ModelArn\":");
	add_json_string(out, m->arn);
	buf_z(out, ",\"CreationTime\":");
	add_seconds(out, m->created);
	buf_c(out, '}');
}

/* The newest first, where no order is asked for (contract 15). */
int op_list_models(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct store_list q = page_query(in, true);
	_cleanup_free_ char *token = NULL;
	struct buf *out = call->raw;

	(void)ret_out;
	buf_z(out, "{\"Models\":[");
	if (store_model_list(call->api->store, &q, add_summary, out, &token, e) < 0)
		return -1;
	page_end(out, token);
	return 0;
}

int op_delete_model(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct str name = in_str(in, "ModelName");

	(void)ret_out;
	if (jobs_model_delete(call->api->jobs, name, e) < 0)
		return e->kind == ERR_NOT_FOUND ? missing(call, name, e) : -1;
	return 0;
}
