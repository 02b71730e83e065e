/* SPDX-License-Identifier: Apache-2.0 */
#include "run/config_files.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- helpers over the request ---- */

static json_t *member(const json_t *object, const char *name)
{
	return json_object_get(object, name);
}

static const char *text_or(const json_t *object, const char *name, const char *otherwise)
{
	const char *s = json_string_value(member(object, name));

	return s ? s : otherwise;
}

/* A new reference to the member, or to `otherwise` (stolen) when it is missing. */
static json_t *copy_or(const json_t *object, const char *name, json_t *otherwise)
{
	json_t *m = member(object, name);

	if (!m)
		return otherwise;
	json_decref(otherwise);
	return json_incref(m);
}

/* Copies the members that are there, in this order. */
static void copy_present(json_t *to, const json_t *from, const char *const *names)
{
	for (; *names; names++)
		if (member(from, *names))
			json_object_set(to, *names, member(from, *names));
}

static json_t *enum_json(const char *api_value)
{
	struct buf b = { 0 };
	json_t *j;

	config_enum(str_of(api_value), &b);
	j = json_stringn(b.p, b.n);
	buf_fini(&b);
	return j;
}

/* Steals j. */
static bool write_json(json_t *j, struct buf *out)
{
	char *text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);

	must(text);
	buf_z(out, text);
	free(text);
	json_decref(j);
	return true;
}

/* A '_' goes before each upper-case letter that follows another kind of letter or digit, but a digit does not start a
 * word: S3Prefix, FullyReplicated, RecordIO, ShardedByS3Key become S3_PREFIX, FULLY_REPLICATED, RECORD_IO,
 * SHARDED_BY_S3_KEY. */
void config_enum(struct str v, struct buf *out)
{
	for (size_t i = 0; i < v.n; i++) {
		unsigned char c = (unsigned char)v.p[i];

		if (i > 0 && isupper(c) && !isupper((unsigned char)v.p[i - 1]))
			buf_c(out, '_');
		buf_c(out, (char)toupper(c));
	}
}

const char *config_checkpoint_path(const json_t *request)
{
	const json_t *c = member(request, "CheckpointConfig");

	return c ? text_or(c, "LocalPath", "/opt/ml/checkpoints/") : NULL;
}

const char *config_tensorboard_path(const json_t *request)
{
	const json_t *c = member(request, "TensorBoardOutputConfig");

	return c ? text_or(c, "LocalPath", "/opt/ml/output/tensorboard/") : NULL;
}

/* ---- one function a file ---- */

static bool hyperparameters(const struct config_input *in, struct buf *out)
{
	return write_json(copy_or(in->spec->request, "HyperParameters", json_object()), out);
}

