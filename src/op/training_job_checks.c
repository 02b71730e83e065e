/* What CreateTrainingJob checks before it answers, and what it fills in. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "blob/blob.h"
#include "job/jobs.h"
#include "op/tags.h"
#include "op/training_job.h"

enum { MAX_RUNTIME_DEFAULT_S = 86400, VOLUME_DEFAULT_GB = 30 };

struct str in_str(const json_t *in, const char *member)
{
	const json_t *v = json_object_get(in, member);

	return json_is_string(v) ? (struct str){ json_string_value(v), json_string_length(v) } : (struct str){ "", 0 };
}

bool s3_uri_split(struct str uri, struct str *ret_bucket, struct str *ret_key)
{
	if (!str_skip(&uri, STR("s3://")))
		return false;
	*ret_bucket = str_cut(&uri, '/');
	*ret_key = uri;
	return ret_bucket->n > 0;
}

static const json_t *s3_source(const json_t *channel)
{
	return json_object_get(json_object_get(channel, "DataSource"), "S3DataSource");
}

/* ---- the form ---- */

/* Not required by the model, because of serverless jobs, but by every job that runs here; worded as contract 9.3. */
static int check_present(const json_t *in, struct err *e)
{
	static const char *const wanted[][2] = { { "AlgorithmSpecification", "algorithmSpecification" },
		                                 { "ResourceConfig", "resourceConfig" },
		                                 { "StoppingCondition", "stoppingCondition" } };
	_cleanup_buf_ struct buf text = { 0 };
	unsigned missing = 0;

	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		if (!json_object_get(in, wanted[i][0]))
			buf_f(&text, "%sValue null at '%s' failed to satisfy constraint: Member must not be null",
			      missing++ ? "; " : "", wanted[i][1]);
	if (!missing)
		return 0;
	return err_set(e, ERR_INVALID, "%u validation error%s detected: %s", missing, missing > 1 ? "s" : "", text.p);
}

static int check_algorithm(const json_t *in, struct err *e)
{
	const json_t *a = json_object_get(in, "AlgorithmSpecification");

	if (json_object_get(a, "TrainingImage") && json_object_get(a, "AlgorithmName"))
		return err_set(e, ERR_INVALID,
		               "AlgorithmSpecification: TrainingImage and AlgorithmName exclude each other; "
		               "give one of them");
	if (!in_str(a, "TrainingImage").n && !in_str(a, "AlgorithmName").n)
		return err_set(e, ERR_INVALID,
		               "AlgorithmSpecification: neither TrainingImage nor AlgorithmName is given; "
		               "name the image to train with in TrainingImage");
	return 0;
}

static int check_resources(const json_t *in, struct err *e)
{
	const json_t *r = json_object_get(in, "ResourceConfig"), *volume = json_object_get(r, "VolumeSizeInGB");
	struct str type = in_str(r, "InstanceType");

	if (!type.n)
		return err_set(e, ERR_INVALID,
		               "ResourceConfig: InstanceType is missing; name an instance type, or `local` "
		               "for the whole machine");
	if (json_integer_value(json_object_get(r, "InstanceCount")) < 1)
		return err_set(e, ERR_INVALID, "ResourceConfig: InstanceCount must be at least 1");
	if (volume && json_integer_value(volume) < 1)
		return err_set(e, ERR_INVALID, "ResourceConfig: VolumeSizeInGB must be at least 1");
	if (json_integer_value(volume) > 65536)
		return err_set(e, ERR_INVALID, "ResourceConfig: VolumeSizeInGB must be at most 65536");
	if (!instance_type_find(type))
		return err_set(e, ERR_INVALID, "ResourceConfig: the size of instance type " PRIstr " is not known here",
		               ARGstr(type));
	return 0;
}

