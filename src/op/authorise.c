/* SPDX-License-Identifier: Apache-2.0 */
#include "op/authorise.h"

#include <stdlib.h>

#include "job/jobs.h"
#include "op/algorithm.h"
#include "op/logs.h"
#include "op/model.h"
#include "op/training_job.h"
#include "store/store.h"

int authorise_action(const struct api *api, const struct iam_session *s, const char *action, struct str resource,
                     struct err *e)
{
	const struct iam_wish wish = { .action = str_of(action), .resource = resource };
	_cleanup_buf_ struct buf why = { 0 };

	if (!s || iam_may(api->iam, s, &wish, &why))
		return 0;
	return err_set(e, ERR_DENIED, "%s", why.p);
}

int authorise_tags(const struct api_call *call, const json_t *in, const char *arn, struct err *e)
{
	if (!json_array_size(json_object_get(in, "Tags")))
		return 0;
	return authorise_action(call->api, call->session, "sagemaker:AddTags", str_of(arn), e);
}

int authorise_known_role(const struct api_call *call, struct str role, struct err *e)
{
	if (!role.n || !call->api->iam || iam_knows_role(call->api->iam, role))
		return 0;
	return err_set(e, ERR_INVALID,
	               "Could not assume role " PRIstr
	               ". Please ensure that the role exists and allows principal 'sagemaker.amazonaws.com' to assume "
	               "the role: bloomery.conf has `roles = strict`, and no role." PRIstr,
	               ARGstr(role), ARGstr(role));
}

/* ---- resources ---- */

void add_training_job_arn(const struct api *api, struct str name, struct buf *out)
{
	buf_f(out, "arn:aws:sagemaker:%s:%s:training-job/", api->region, api->account);
	for (size_t i = 0; i < name.n; i++)
		buf_c(out, name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] + 32) : name.p[i]);
}

/* As CloudWatch Logs writes it, also where the group or the stream is not said. */
static void add_logs(const struct api *api, const json_t *in, struct buf *out)
{
	struct str group = in_str(in, "logGroupName"), id = in_str(in, "logGroupIdentifier");
	ptrdiff_t at = str_find(id, STR(":log-group:"));

	if (!group.n)
		group = at < 0 ? id : (struct str){ id.p + at + 11, id.n - (size_t)at - 11 };
	buf_f(out, "arn:aws:logs:%s:%s:log-group:" PRIstr ":log-stream:" PRIstr, api->region, api->account,
	      ARGstr(group), ARGstr(in_str(in, "logStreamName")));
}

/* Of a name or an ARN. */
static void add_arn(const struct api *api, const char *type, struct str name, struct buf *out)
{
	_cleanup_free_ char *arn = sagemaker_arn(api, type, name);

	buf_z(out, arn);
}

static void add_package(const struct api *api, const json_t *in, struct buf *out)
{
	_cleanup_free_ char *arn = package_resource(api, in);

	buf_z(out, arn);
}

int authorise(const struct api_call *call, const struct api_op *op, const json_t *in, struct err *e)
{
	_cleanup_free_ char *action = NULL;
	_cleanup_buf_ struct buf resource = { 0 };

	if (!call->session)
		return 0;
	switch (op->on) {
	case ON_EACH: return 0;
	case ON_ONESELF: return 0; /* as AWS: nothing can take it away */
	case ON_ANYTHING: buf_c(&resource, '*'); break;
	case ON_TRAINING_JOB: add_training_job_arn(call->api, in_str(in, "TrainingJobName"), &resource); break;
	case ON_ALGORITHM: add_arn(call->api, "algorithm", in_str(in, "AlgorithmName"), &resource); break;
	case ON_TRANSFORM_JOB: add_arn(call->api, "transform-job", in_str(in, "TransformJobName"), &resource); break;
	case ON_MODEL: add_arn(call->api, "model", in_str(in, "ModelName"), &resource); break;
	case ON_MODEL_PACKAGE: add_package(call->api, in, &resource); break;
	case ON_MODEL_PACKAGE_GROUP:
		add_arn(call->api, "model-package-group", in_str(in, "ModelPackageGroupName"), &resource);
		break;
	case ON_RESOURCE_ARN:
		buf_str(&resource, in_str(in, json_object_get(in, "ResourceArn") ? "ResourceArn" : "resourceArn"));
		break;
	case ON_LOGS: add_logs(call->api, in, &resource); break;
	case ON_ROLE: buf_str(&resource, in_str(in, "RoleArn")); break;
	}
	/* sagemaker-metrics is a part of sagemaker to policies */
	action = strf("%s:%s", strncmp(op->service, "sagemaker-", 10) ? op->service : "sagemaker", op->name);
	return authorise_action(call->api, call->session, action, buf_view(&resource), e);
}