static bool inputdataconfig(const struct config_input *in, struct buf *out)
{
	json_t *all = json_object();

	for (size_t i = 0; i < in->spec->channel_count; i++) {
		const struct channel_spec *ch = &in->spec->channels[i];
		json_t *j = json_object();

		if (ch->content_type)
			json_object_set_new(j, "ContentType", json_string(ch->content_type));
		json_object_set_new(j, "TrainingInputMode", json_string(ch->input_mode));
		json_object_set_new(j, "S3DistributionType", json_string(ch->distribution));
		json_object_set_new(j, "RecordWrapperType", json_string(ch->record_wrapper));
		json_object_set_new(all, ch->name, j);
	}
	return write_json(all, out);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

json_t *config_hosts(unsigned first, unsigned last)
{
	size_t n = last >= first ? last - first + 1 : 0;
	char **names = xcalloc(n + 1, sizeof(*names));
	json_t *hosts = json_array();

	for (size_t i = 0; i < n; i++)
		names[i] = strf("algo-%zu", first + i);
	qsort(names, n, sizeof(*names), by_text);
	for (size_t i = 0; i < n; i++) {
		json_array_append_new(hosts, json_string(names[i]));
		free(names[i]);
	}
	free(names);
	return hosts;
}

static json_t *instance_group(const char *name, const char *type, unsigned first, unsigned last)
{
	return json_pack("{s:s, s:s, s:o}", "instance_group_name", name, "instance_type", type, "hosts",
	                 config_hosts(first, last));
}

/* The groups of the job; a job without any is one group, `homogeneousCluster`. Hosts are counted across groups. */
static json_t *instance_groups(const struct job_spec *s, const char **current_group, const char **current_type)
{
	const json_t *config = member(s->request, "ResourceConfig"), *asked = member(config, "InstanceGroups");
	json_t *groups = json_array();
	unsigned next = 1;
	const json_t *g;
	size_t i;

	*current_group = "homogeneousCluster";
	*current_type = s->limits.instance_type;
	if (json_array_size(asked) == 0) {
		json_array_append_new(groups, instance_group(*current_group, *current_type, 1, s->host_count));
		return groups;
	}
	json_array_foreach (asked, i, g) {
		unsigned count = (unsigned)json_integer_value(member(g, "InstanceCount"));
		const char *name = text_or(g, "InstanceGroupName", ""), *type = text_or(g, "InstanceType", "");

		json_array_append_new(groups, instance_group(name, type, next, next + count - 1));
		if (s->host_number >= next && s->host_number < next + count) {
			*current_group = name;
			*current_type = type;
		}
		next += count;
	}
	return groups;
}

static bool resourceconfig(const struct config_input *in, struct buf *out)
{
	const struct job_spec *s = in->spec;
	const char *group, *type;
	json_t *groups = instance_groups(s, &group, &type), *j = json_object();

	json_object_set_new(j, "current_host", json_string(s->host_name));
	json_object_set_new(j, "current_instance_type", json_string(type));
	json_object_set_new(j, "current_group_name", json_string(group));
	json_object_set_new(j, "hosts", config_hosts(1, s->host_count));
	json_object_set_new(j, "instance_groups", groups);
	json_object_set_new(j, "network_interface_name", json_string(in->network_interface));
	json_object_set_new(j, "topology", json_null());
	return write_json(j, out);
}

static bool checkpointconfig(const struct config_input *in, struct buf *out)
{
	const char *path = config_checkpoint_path(in->spec->request);

	return path && write_json(json_pack("{s:s}", "LocalPath", path), out);
}

static bool tensorboardoutputconfig(const struct config_input *in, struct buf *out)
{
	const json_t *c = member(in->spec->request, "TensorBoardOutputConfig");

	return c && write_json(json_pack("{s:s, s:s}", "S3OutputPath", text_or(c, "S3OutputPath", ""), "LocalPath",
	                                 config_tensorboard_path(in->spec->request)),
	                       out);
}

static bool debughookconfig(const struct config_input *in, struct buf *out)
{
	const json_t *c = member(in->spec->request, "DebugHookConfig");

	return c &&
	       write_json(json_pack("{s:o, s:s, s:o, s:o}", "S3OutputPath", copy_or(c, "S3OutputPath", json_null()),
	                            "LocalPath", text_or(c, "LocalPath", "/opt/ml/output/tensors"), "HookParameters",
	                            copy_or(c, "HookParameters", json_null()), "CollectionConfigurations",
	                            copy_or(c, "CollectionConfigurations", json_null())),
	                  out);
}

static bool profilerconfig(const struct config_input *in, struct buf *out)
{
	const json_t *c = member(in->spec->request, "ProfilerConfig");

	return c && write_json(json_pack("{s:o, s:o, s:o, s:o}", "S3OutputPath",
	                                 copy_or(c, "S3OutputPath", json_null()), "ProfilingIntervalInMilliseconds",
	                                 copy_or(c, "ProfilingIntervalInMilliseconds", json_null()),
	                                 "ProfilingParameters", copy_or(c, "ProfilingParameters", json_null()),
	                                 "DisableProfiler", copy_or(c, "DisableProfiler", json_null())),
	                       out);
}

static bool metric_definition_regex(const struct config_input *in, struct buf *out)
{
	const json_t *algorithm = member(in->spec->request, "AlgorithmSpecification");

	return write_json(copy_or(algorithm, "MetricDefinitions", json_array()), out);
}

static bool upstreamoutputdataconfig(const struct config_input *in, struct buf *out)
{
	(void)in;
	return write_json(json_array(), out);
}

/* ---- init-config.json: the work order of the service's data agent ---- */

static const json_t *request_channel(const struct job_spec *s, const char *name)
{
	const json_t *ch;
	size_t i;

	json_array_foreach (member(s->request, "InputDataConfig"), i, ch)
		if (str_is(str_of(name), text_or(ch, "ChannelName", "")))
			return ch;
	return NULL;
}

static json_t *init_shuffle(const json_t *asked)
{
	const json_t *shuffle = member(asked, "ShuffleConfig");

	return shuffle ? json_pack("{s:o}", "seed", copy_or(shuffle, "Seed", json_null())) : json_null();
}

static json_t *init_s3(const struct channel_spec *ch, const json_t *asked)
{
	const json_t *s3 = member(member(asked, "DataSource"), "S3DataSource");

	if (ch->place == PLACE_FILE_SYSTEM)
		return json_null();
	return json_pack("{s:o, s:s, s:o, s:o}", "s3DataType", enum_json(ch->s3_data_type), "s3Uri", ch->s3_uri,
	                 "s3DataDistributionType", enum_json(ch->distribution), "attributeNames",
	                 copy_or(s3, "AttributeNames", json_null()));
}

static json_t *init_file_system(const struct channel_spec *ch)
{
	if (ch->place != PLACE_FILE_SYSTEM)
		return json_null();
	return json_pack("{s:s, s:o, s:o, s:s}", "fileSystemId", ch->file_system_id, "fileSystemAccessMode",
	                 enum_json(ch->file_system_access), "fileSystemType", enum_json(ch->file_system_type),
	                 "directoryPath", ch->directory_path);
}

static json_t *init_channel(const struct job_spec *s, const struct channel_spec *ch)
{
	const json_t *asked = request_channel(s, ch->name);

	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "s3DataSource", init_s3(ch, asked),
	                 "fileSystemDataSource", init_file_system(ch), "compressionType", enum_json(ch->compression),
	                 "recordWrapper", enum_json(ch->record_wrapper), "shuffleConfig", init_shuffle(asked),
	                 "inputMode", enum_json(ch->input_mode), "sharded",
	                 str_is(str_of(ch->distribution), "ShardedByS3Key"));
}

