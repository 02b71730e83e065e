/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/describe.h"

#include "base/clock.h"
#include "cli/access.h"
#include "cli/commands.h"
#include "cli/feeds.h"

enum { MARGIN = 15 };

static const char *text_at(const json_t *j, const char *name)
{
	return json_string_value(json_object_get(j, name));
}

static void row(FILE *to, const char *name, const char *value)
{
	if (value && *value)
		fprintf(to, "%-14s %s\n", name, value);
}

static void print_map(FILE *to, const char *name, const json_t *map)
{
	const char *key;
	json_t *v;

	json_object_foreach ((json_t *)map, key, v) {
		fprintf(to, "%-14s %s = %s\n", name, key, json_string_value(v) ? json_string_value(v) : "");
		name = "";
	}
}

static void print_source(const json_t *source, FILE *to)
{
	const json_t *s3 = json_object_get(source, "S3DataSource"),
	             *fs = json_object_get(source, "FileSystemDataSource");
	const char *type = text_at(s3, "S3DataType");

	if (fs)
		fprintf(to, "%s:%s (%s)", text_at(fs, "FileSystemId") ? text_at(fs, "FileSystemId") : "?",
		        text_at(fs, "DirectoryPath") ? text_at(fs, "DirectoryPath") : "?",
		        text_at(fs, "FileSystemAccessMode") ? text_at(fs, "FileSystemAccessMode") : "?");
	else
		fprintf(to, "%s", text_at(s3, "S3Uri") ? text_at(s3, "S3Uri") : "?");
	if (type && strcmp(type, "S3Prefix") != 0)
		fprintf(to, " (%s)", type);
}

static void print_channels(const json_t *d, const json_t *feeds, FILE *to)
{
	const json_t *channels = json_object_get(d, "InputDataConfig");

	for (size_t i = 0; i < json_array_size(channels); i++) {
		const json_t *c = json_array_get(channels, i);
		const char *name = text_at(c, "ChannelName");

		fprintf(to, "%-14s %s from ", i ? "" : "channels", name ? name : "?");
		print_source(json_object_get(c, "DataSource"), to);
		putc('\n', to);
		feeds_print(feeds, name, job_is_final(d), MARGIN + 2, to);
	}
}

/* Each phase with its length; the one that is not over has lasted until now. */
static void print_phases(FILE *to, const json_t *phases)
{
	for (size_t i = 0; i < json_array_size(phases); i++) {
		const json_t *p = json_array_get(phases, i), *end = json_object_get(p, "EndTime");
		double start = json_number_value(json_object_get(p, "StartTime"));
		double until = end ? json_number_value(end) : (double)wall_now().ms / 1000;
		char text[CLI_TIME_BYTES];

		fprintf(to, "%-14s %-26s %9s  %s\n", i ? "" : "phases",
		        text_at(p, "Status") ? text_at(p, "Status") : "?",
		        access_duration(until > start ? until - start : 0, text),
		        text_at(p, "StatusMessage") ? text_at(p, "StatusMessage") : "");
	}
}

static void add_instances(struct buf *out, const json_t *of)
{
	buf_f(out, "%s%lld x %s", out->n ? " + " : "",
	      (long long)json_integer_value(json_object_get(of, "InstanceCount")),
	      text_at(of, "InstanceType") ? text_at(of, "InstanceType") : "?");
	if (text_at(of, "InstanceGroupName"))
		buf_f(out, " (%s)", text_at(of, "InstanceGroupName"));
}

/* "1 x ml.m5.large, 30 GB", or the groups. */
static char *instances_of(const json_t *resources)
{
	const json_t *groups = json_object_get(resources, "InstanceGroups"), *g;
	struct buf out = { 0 };
	size_t i;

	if (!json_array_size(groups))
		add_instances(&out, resources);
	json_array_foreach (groups, i, g)
		add_instances(&out, g);
	buf_f(&out, ", %lld GB", (long long)json_integer_value(json_object_get(resources, "VolumeSizeInGB")));
	return buf_take(&out);
}

