/* What a ValidationSpecification asks for, as requests of the API, and whether they would be taken.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "algorithm/algorithm.h"
#include "job/jobs.h"
#include "op/algorithm.h"
#include "op/model.h"
#include "op/training_job.h"
#include "op/transform_job.h"
#include "op/validation.h"

enum { NAME_MAX_BYTES = 63 };

/* What stands for the artifacts of a training job that there is not yet. */
#define ARTIFACTS "s3://bloomery/not/there/yet"
#define AT "ValidationSpecification.ValidationProfiles.1."

static const json_t *profile_of(const json_t *algorithm)
{
	const json_t *v = json_object_get(algorithm, "ValidationSpecification");

	return json_array_get(json_object_get(v, "ValidationProfiles"), 0);
}

static struct str role_of(const json_t *algorithm)
{
	return in_str(json_object_get(algorithm, "ValidationSpecification"), "ValidationRole");
}

static json_t *string_of(struct str s)
{
	json_t *j = json_stringn(s.p, s.n);

	must(j);
	return j;
}

static void copy(json_t *to, const json_t *from, const char *member)
{
	json_t *v = json_object_get(from, member);

	if (v)
		json_object_set_new(to, member, json_deep_copy(v));
}

/* ---- the requests ---- */

char *validation_name(const json_t *algorithm, int64_t epoch)
{
	_cleanup_free_ char *tail = strf("-%lld", (long long)epoch);
	_cleanup_free_ char *head = strf(PRIstr "-" PRIstr, ARGstr(in_str(algorithm, "AlgorithmName")),
	                                 ARGstr(in_str(profile_of(algorithm), "ProfileName")));
	size_t n = strlen(head), most = NAME_MAX_BYTES - strlen(tail);

	if (n > most)
		n = most;
	while (n && head[n - 1] == '-')
		n--;
	return strf("%.*s%s", (int)n, head, tail);
}

json_t *validation_training_job(const json_t *algorithm, const char *algorithm_arn, const char *name)
{
	static const char *const members[] = { "HyperParameters", "InputDataConfig", "OutputDataConfig",
		                               "ResourceConfig", "StoppingCondition" };
	const json_t *definition = json_object_get(profile_of(algorithm), "TrainingJobDefinition");
	json_t *r = json_object(), *a = json_object();

	json_object_set_new(r, "TrainingJobName", json_string(name));
	json_object_set_new(r, "RoleArn", string_of(role_of(algorithm)));
	json_object_set_new(a, "AlgorithmName", json_string(algorithm_arn));
	copy(a, definition, "TrainingInputMode");
	json_object_set_new(r, "AlgorithmSpecification", a);
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		copy(r, definition, members[i]);
	/* it is how it will be used */
	if (json_is_true(json_object_get(algorithm, "CertifyForMarketplace")))
		json_object_set_new(r, "EnableNetworkIsolation", json_true());
	return r;
}

/* Whether the artifacts are not packed. */
static bool is_plain(const json_t *algorithm)
{
	const json_t *job = json_object_get(profile_of(algorithm), "TrainingJobDefinition");

	return str_is(in_str(json_object_get(job, "OutputDataConfig"), "CompressionType"), "NONE");
}

static json_t *model_container(const json_t *c, struct str artifacts, bool plain)
{
	static const char *const members[] = { "ContainerHostname", "Environment", "ModelDataUrl", "ModelDataSource" };
	struct str image = in_str(c, "Image"), digest = in_str(c, "ImageDigest");
	_cleanup_free_ char *pinned = NULL, *folder = NULL;
	json_t *r = json_object();

	if (!digest.n || jobs_image_pinned(image, digest, &pinned, NULL) < 0)
		pinned = str_dup(image);
	json_object_set_new(r, "Image", json_string(pinned));
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		copy(r, c, members[i]);
	if (json_object_get(r, "ModelDataUrl") || json_object_get(r, "ModelDataSource"))
		return r;
	folder = strf(PRIstr "%s", ARGstr(artifacts), str_ends(artifacts, STR("/")) ? "" : "/");
	if (plain)
		json_object_set_new(r, "ModelDataSource",
		                    json_pack("{s:{s:s, s:s, s:s}}", "S3DataSource", "S3Uri", folder, "S3DataType",
		                              "S3Prefix", "CompressionType", "None"));
	else
		json_object_set_new(r, "ModelDataUrl", string_of(artifacts));
	return r;
}