static json_t *init_checkpoints(const json_t *request)
{
	const json_t *c = member(request, "CheckpointConfig");
	json_t *source, *channel;

	if (!c)
		return json_null();
	source = json_pack("{s:s, s:s, s:n, s:n}", "s3DataType", "S3_PREFIX", "s3Uri", text_or(c, "S3Uri", ""),
	                   "s3DataDistributionType", "attributeNames");
	channel = json_pack("{s:o, s:n, s:n, s:n, s:n, s:s, s:b}", "s3DataSource", source, "fileSystemDataSource",
	                    "compressionType", "recordWrapper", "shuffleConfig", "inputMode", "FILE", "sharded", 0);
	return json_pack("{s:s, s:o, s:s, s:b}", "name", "checkpoints", "channel", channel, "outputPath",
	                 "/opt/ml/checkpoints", "allowEmpty", 1);
}

static bool init_config(const struct config_input *in, struct buf *out)
{
	const struct job_spec *s = in->spec;
	const json_t *algorithm = member(s->request, "AlgorithmSpecification");
	json_t *channels = json_object();

	for (size_t i = 0; i < s->channel_count; i++)
		json_object_set_new(channels, s->channels[i].name, init_channel(s, &s->channels[i]));
	return write_json(json_pack("{s:o, s:o, s:o, s:{s:i, s:i}, s:b, s:{s:i}}", "inputMode",
	                            enum_json(text_or(algorithm, "TrainingInputMode", "File")), "channels", channels,
	                            "checkpointChannel", init_checkpoints(s->request), "hostConfig", "clusterSize",
	                            (int)s->host_count, "hostNumber", (int)s->host_number,
	                            "enableAdditionalPlatformLoggingForCustomer", 0, "jobRunInfo", "jobRunNumber", 1),
	                  out);
}

/* ---- trainingjobconfig.json: the job as the service stores it ---- */

static json_t *stored_s3(const json_t *s3)
{
	json_t *j = json_object();

	json_object_set_new(j, "S3DataType", enum_json(text_or(s3, "S3DataType", "S3Prefix")));
	json_object_set_new(j, "S3Uri", json_string(text_or(s3, "S3Uri", "")));
	json_object_set_new(j, "S3DataDistributionType",
	                    enum_json(text_or(s3, "S3DataDistributionType", "FullyReplicated")));
	copy_present(j, s3, (const char *const[]){ "AttributeNames", "InstanceGroupNames", NULL });
	return json_pack("{s:o}", "S3DataSource", j);
}

static json_t *stored_file_system(const json_t *fs)
{
	json_t *j = json_object();

	copy_present(j, fs, (const char *const[]){ "FileSystemId", NULL });
	json_object_set_new(j, "FileSystemAccessMode", enum_json(text_or(fs, "FileSystemAccessMode", "")));
	json_object_set_new(j, "FileSystemType", enum_json(text_or(fs, "FileSystemType", "")));
	copy_present(j, fs, (const char *const[]){ "DirectoryPath", NULL });
	return json_pack("{s:o}", "FileSystemDataSource", j);
}

static json_t *stored_channel(const json_t *asked)
{
	static const char *const tail[] = { "InputMode", "ShuffleConfig", NULL };
	const json_t *source = member(asked, "DataSource"), *fs = member(source, "FileSystemDataSource");
	json_t *j = json_object();

	json_object_set_new(j, "ChannelName", json_string(text_or(asked, "ChannelName", "")));
	json_object_set_new(j, "DataSource", fs ? stored_file_system(fs) : stored_s3(member(source, "S3DataSource")));
	copy_present(j, asked, (const char *const[]){ "ContentType", NULL });
	json_object_set_new(j, "CompressionType", enum_json(text_or(asked, "CompressionType", "None")));
	json_object_set_new(j, "RecordWrapperType", enum_json(text_or(asked, "RecordWrapperType", "None")));
	copy_present(j, asked, tail);
	return j;
}

