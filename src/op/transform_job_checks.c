/* What CreateTransformJob checks before it answers, and what it fills in. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "blob/blob.h"
#include "job/jobs.h"
#include "op/authorise.h"
#include "op/model.h"
#include "op/training_job.h"
#include "op/transform_job.h"
#include "store/store.h"
#include "transform/process.h"

enum { PAYLOAD_MAX_MB = 100, VOLUME_GB = 30 }; /* contract 7.4, 7.7 */

/* ---- the form ---- */

static json_int_t number(const json_t *in, const char *member, json_int_t otherwise)
{
	const json_t *v = json_object_get(in, member);

	return v ? json_integer_value(v) : otherwise;
}

static int check_payload(const json_t *in, struct err *e)
{
	json_int_t payload = number(in, "MaxPayloadInMB", -1), concurrent = number(in, "MaxConcurrentTransforms", -1);

	if (payload > PAYLOAD_MAX_MB)
		return err_set(e, ERR_INVALID, "MaxPayloadInMB must be at most %d; it is %lld", PAYLOAD_MAX_MB,
		               (long long)payload);
	if (payload > 0 && concurrent > PAYLOAD_MAX_MB / payload)
		return err_set(e, ERR_INVALID,
		               "MaxConcurrentTransforms times MaxPayloadInMB must be at most %d MB; it is %lld times "
		               "%lld",
		               PAYLOAD_MAX_MB, (long long)concurrent, (long long)payload);
	return 0;
}

static int check_resources(const json_t *in, struct err *e)
{
	const json_t *r = json_object_get(in, "TransformResources");
	json_int_t count = number(r, "InstanceCount", 1);

	if (!instance_type_find(in_str(r, "InstanceType")))
		return err_set(e, ERR_INVALID,
		               "TransformResources: the size of instance type " PRIstr " is not known here",
		               ARGstr(in_str(r, "InstanceType")));
	if (count > CAPACITY_HOSTS_MAX)
		return err_set(e, ERR_INVALID,
		               "TransformResources: %lld instances are too many for one machine; a job can have at "
		               "most %d here",
		               (long long)count, CAPACITY_HOSTS_MAX);
	return 0;
}

static int check_uri(const char *member, const json_t *o, const char *name, bool with_key, struct err *e)
{
	struct str bucket, key, uri = in_str(o, name);

	if (s3_uri_split(uri, &bucket, &key) && (key.n || !with_key))
		return 0;
	return err_set(e, ERR_INVALID, "%s: %s \"" PRIstr "\" is to have the form s3://bucket/%s", member, name,
	               ARGstr(uri), with_key ? "key" : "prefix");
}

static int check_processing(const json_t *in, struct err *e)
{
	const json_t *p = json_object_get(in, "DataProcessing"), *input = json_object_get(in, "TransformInput");
	const json_t *output = json_object_get(in, "TransformOutput"),
	             *capture = json_object_get(in, "DataCaptureConfig");
	const struct process_options o = {
		.input_filter = json_string_value(json_object_get(p, "InputFilter")),
		.output_filter = json_string_value(json_object_get(p, "OutputFilter")),
		.join_source = json_string_value(json_object_get(p, "JoinSource")),
		.content_type = json_string_value(json_object_get(input, "ContentType")),
		.accept = json_string_value(json_object_get(output, "Accept")),
		.split_type = json_string_value(json_object_get(input, "SplitType")),
		.assemble_with = json_string_value(json_object_get(output, "AssembleWith")),
		.single = str_is(in_str(in, "BatchStrategy"), "SingleRecord"),
		.inference_id = json_is_true(json_object_get(capture, "GenerateInferenceId")),
	};
	_cleanup_(process_freep) struct process *made = NULL;

	return process_new(&o, &made, e);
}

int transform_job_check_form(const json_t *in, struct err *e)
{
	const json_t *input = json_object_get(in, "TransformInput"),
	             *capture = json_object_get(in, "DataCaptureConfig");
	const json_t *s3 = json_object_get(json_object_get(input, "DataSource"), "S3DataSource");

	if (check_payload(in, e) < 0 || check_resources(in, e) < 0 || check_processing(in, e) < 0)
		return -1;
	if (check_uri("TransformInput", s3, "S3Uri", str_is(in_str(s3, "S3DataType"), "ManifestFile"), e) < 0)
		return -1;
	if (capture && check_uri("DataCaptureConfig", capture, "DestinationS3Uri", false, e) < 0)
		return -1;
	return check_uri("TransformOutput", json_object_get(in, "TransformOutput"), "S3OutputPath", false, e);
}

/* ---- defaults ---- */

static void fill(json_t *o, const char *member, const char *value)
{
	if (!json_object_get(o, member))
		json_object_set_new(o, member, json_string(value));
}

void transform_job_defaults(json_t *in)
{
	json_t *input = json_object_get(in, "TransformInput"), *output = json_object_get(in, "TransformOutput");
	json_t *processing = json_object_get(in, "DataProcessing");

	fill(input, "CompressionType", "None");
	fill(input, "SplitType", "None");
	fill(output, "AssembleWith", "None");
	fill(output, "KmsKeyId", "");
	if (!processing)
		json_object_set_new(in, "DataProcessing", processing = json_object());
	fill(processing, "InputFilter", "$");
	fill(processing, "OutputFilter", "$");
	fill(processing, "JoinSource", "None");
}

/* ---- the model ---- */