json_t *validation_model(const json_t *algorithm, const char *name, struct str artifacts)
{
	const json_t *inference = json_object_get(algorithm, "InferenceSpecification"), *c;
	const json_t *containers = json_object_get(inference, "Containers");
	json_t *r = json_object(), *all = json_array();
	size_t i;

	json_object_set_new(r, "ModelName", json_string(name));
	json_object_set_new(r, "ExecutionRoleArn", string_of(role_of(algorithm)));
	json_array_foreach (containers, i, c)
		json_array_append_new(all, model_container(c, artifacts, is_plain(algorithm)));
	if (json_array_size(all) == 1)
		json_object_set(r, "PrimaryContainer", json_array_get(all, 0));
	else
		json_object_set(r, "Containers", all);
	json_decref(all);
	if (json_is_true(json_object_get(algorithm, "CertifyForMarketplace")))
		json_object_set_new(r, "EnableNetworkIsolation", json_true());
	return r;
}

json_t *validation_transform_job(const json_t *algorithm, const char *name)
{
	static const char *const members[] = { "MaxConcurrentTransforms", "MaxPayloadInMB",
		                               "BatchStrategy",           "Environment",
		                               "TransformInput",          "TransformOutput",
		                               "TransformResources" };
	const json_t *definition = json_object_get(profile_of(algorithm), "TransformJobDefinition");
	json_t *r = json_object();

	json_object_set_new(r, "TransformJobName", json_string(name));
	json_object_set_new(r, "ModelName", json_string(name));
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		copy(r, definition, members[i]);
	return r;
}

char *validation_details(const json_t *algorithm, const char *status, const char *failure, json_t *scans)
{
	json_t *one = json_pack("{s:o, s:s}", "Name", string_of(in_str(profile_of(algorithm), "ProfileName")), "Status",
	                        status),
	       *all;
	char *text;

	must(one);
	if (failure)
		json_object_set_new(one, "FailureReason", json_string(failure));
	all = json_pack("{s:[o], s:o}", "ValidationStatuses", one, "ImageScanStatuses",
	                scans ? json_incref(scans) : json_array());
	must(all);
	text = json_dumps(all, JSON_COMPACT);
	must(text);
	json_decref(all);
	return text;
}

/* ---- checked ---- */

/* One of the requests, by the rules of its operation. What is wrong with it is a fault; what is not for that reason,
 * such as a right that is missing, is an error. */
struct checked {
	const struct api_call *call;
	const struct validating *v;
	struct faults *f;
	const char *operation, *where;
	struct str role;
	/* The rules that are not the model's; tells of each with found(). NULL: there are none. */
	void (*more)(struct checked *c, const struct api_call *call, json_t *in);
	struct err other; /* the first of the errors */
};

static bool is_fault(const struct err *e)
{
	return e->kind == ERR_INVALID || e->kind == ERR_SYNTAX || e->kind == ERR_LIMIT || e->kind == ERR_NOT_FOUND;
}

static void add(struct checked *c, struct str words, const struct err *e)
{
	char text[ERR_FRAMES * ERR_FRAME_BYTES];

	if (!e->kind) /* all was told already */
		return;
	if (is_fault(e))
		fault(c->f, "%s: %s", c->where, words.n ? words.p : err_text(e, text, sizeof(text)));
	else if (!c->other.kind)
		c->other = *e;
}

static void found(void *arg, const char *where, bool here, const struct err *e)
{
	struct checked *c = arg;

	(void)where;
	(void)here;
	add(c, (struct str){ 0 }, e);
}

static void check_training(struct checked *c, const struct api_call *call, json_t *in)
{
	const struct job_check check = { .call = call, .in = in, .found = found, .arg = c };
	struct capacity_needs needs = { 0 };
	struct err e = { 0 };

	if (training_job_check(&check, &needs, &e) < 0)
		add(c, (struct str){ 0 }, &e);
	capacity_needs_fini(&needs);
}

/* Whether its data is not the artifacts. */
static bool has_own(const json_t *container)
{
	const json_t *source = json_object_get(container, "ModelDataSource");
	struct str uri = in_str(json_object_get(source, "S3DataSource"), "S3Uri"),
	           url = in_str(container, "ModelDataUrl");

	return !str_starts(uri, STR(ARTIFACTS)) && !str_is(url, ARTIFACTS);
}

static int check_own(const struct checked *c, const struct api_call *call, const json_t *container, const char *where,
                     struct err *e)
{
	return container_authorise(call, container, c->role, e) < 0
	               ? -1
	               : container_check_there(call, container, where, mono_now(), e);
}