/* ---- what a job's request names ---- */

/* Where a request names places of S3 besides its channels; a job may read and write below them. ProfilerConfig is not
 * one of them: UpdateTrainingJob changes it. */
static const char *const named[][2] = {
	{ "CheckpointConfig", "S3Uri" },
	{ "DebugHookConfig", "S3OutputPath" },
	{ "TensorBoardOutputConfig", "S3OutputPath" },
	{ "TransformOutput", "S3OutputPath" },
	{ "DataCaptureConfig", "DestinationS3Uri" },
};

enum { CREATORS_MAX = 8 };

/* Whether the key lies below the folder. */
static bool is_below(struct str uri, struct str bucket, struct str key)
{
	struct str at, folder;

	if (!s3_uri_split(uri, &at, &folder) || !str_eq(at, bucket))
		return false;
	while (folder.n && folder.p[folder.n - 1] == '/')
		folder.n--;
	return !folder.n || (str_skip(&key, folder) && (!key.n || key.p[0] == '/'));
}

static bool is_of_source(const json_t *s3, struct str bucket, struct str key)
{
	struct str at, prefix;

	return s3_uri_split(in_str(s3, "S3Uri"), &at, &prefix) && str_eq(at, bucket) && str_starts(key, prefix);
}

/* The channels of a training job; the input of a transform job and the models of its containers. */
static bool is_in_channel(const json_t *request, struct str bucket, struct str key)
{
	const json_t *channels = json_object_get(request, "InputDataConfig"), *c;
	const json_t *input = json_object_get(request, "TransformInput");
	const json_t *containers = json_object_get(request, JOBS_CONTAINERS);
	size_t i;

	json_array_foreach (channels, i, c)
		if (is_of_source(json_object_get(json_object_get(c, "DataSource"), "S3DataSource"), bucket, key))
			return true;
	json_array_foreach (containers, i, c)
		if (is_of_source(json_object_get(c, "ModelDataSource"), bucket, key))
			return true;
	return is_of_source(json_object_get(json_object_get(input, "DataSource"), "S3DataSource"), bucket, key);
}

/* S3OutputPath/NAME */
static char *output_of(const json_t *request, struct str name)
{
	struct str path = in_str(json_object_get(request, "OutputDataConfig"), "S3OutputPath");

	while (path.n && path.p[path.n - 1] == '/')
		path.n--;
	return strf(PRIstr "/" PRIstr, ARGstr(path), ARGstr(name));
}

static json_t *request_of(struct store *s, int64_t n)
{
	_cleanup_free_ char *text = NULL;
	struct err e = { 0 };

	return store_job_request(s, n, &text, &e) < 0 ? NULL : json_loads(text, JSON_ALLOW_NUL, NULL);
}

/* Whether the place is the folder or in it. */
static bool is_in_folder(struct str place, const char *folder)
{
	struct str bucket, key;

	return s3_uri_split(place, &bucket, &key) && is_below(str_of(folder), bucket, key);
}

/* A place to write to counts where it is said to be in the other job's output: one that has all outputs below it, as
 * SDKs give for debugging, is no word about any of them. So is a job's own, whose name may be that of a folder. */