static int check_stopping(const json_t *in, struct err *e)
{
	const json_t *s = json_object_get(in, "StoppingCondition"), *run = json_object_get(s, "MaxRuntimeInSeconds");
	const json_t *wait = json_object_get(s, "MaxWaitTimeInSeconds");
	json_int_t max_run = run ? json_integer_value(run) : MAX_RUNTIME_DEFAULT_S;

	if (max_run > 28 * 86400) /* contract 5.5 */
		return err_set(e, ERR_INVALID, "Invalid MaxRuntimeInSeconds. It must be at most 2419200 (28 days)");
	if (!wait)
		return 0;
	if (!json_is_true(json_object_get(in, "EnableManagedSpotTraining")))
		return err_set(e, ERR_INVALID,
		               "Invalid MaxWaitTimeInSeconds. It is only supported when "
		               "EnableManagedSpotTraining is set to true"); /* contract 5.5 */
	if (json_integer_value(wait) < max_run)
		return err_set(e, ERR_INVALID,
		               "Invalid MaxWaitTimeInSeconds. It must be at least MaxRuntimeInSeconds (%lld)",
		               (long long)max_run);
	return 0;
}

static int check_channel(const json_t *in, const json_t *channel, struct err *e)
{
	struct str name = in_str(channel, "ChannelName"), mode = in_str(channel, "InputMode");
	struct str compression = in_str(channel, "CompressionType"), bucket, key;
	const json_t *s3 = s3_source(channel);

	if (str_is(name, ".") || str_is(name, ".."))
		return err_set(e, ERR_INVALID,
		               "InputDataConfig: a channel cannot be called '" PRIstr "'; its name becomes "
		               "a directory below /opt/ml/input/data",
		               ARGstr(name));
	if (!mode.n)
		mode = in_str(json_object_get(in, "AlgorithmSpecification"), "TrainingInputMode");
	if (str_is(mode, "File") && str_is(compression, "Gzip")) /* contract 2.2 */
		return err_set(e, ERR_INVALID,
		               "Invalid compression type for channel " PRIstr
		               ": File mode only supports NONE, got Gzip instead",
		               ARGstr(name));
	if (!s3)
		return err_set(e, ERR_INVALID, "InputDataConfig: channel " PRIstr " has no S3DataSource", ARGstr(name));
	if (!s3_uri_split(in_str(s3, "S3Uri"), &bucket, &key))
		return err_set(e, ERR_INVALID,
		               "InputDataConfig: S3Uri of channel " PRIstr " is to have the form "
		               "s3://bucket/prefix",
		               ARGstr(name));
	return 0;
}

static int check_channels(const json_t *in, struct err *e)
{
	const json_t *channels = json_object_get(in, "InputDataConfig");
	size_t n = json_array_size(channels);

	for (size_t i = 0; i < n; i++) {
		const json_t *c = json_array_get(channels, i);
		struct str name = in_str(c, "ChannelName");

		if (check_channel(in, c, e) < 0)
			return -1;
		for (size_t k = 0; k < i; k++)
			if (str_eq(name, in_str(json_array_get(channels, k), "ChannelName")))
				return err_set(e, ERR_INVALID,
				               "InputDataConfig: duplicate channel name '" PRIstr "'; names "
				               "must be unique within a job",
				               ARGstr(name));
	}
	return 0;
}

int training_job_check_form(const json_t *in, struct err *e)
{
	struct str bucket, key;

	if (check_present(in, e) < 0 || check_algorithm(in, e) < 0 || check_resources(in, e) < 0 ||
	    check_stopping(in, e) < 0 || check_channels(in, e) < 0 || tags_check(json_object_get(in, "Tags"), e) < 0)
		return -1;
	if (!s3_uri_split(in_str(json_object_get(in, "OutputDataConfig"), "S3OutputPath"), &bucket, &key))
		return err_set(e, ERR_INVALID, "OutputDataConfig: S3OutputPath is to have the form s3://bucket/prefix");
	return 0;
}

/* ---- the data ---- */

static int check_source(const struct api_call *call, const json_t *in, const json_t *channel, struct err *e)
{
	struct str uri = in_str(s3_source(channel), "S3Uri"), role = in_str(in, "RoleArn"), bucket, prefix;
	bool there = false;

	must(s3_uri_split(uri, &bucket, &prefix)); /* check_channel */
	if (blob_bucket_exists(call->api->blobs, bucket, &there, e) < 0)
		return -1;
	if (there && blob_prefix_exists(call->api->blobs, bucket, prefix, &there, e) < 0)
		return -1;
	if (there)
		return 0;
	/* contract 2.2, word for word */
	return err_set(
	        e, ERR_INVALID,
	        "No S3 objects found under S3 URL \"" PRIstr "\" given in input data source. Please ensure that the "
	        "bucket exists in the selected region (%s), that objects exist under that S3 prefix, and that the "
	        "role \"" PRIstr "\" has \"s3:ListBucket\" permissions on bucket \"" PRIstr "\".",
	        ARGstr(uri), call->api->region, ARGstr(role), ARGstr(bucket));
}