/* Its data is not there yet, but for what a container brings along. */
static void check_model(struct checked *c, const struct api_call *call, json_t *in)
{
	json_t *primary = json_object_get(in, "PrimaryContainer"), *containers = json_object_get(in, "Containers");
	size_t n = primary ? 1 : json_array_size(containers);

	for (size_t i = 0; i < n; i++) {
		json_t *one = primary ? primary : json_array_get(containers, i);
		_cleanup_free_ char *where = strf("Containers.%zu", i + 1);
		bool own = has_own(one);
		struct err e = { 0 };

		if (container_check_form(one, where, &e) < 0 ||
		    (own ? check_own(c, call, one, where, &e)
		         : jobs_check_image(call->api->jobs, in_str(one, "Image"), &e)) < 0)
			add(c, (struct str){ 0 }, &e);
	}
}

/* Its model is not there yet: what the job takes of that is known all the same. */
static void check_transform(struct checked *c, const struct api_call *call, json_t *in)
{
	_cleanup_(capacity_needs_fini) struct capacity_needs needs = { 0 };
	struct err e = { 0 };

	if (transform_job_check_form(in, &e) < 0) {
		add(c, (struct str){ 0 }, &e);
		return;
	}
	transform_job_defaults(in);
	json_object_set_new(in, "RoleArn", string_of(c->role));
	if (transform_job_check_there(call, in, &e) < 0 || transform_job_needs(in, &needs, &e) < 0 ||
	    jobs_check_gpus(call->api->jobs, &needs, &e) < 0)
		add(c, (struct str){ 0 }, &e);
}

static int check_one(struct checked *c, json_t *in, struct err *e)
{
	_cleanup_buf_ struct buf words = { 0 }, spare = { 0 };
	const struct operation *op = model_operation(c->call->service, str_of(c->operation));
	struct api_call call = *c->call;
	struct err why = { 0 };

	must(op);
	call.op = op;
	call.validating = c->v;
	call.words = call.raw = &spare;
	if (model_check_text(op, in, &words, &why) < 0 || model_refuse(op, in, &why) < 0)
		add(c, buf_view(&words), &why);
	else if (c->more)
		c->more(c, &call, in);
	if (!c->other.kind)
		return 0;
	*e = c->other;
	return -1;
}

static int check_all(const struct api_call *call, const struct validating *v, const json_t *in, struct faults *f,
                     struct err *e)
{
	_cleanup_free_ char *name = validation_name(in, call->now.ms / 1000);
	struct checked c = { .call = call,
		             .v = v,
		             .f = f,
		             .operation = "CreateTrainingJob",
		             .where = AT "TrainingJobDefinition",
		             .more = check_training };
	json_t *r = validation_training_job(in, v->algorithm_arn, name);
	int rc = check_one(&c, r, e);

	json_decref(r);
	if (rc < 0 || !json_object_get(in, "InferenceSpecification"))
		return rc;
	c = (struct checked){ .call = call,
		              .v = v,
		              .f = f,
		              .operation = "CreateModel",
		              .where = "InferenceSpecification",
		              .role = role_of(in),
		              .more = check_model };
	r = validation_model(in, name, str_of(is_plain(in) ? ARTIFACTS "/" : ARTIFACTS));
	rc = check_one(&c, r, e);
	json_decref(r);
	if (rc < 0 || !json_object_get(profile_of(in), "TransformJobDefinition"))
		return rc;
	c = (struct checked){ .call = call,
		              .v = v,
		              .f = f,
		              .operation = "CreateTransformJob",
		              .where = AT "TransformJobDefinition",
		              .role = role_of(in),
		              .more = check_transform };
	r = validation_transform_job(in, name);
	rc = check_one(&c, r, e);
	json_decref(r);
	return rc;
}

int validation_check(const struct api_call *call, const json_t *in, struct faults *f, struct err *e)
{
	const json_t *t = json_object_get(in, "TrainingSpecification");
	_cleanup_free_ char *name = str_dup(in_str(in, "AlgorithmName")), *arn = NULL;
	struct validating v = { .algorithm = name, .image = json_string_value(json_object_get(t, "TrainingImage")) };
	int rc;

	if (!json_object_get(in, "ValidationSpecification"))
		return 0;
	v.algorithm_arn = arn = algorithm_arn(call->api, str_of(name));
	v.rules = algorithm_new(t);
	rc = check_all(call, &v, in, f, e);
	algorithm_unref(v.rules);
	return rc;
}