/* The model's variables, and over them the job's (contract 7.5). */
static void overlay(json_t *containers, json_t *environment)
{
	json_t *c;
	size_t i;

	json_array_foreach (containers, i, c)
		json_object_update(json_object_get(c, "Environment"), environment);
}

static int take(const struct stored_model *m, json_t *in, struct err *e)
{
	static const char *const members[][2] = { { "ExecutionRoleArn", "RoleArn" },
		                                  { "VpcConfig", "VpcConfig" },
		                                  { "EnableNetworkIsolation", "EnableNetworkIsolation" } };
	json_t *request = json_loads(m->request, JSON_ALLOW_NUL, NULL);
	json_t *containers = json_loads(m->containers, JSON_ALLOW_NUL, NULL);
	int rc = 0;

	if (!json_is_object(request) || !json_array_size(containers))
		rc = err_set(e, ERR_BUG, "what is kept of model %s is damaged", m->name);
	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(members); i++)
		if (json_object_get(request, members[i][0]))
			json_object_set(in, members[i][1], json_object_get(request, members[i][0]));
	if (rc == 0) {
		overlay(containers, json_object_get(in, "Environment"));
		json_object_set(in, JOBS_CONTAINERS, containers);
	}
	json_decref(request);
	json_decref(containers);
	return rc;
}

int transform_job_take_model(const struct api_call *call, json_t *in, struct err *e)
{
	struct str name = in_str(in, "ModelName");
	struct stored_model m = { 0 };
	int rc;

	if (store_model_find(call->api->store, name, &m, e) < 0) {
		_cleanup_free_ char *arn = sagemaker_arn(call->api, "model", name);

		if (e->kind != ERR_NOT_FOUND)
			return -1;
		*e = (struct err){ 0 };
		return err_set(e, ERR_INVALID, "Could not find model \"%s\".", arn); /* contract 9.4 */
	}
	rc = take(&m, in, e);
	stored_model_fini(&m);
	return rc;
}

/* ---- rights, and what is there ---- */

static int check_bucket(const struct api_call *call, const char *member, struct str uri, struct err *e)
{
	struct str bucket, prefix;
	bool there = false;

	if (!jobs_data_is_embedded(call->api->jobs)) /* it is asked for when there are results */
		return 0;
	must(s3_uri_split(uri, &bucket, &prefix)); /* transform_job_check_form */
	if (blob_bucket_exists(call->api->blobs, bucket, &there, e) < 0)
		return -1;
	if (there)
		return 0;
	return err_set(e, ERR_INVALID,
	               "The bucket \"" PRIstr "\" of %s \"" PRIstr
	               "\" does not exist. Create it first, for example with `aws s3 mb s3://" PRIstr "`.",
	               ARGstr(bucket), member, ARGstr(uri), ARGstr(bucket));
}

static int authorise_job(const struct api_call *call, const json_t *in, struct str output, struct str capture,
                         struct err *e)
{
	_cleanup_free_ char *arn = sagemaker_arn(call->api, "transform-job", in_str(in, "TransformJobName"));
	struct str role = in_str(in, "RoleArn");

	if (!call->api->iam)
		return 0;
	if (authorise_known_role(call, role, e) < 0 || authorise_tags(call, in, arn, e) < 0)
		return -1;
	if (authorise_input(call, role, json_object_get(in, "TransformInput"), e) < 0 ||
	    authorise_output(call, role, "TransformOutput", output, e) < 0)
		return -1;
	return capture.n ? authorise_output(call, role, "DataCaptureConfig", capture, e) : 0;
}

int transform_job_check_there(const struct api_call *call, const json_t *in, struct err *e)
{
	const json_t *input = json_object_get(in, "TransformInput"), *r = json_object_get(in, "TransformResources");
	struct str output = in_str(json_object_get(in, "TransformOutput"), "S3OutputPath");
	struct str capture = in_str(json_object_get(in, "DataCaptureConfig"), "DestinationS3Uri");
	json_t *channel;
	int rc;

	if (jobs_check_transform(call->api->jobs, e) < 0 || authorise_job(call, in, output, capture, e) < 0 ||
	    jobs_check_network(call->api->jobs, in, (unsigned)number(r, "InstanceCount", 1), e) < 0)
		return -1;
	channel = json_pack("{s:s, s:O}", "ChannelName", "TransformInput", "DataSource",
	                    json_object_get(input, "DataSource"));
	must(channel);
	rc = training_job_check_channel_data(call, in, channel, mono_now(), e);
	json_decref(channel);
	if (rc == 0)
		rc = check_bucket(call, "TransformOutput.S3OutputPath", output, e);
	if (rc == 0 && capture.n)
		rc = check_bucket(call, "DataCaptureConfig.DestinationS3Uri", capture, e);
	return rc;
}

int transform_job_needs(const json_t *in, struct capacity_needs *ret, struct err *e)
{
	const json_t *r = json_object_get(in, "TransformResources");
	const struct instance_type *type = instance_type_find(in_str(r, "InstanceType"));
	json_int_t hosts = number(r, "InstanceCount", 1);

	if (!type)
		return err_set(e, ERR_INVALID, "TransformResources: an instance type of unknown size");
	*ret = (struct capacity_needs){
		.instance_type = xstrdup(type->name),
		.cpus = type->vcpus,
		.memory_bytes = type->memory_bytes,
		.gpus = type->gpus,
		.whole_machine = !strcmp(type->name, "local"),
		.hosts = hosts > 1 ? (unsigned)hosts : 0,
		.volume_bytes = UINT64_C(1) << 30,
	};
	ret->volume_bytes *= VOLUME_GB;
	return 0;
}