static bool is_place_of(const json_t *request, struct str name, struct str bucket, struct str key, const char *other)
{
	_cleanup_free_ char *own = output_of(request, name);

	if (is_below(str_of(own), bucket, key) && is_in_folder(str_of(own), other))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(named); i++) {
		struct str place = in_str(json_object_get(request, named[i][0]), named[i][1]);

		if (is_below(place, bucket, key) && is_in_folder(place, other))
			return true;
	}
	return false;
}

static bool is_others(struct store *s, const char *job_id, bool reads, struct str bucket, struct str key,
                      unsigned depth);

/* Who created the job could name no more than it might itself. */
static bool may_creator(struct store *s, const json_t *request, bool reads, struct str bucket, struct str key,
                        unsigned depth)
{
	const json_t *creator = json_object_get(request, JOBS_CREATOR);

	if (!creator)
		return true;
	return depth < CREATORS_MAX &&
	       !is_others(s, json_string_value(json_object_get(creator, "JobId")), reads, bucket, key, depth + 1);
}

/* Whether the request of the job names what is below `other`, another job's output. */
static bool is_named_by(struct store *s, const char *job_id, bool reads, struct str bucket, struct str key,
                        const char *other, unsigned depth)
{
	struct store_brief job;
	struct err e = { 0 };
	json_t *request;
	bool found;

	if (!job_id || store_job_brief(s, str_of(job_id), &job, &e) < 0)
		return false;
	request = request_of(s, job.n);
	found = request &&
	        (is_place_of(request, str_of(job.name), bucket, key, other) ||
	         (reads && is_in_channel(request, bucket, key))) &&
	        may_creator(s, request, reads, bucket, key, depth);
	json_decref(request);
	store_brief_fini(&job);
	return found;
}

/* ---- hooks ---- */

static bool job_lives(void *arg, struct str job_id, char **ret_name)
{
	struct store_brief job;
	struct err e = { 0 };

	if (store_job_brief(arg, job_id, &job, &e) < 0)
		return false;
	if (job_state_info[job.state].final) {
		store_brief_fini(&job);
		return false;
	}
	*ret_name = job.name;
	return true;
}

/* Whether `name`, a piece of the key, is a job that is not job_id's and has its output right there: *ret, which the
 * caller frees. Cannot know: yes, and *ret is NULL. */
static bool is_output_of_other(struct store *s, const char *job_id, struct str name, struct str bucket, struct str key,
                               char **ret)
{
	struct store_brief job;
	struct err e = { 0 };
	json_t *request = NULL;
	bool other;

	*ret = NULL;
	if (!can_be_job(name))
		return false;
	if (store_job_brief_named(s, KIND_TRAINING, name, &job, &e) < 0)
		return e.kind != ERR_NOT_FOUND;
	other = !job_id || strcmp(job.id, job_id) != 0;
	if (other && (request = request_of(s, job.n))) {
		_cleanup_free_ char *output = output_of(request, name);

		other = is_below(str_of(output), bucket, key);
		*ret = other ? take_ptr(output) : NULL;
	}
	json_decref(request);
	store_brief_fini(&job);
	return other;
}

static bool is_others(struct store *s, const char *job_id, bool reads, struct str bucket, struct str key,
                      unsigned depth)
{
	struct str rest = key;

	while (rest.n) {
		_cleanup_free_ char *output = NULL;

		if (is_output_of_other(s, job_id, str_cut(&rest, '/'), bucket, key, &output) &&
		    (!output || !is_named_by(s, job_id, reads, bucket, key, output, depth)))
			return true;
	}
	return false;
}

static bool others_output(void *arg, const char *job_id, bool reads, struct str bucket, struct str key)
{
	return is_others(arg, job_id, reads, bucket, key, 0);
}

struct iam_hooks authorise_hooks(struct store *s)
{
	return (struct iam_hooks){ .arg = s, .job_lives = job_lives, .others_output = others_output };
}