static json_t *stored_channels(const json_t *request)
{
	json_t *all = json_array();
	const json_t *ch;
	size_t i;

	json_array_foreach (member(request, "InputDataConfig"), i, ch)
		json_array_append_new(all, stored_channel(ch));
	return all;
}

static json_t *stored_output(const json_t *request)
{
	const json_t *asked = member(request, "OutputDataConfig");
	json_t *j = json_object();

	json_object_set_new(j, "KmsKeyId", json_string(text_or(asked, "KmsKeyId", "")));
	json_object_set_new(j, "S3OutputPath", json_string(text_or(asked, "S3OutputPath", "")));
	copy_present(j, asked, (const char *const[]){ "CompressionType", NULL });
	return j;
}

static json_t *stored_resources(const json_t *request)
{
	json_t *j = json_object();

	copy_present(j, member(request, "ResourceConfig"),
	             (const char *const[]){ "InstanceCount", "InstanceType", "VolumeSizeInGB", "VolumeKmsKeyId",
	                                    "KeepAlivePeriodInSeconds", "InstanceGroups", NULL });
	return j;
}

static json_t *stored_algorithm(const json_t *request)
{
	const json_t *asked = member(request, "AlgorithmSpecification");
	json_t *j = json_object();

	json_object_set_new(j, "MetricDefinitions", copy_or(asked, "MetricDefinitions", json_array()));
	copy_present(j, asked, (const char *const[]){ "TrainingImage", "AlgorithmName", NULL });
	json_object_set_new(j, "TrainingInputMode", json_string(text_or(asked, "TrainingInputMode", "File")));
	copy_present(j, asked,
	             (const char *const[]){ "EnableSageMakerMetricsTimeSeries", "ContainerEntrypoint",
	                                    "ContainerArguments", "TrainingImageConfig", NULL });
	return j;
}

static bool trainingjobconfig(const struct config_input *in, struct buf *out)
{
	static const char *const flags[] = { "EnableInterContainerTrafficEncryption", "EnableNetworkIsolation",
		                             "EnableManagedSpotTraining" };
	const json_t *request = in->spec->request;
	json_t *j = json_object();

	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		json_object_set_new(j, flags[i], json_boolean(json_is_true(member(request, flags[i]))));
	json_object_set_new(j, "HyperParameters", copy_or(request, "HyperParameters", json_object()));
	json_object_set_new(j, "InputDataConfig", stored_channels(request));
	json_object_set_new(j, "OutputDataConfig", stored_output(request));
	json_object_set_new(j, "ResourceConfig", stored_resources(request));
	json_object_set_new(j, "RoleArn", json_string(text_or(request, "RoleArn", "")));
	json_object_set_new(j, "Tags", copy_or(request, "Tags", json_array()));
	json_object_set_new(j, "BaseTags", copy_or(request, "Tags", json_array()));
	json_object_set_new(j, "TrainingJobName", json_string(in->spec->name));
	json_object_set_new(j, "StoppingCondition", copy_or(request, "StoppingCondition", json_object()));
	json_object_set_new(j, "AlgorithmSpecification", stored_algorithm(request));
	json_object_set_new(j, "TrainingJobArn", json_string(in->spec->arn));
	copy_present(j, request,
	             (const char *const[]){ "DebugHookConfig", "CheckpointConfig", "TensorBoardOutputConfig",
	                                    "ProfilerConfig", "VpcConfig", "ExperimentConfig", "RetryStrategy",
	                                    "Environment", NULL });
	return write_json(j, out);
}

/* clang-format off */
const struct config_file config_files[] = {
	{ "checkpointconfig.json",         checkpointconfig },
	{ "debughookconfig.json",          debughookconfig },
	{ "hyperparameters.json",          hyperparameters },
	{ "init-config.json",              init_config },
	{ "inputdataconfig.json",          inputdataconfig },
	{ "metric-definition-regex.json",  metric_definition_regex },
	{ "profilerconfig.json",           profilerconfig },
	{ "resourceconfig.json",           resourceconfig },
	{ "tensorboardoutputconfig.json",  tensorboardoutputconfig },
	{ "trainingjobconfig.json",        trainingjobconfig },
	{ "upstreamoutputdataconfig.json", upstreamoutputdataconfig },
};
/* clang-format on */
const size_t config_file_count = ARRAY_LEN(config_files);