void describe_print(const json_t *d, const json_t *feeds, const json_t *counts, FILE *to)
{
	const json_t *resources = json_object_get(d, "ResourceConfig");
	char text[CLI_TIME_BYTES];
	_cleanup_free_ char *status = strf("%s (%s)", text_at(d, "TrainingJobStatus"), text_at(d, "SecondaryStatus"));
	_cleanup_free_ char *instances = instances_of(resources);

	row(to, "name", text_at(d, "TrainingJobName"));
	row(to, "arn", text_at(d, "TrainingJobArn"));
	row(to, "status", status);
	row(to, "reason", text_at(d, "FailureReason"));
	row(to, "image", text_at(json_object_get(d, "AlgorithmSpecification"), "TrainingImage"));
	row(to, "algorithm", text_at(json_object_get(d, "AlgorithmSpecification"), "AlgorithmName"));
	row(to, "instances", instances);
	print_map(to, "hyperparams", json_object_get(d, "HyperParameters"));
	print_map(to, "environment", json_object_get(d, "Environment"));
	print_channels(d, feeds, to);
	definitions_print(d, counts, to);
	row(to, "output", text_at(json_object_get(d, "OutputDataConfig"), "S3OutputPath"));
	row(to, "model", text_at(json_object_get(d, "ModelArtifacts"), "S3ModelArtifacts"));
	row(to, "created", access_time(json_object_get(d, "CreationTime"), text));
	row(to, "started", access_time(json_object_get(d, "TrainingStartTime"), text));
	row(to, "ended", access_time(json_object_get(d, "TrainingEndTime"), text));
	print_phases(to, json_object_get(d, "SecondaryStatusTransitions"));
}

void describe_print_end(const json_t *d, FILE *to)
{
	double start = json_number_value(json_object_get(d, "CreationTime"));
	double end = json_number_value(json_object_get(d, "LastModifiedTime"));
	char text[CLI_TIME_BYTES];

	fprintf(to, "%s: %s after %s\n", text_at(d, "TrainingJobName"), text_at(d, "TrainingJobStatus"),
	        access_duration(end > start ? end - start : 0, text));
	row(to, "reason", text_at(d, "FailureReason"));
	if (!text_at(d, "FailureReason"))
		row(to, "model", text_at(json_object_get(d, "ModelArtifacts"), "S3ModelArtifacts"));
}

/* What the API does not say stands beside its members under one name of ours. */
static void print_as_json(json_t *reply, json_t *feeds, json_t *counts)
{
	json_t *own = json_object();

	if (feeds)
		json_object_set(own, "Feeds", feeds);
	if (json_array_size(counts))
		json_object_set(own, "MetricDefinitions", counts);
	if (json_object_size(own))
		json_object_set(reply, "Bloomery", own);
	json_decref(own);
	print_json(reply);
}

int command_describe(const struct cli_args *a, struct err *e)
{
	_cleanup_access_ struct access s = { 0 };
	json_t *reply, *feeds = NULL, *counts = NULL;
	struct err why = { 0 };

	if (access_open(a, &s, e) < 0 || access_call(&s, "sagemaker", "SageMaker.DescribeTrainingJob",
	                                             json_pack("{ss}", "TrainingJobName", a->rest[0]), &reply, e) < 0)
		return -1;
	if (feeds_ask(&s, a->rest[0], &feeds, &why) < 0) { /* the rest is worth having without it */
		err_in(&why, "how the channels are fed");
		err_print(&why, "bloomery");
	}
	if (definitions_ask(&s, a->rest[0], &counts, &why) < 0) {
		err_in(&why, "how the metric definitions do");
		err_print(&why, "bloomery");
	}
	if (cli_flag(a, "json"))
		print_as_json(reply, feeds, counts);
	else
		describe_print(reply, feeds, counts, stdout);
	json_decref(counts);
	json_decref(feeds);
	json_decref(reply);
	return EXIT_DONE;
}