int training_job_check_data(const struct api_call *call, const json_t *in, struct err *e)
{
	const json_t *channels = json_object_get(in, "InputDataConfig");
	struct str output = in_str(json_object_get(in, "OutputDataConfig"), "S3OutputPath"), bucket, prefix;
	bool there = false;

	/* Another S3 is asked by bloomery-fetch, where what is missing ends the job with a reason. */
	if (!jobs_data_is_embedded(call->api->jobs))
		return 0;
	for (size_t i = 0; i < json_array_size(channels); i++)
		if (check_source(call, in, json_array_get(channels, i), e) < 0)
			return -1;
	must(s3_uri_split(output, &bucket, &prefix));
	if (blob_bucket_exists(call->api->blobs, bucket, &there, e) < 0)
		return -1;
	if (there)
		return 0;
	return err_set(e, ERR_INVALID,
	               "The bucket \"" PRIstr "\" of OutputDataConfig.S3OutputPath \"" PRIstr
	               "\" does not exist. Create it first, for example with `aws s3 mb s3://" PRIstr "`.",
	               ARGstr(bucket), ARGstr(output), ARGstr(bucket));
}

int training_job_needs(const json_t *in, struct capacity_needs *ret, struct err *e)
{
	const json_t *r = json_object_get(in, "ResourceConfig");
	const json_t *pending = json_object_get(json_object_get(in, "StoppingCondition"), "MaxPendingTimeInSeconds");
	const struct instance_type *type = instance_type_find(in_str(r, "InstanceType"));

	if (!type)
		return err_set(e, ERR_INVALID, "ResourceConfig: an instance type of unknown size");
	*ret = (struct capacity_needs){
		.instance_type = xstrdup(type->name),
		.cpus = type->vcpus,
		.memory_bytes = type->memory_bytes,
		.gpus = type->gpus,
		.whole_machine = !strcmp(type->name, "local"),
		.volume_bytes = (uint64_t)json_integer_value(json_object_get(r, "VolumeSizeInGB")) << 30,
		.max_pending_s = json_integer_value(pending),
	};
	return 0;
}

/* ---- defaults ---- */

static void fill(json_t *o, const char *member, json_t *value)
{
	if (json_object_get(o, member))
		json_decref(value);
	else
		json_object_set_new(o, member, value);
}

void training_job_defaults(json_t *in)
{
	json_t *channels = json_object_get(in, "InputDataConfig"), *output = json_object_get(in, "OutputDataConfig");
	json_t *algorithm = json_object_get(in, "AlgorithmSpecification");

	for (size_t i = 0; i < json_array_size(channels); i++) {
		json_t *c = json_array_get(channels, i),
		       *s3 = json_object_get(json_object_get(c, "DataSource"), "S3DataSource");

		fill(s3, "S3DataDistributionType", json_string("FullyReplicated"));
		fill(c, "CompressionType", json_string("None"));
		fill(c, "RecordWrapperType", json_string("None"));
	}
	fill(output, "KmsKeyId", json_string(""));
	fill(output, "CompressionType", json_string("GZIP"));
	fill(algorithm, "EnableSageMakerMetricsTimeSeries",
	     json_boolean(json_array_size(json_object_get(algorithm, "MetricDefinitions"))));
	fill(json_object_get(in, "StoppingCondition"), "MaxRuntimeInSeconds", json_integer(MAX_RUNTIME_DEFAULT_S));
	fill(json_object_get(in, "ResourceConfig"), "VolumeSizeInGB", json_integer(VOLUME_DEFAULT_GB));
	fill(in, "EnableNetworkIsolation", json_false());
	fill(in, "EnableInterContainerTrafficEncryption", json_false());
	fill(in, "EnableManagedSpotTraining", json_false());
}
