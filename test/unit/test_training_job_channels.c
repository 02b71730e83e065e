/* What InputDataConfig may say, and what not, and in which words. SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"
#include "op/training_job.h"

#include <stdlib.h>

#define SOURCE(type, more) \
	"\"DataSource\":{\"S3DataSource\":{\"S3DataType\":\"" type "\",\"S3Uri\":\"s3://b/k\"" more "}}"
#define PREFIX SOURCE("S3Prefix", "")
#define EFS(path)                                                                                                 \
	"\"DataSource\":{\"FileSystemDataSource\":{\"FileSystemId\":\"fs-0123456789abcdef0\",\"FileSystemType\":" \
	"\"EFS\","                                                                                                \
	"\"FileSystemAccessMode\":\"ro\",\"DirectoryPath\":\"" path "\"}}"
#define NAMED(name, mode, rest) "{\"ChannelName\":\"" name "\",\"InputMode\":\"" mode "\"," rest "}"
#define CHANNEL(mode, rest) NAMED("a", mode, rest)

/* The refusal, or "". The job's mode is File; it has the groups `cpu` and `gpu`. */
static const char *refusal(const char *channels)
{
	_cleanup_free_ char *text = strf(
	        "{\"AlgorithmSpecification\":{\"TrainingInputMode\":\"File\"},\"ResourceConfig\":{"
	        "\"InstanceGroups\":[{\"InstanceGroupName\":\"cpu\"},{\"InstanceGroupName\":\"gpu\"}]},"
	        "\"InputDataConfig\":[%s]}",
	        channels);
	json_t *in = json_loads(text, JSON_ALLOW_NUL, NULL);
	static struct err e;
	int rc;

	must(in);
	e = (struct err){ 0 };
	rc = training_job_check_channels(in, &e);
	json_decref(in);
	CHECK(rc == 0 || (e.kind == ERR_INVALID && e.depth == 1));
	return rc < 0 ? e.frame[0] : "";
}

TEST(modes_and_shapes_that_do_not_go_together)
{
	static const char *const cases[][2] = {
		{ CHANNEL("File", PREFIX), "" },
		{ "{\"ChannelName\":\"a\"," PREFIX "}", "" },
		{ CHANNEL("Pipe", PREFIX ",\"CompressionType\":\"Gzip\",\"RecordWrapperType\":\"RecordIO\""), "" },
		{ CHANNEL("File", PREFIX ",\"CompressionType\":\"None\",\"RecordWrapperType\":\"None\""), "" },
		{ "{\"ChannelName\":\"a\",\"CompressionType\":\"Gzip\"," PREFIX "}",
		  "Invalid compression type for channel a: File mode only supports NONE, got Gzip instead" },
		{ CHANNEL("FastFile", PREFIX ",\"CompressionType\":\"Gzip\""),
		  "Invalid compression type for channel a: FastFile mode only supports NONE, got Gzip instead" },
		{ CHANNEL("File", PREFIX ",\"RecordWrapperType\":\"RecordIO\""),
		  "Invalid record wrapper type for channel a: File mode only supports NONE, got RecordIO instead" },
		{ CHANNEL("FastFile", PREFIX ",\"RecordWrapperType\":\"RecordIO\""),
		  "Invalid record wrapper type for channel a: FastFile mode only supports NONE, got RecordIO instead" },
		{ CHANNEL("File", SOURCE("ManifestFile", "")), "" },
		{ CHANNEL("Pipe", SOURCE("ManifestFile", "")), "" },
		{ CHANNEL("FastFile", SOURCE("ManifestFile", "")), "Invalid S3 data type for channel a: FastFile mode "
		                                                   "only supports S3Prefix, got ManifestFile instead" },
		{ CHANNEL("Pipe", SOURCE("AugmentedManifestFile", ",\"AttributeNames\":[\"x\"]")), "" },
		{ CHANNEL("File", SOURCE("AugmentedManifestFile", ",\"AttributeNames\":[\"x\"]")),
		  "Invalid S3 data type for channel a: File mode only supports S3Prefix and ManifestFile, got "
		  "AugmentedManifestFile instead" },
		{ CHANNEL("FastFile", SOURCE("AugmentedManifestFile", ",\"AttributeNames\":[\"x\"]")),
		  "Invalid S3 data type for channel a: FastFile mode only supports S3Prefix, got AugmentedManifestFile "
		  "instead" },
		{ CHANNEL("Pipe", SOURCE("AugmentedManifestFile", "")),
		  "InputDataConfig: channel a is an AugmentedManifestFile and has no AttributeNames; name the "
		  "attributes of "
		  "its lines that are to be read, in their order" },
		{ CHANNEL("Pipe", SOURCE("S3Prefix", ",\"AttributeNames\":[]")), "" },
		{ CHANNEL("Pipe", SOURCE("ManifestFile", ",\"AttributeNames\":[\"x\"]")),
		  "InputDataConfig: channel a has AttributeNames, which only an AugmentedManifestFile can have; leave "
		  "them "
		  "out, or use that S3DataType" },
		{ CHANNEL("File", SOURCE("S3Prefix", ",\"InstanceGroupNames\":[\"gpu\",\"cpu\"]")), "" },
		{ CHANNEL("File", SOURCE("S3Prefix", ",\"InstanceGroupNames\":[\"gpu\",\"tpu\"]")),
		  "InputDataConfig: channel a is for instance group 'tpu', which ResourceConfig.InstanceGroups does "
		  "not "
		  "name" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		CHECK_STR(refusal(cases[i][0]), cases[i][1]);
}

TEST(sources)
{
	static const char *const cases[][2] = {
		{ CHANNEL("File", "\"DataSource\":{}"),
		  "InputDataConfig: channel a has no data source; give S3DataSource or FileSystemDataSource" },
		{ CHANNEL("File", "\"DataSource\":{\"S3DataSource\":{},\"FileSystemDataSource\":{}}"),
		  "InputDataConfig: channel a has both S3DataSource and FileSystemDataSource; give one of them" },
		{ CHANNEL("File",
		          "\"DataSource\":{\"S3DataSource\":{\"S3DataType\":\"ManifestFile\",\"S3Uri\":\"s3://b/\"}}"),
		  "InputDataConfig: S3Uri of channel a is to be the manifest, of the form s3://bucket/key" },
		{ CHANNEL("File", EFS("/x")), "" },
		{ CHANNEL("File", EFS("x")), "InputDataConfig: DirectoryPath of channel a is to be an absolute path" },
		{ CHANNEL("File", EFS("")), "InputDataConfig: DirectoryPath of channel a is to be an absolute path" },
		{ CHANNEL("File", EFS("/x\\u0000y")),
		  "InputDataConfig: DirectoryPath of channel a is to be an absolute path" },
		{ CHANNEL("Pipe", EFS("/x")),
		  "Invalid input mode for channel a: FileSystemDataSource only supports File, got Pipe instead" },
		{ CHANNEL("FastFile", EFS("/x")),
		  "Invalid input mode for channel a: FileSystemDataSource only supports File, got FastFile instead" },
		{ CHANNEL("File", EFS("/x") ",\"CompressionType\":\"Gzip\""),
		  "Invalid compression type for channel a: File mode only supports NONE, got Gzip instead" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		CHECK_STR(refusal(cases[i][0]), cases[i][1]);
}

TEST(names_that_meet_below_the_data_directory)
{
#define FIFO(b)                       \
	"InputDataConfig: channel " b \
	" cannot be called so beside the Pipe channel a, which has a FIFO of that name for each epoch"
#define FILE_OF(b) "InputDataConfig: channel " b " cannot be called so beside channel a, which has a file of that name"
	static const char *const cases[][3] = {
		{ NAMED("a", "File", PREFIX), NAMED("a", "Pipe", PREFIX),
		  "InputDataConfig: duplicate channel name 'a'; names must be unique within a job" },
		{ NAMED("a", "Pipe", PREFIX), NAMED("a_0", "File", PREFIX), FIFO("a_0") },
		{ NAMED("a", "Pipe", PREFIX), NAMED("a_12", "Pipe", PREFIX), FIFO("a_12") },
		{ NAMED("a", "Pipe", PREFIX), NAMED("a_3", "File", EFS("/")), FIFO("a_3") },
		{ NAMED("a", "Pipe", PREFIX), NAMED("a_01", "File", PREFIX), "" },
		{ NAMED("a", "Pipe", PREFIX), NAMED("a_", "File", PREFIX), "" },
		{ NAMED("a", "Pipe", PREFIX), NAMED("a_1b", "File", PREFIX), "" },
		{ NAMED("a", "Pipe", PREFIX), NAMED("ab", "File", PREFIX), "" },
		{ NAMED("a", "File", PREFIX), NAMED("a_0", "File", PREFIX), "" },
		{ NAMED("a", "File", PREFIX), NAMED("a_0", "Pipe", PREFIX), "" },
		{ NAMED("a", "File", PREFIX), NAMED("a-manifest", "File", PREFIX), FILE_OF("a-manifest") },
		{ NAMED("a", "FastFile", PREFIX), NAMED("a-manifest", "FastFile", PREFIX), FILE_OF("a-manifest") },
		{ NAMED("a", "File", PREFIX), NAMED("a-manifest", "Pipe", PREFIX), "" },
		{ NAMED("a", "Pipe", PREFIX), NAMED("a-manifest", "File", PREFIX), "" },
		{ NAMED("a", "File", EFS("/")), NAMED("a-manifest", "File", PREFIX), "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_free_ char *there = strf("%s,%s", cases[i][0], cases[i][1]);
		_cleanup_free_ char *back = strf("%s,%s", cases[i][1], cases[i][0]);

		CHECK_STR(refusal(there), cases[i][2]);
		CHECK_STR(refusal(back), cases[i][2]);
	}
	CHECK_STR(refusal(NAMED("..", "File", PREFIX)),
	          "InputDataConfig: a channel cannot be called '..'; its name becomes a directory below "
	          "/opt/ml/input/data");
}

/* ---- instance groups ---- */

static const char *form(const char *resources)
{
	_cleanup_free_ char *text = strf(
	        "{\"AlgorithmSpecification\":{\"TrainingImage\":\"i\",\"TrainingInputMode\":\"File\"},"
	        "\"StoppingCondition\":{},\"OutputDataConfig\":{\"S3OutputPath\":\"s3://b/o\"},"
	        "\"ResourceConfig\":{%s}}",
	        resources);
	json_t *in = json_loads(text, 0, NULL);
	static struct err e;
	int rc;

	must(in);
	e = (struct err){ 0 };
	rc = training_job_check_form(in, &e);
	json_decref(in);
	return rc < 0 ? e.frame[0] : "";
}

#define GROUP(name, type, count) \
	"{\"InstanceGroupName\":\"" name "\",\"InstanceType\":\"" type "\",\"InstanceCount\":" #count "}"

TEST(instance_groups)
{
	struct capacity_needs needs;
	json_t *in;

	CHECK_STR(form("\"InstanceGroups\":[" GROUP("g", "local", 1) "]"), "");
	CHECK_STR(form("\"InstanceGroups\":[" GROUP("g", "local", 0) "," GROUP("h", "ml.m5.large", 1) "]"), "");
	CHECK_STR(form("\"InstanceType\":\"local\",\"InstanceCount\":1,\"InstanceGroups\":[]"), "");
	CHECK_STR(form("\"InstanceGroups\":[" GROUP("g", "local", 0) "]"),
	          "ResourceConfig: the InstanceCounts of InstanceGroups must be at least 1 together");
	CHECK_STR(form("\"InstanceGroups\":[" GROUP("g", "local", 1) "," GROUP("h", "ml.m5.large", 2) "]"), "");
	CHECK_STR(form("\"InstanceGroups\":[" GROUP("g", "local", 200) "," GROUP("h", "ml.m5.large", 51) "]"),
	          "ResourceConfig: 251 hosts are too many for one machine; a job can have at most 250 here");
	CHECK_STR(form("\"InstanceGroups\":[" GROUP("g", "local", 1) "," GROUP("g", "local", 0) "]"),
	          "ResourceConfig: duplicate instance group name 'g'");
	CHECK_STR(form("\"InstanceType\":\"local\",\"InstanceGroups\":[" GROUP("g", "local", 1) "]"),
	          "ResourceConfig: InstanceGroups exclude InstanceType and InstanceCount, which each group has of its "
	          "own");
	CHECK_STR(form("\"InstanceGroups\":[" GROUP("g", "ml.nothing.large", 1) "]"),
	          "ResourceConfig: the size of instance type ml.nothing.large is not known here");
	in = json_loads("{\"ResourceConfig\":{\"VolumeSizeInGB\":1,\"InstanceGroups\":[" GROUP(
	                        "g", "local", 0) "," GROUP("h", "ml.m5.large", 1) "]}}",
	                0, NULL);
	CHECK_OK(training_job_needs(in, &needs, e));
	CHECK_STR(needs.instance_type, "ml.m5.large");
	CHECK_INT(capacity_hosts(&needs), 1);
	capacity_needs_fini(&needs);
	json_decref(in);
	in = json_loads(
	        "{\"ResourceConfig\":{\"VolumeSizeInGB\":1,\"InstanceGroups\":[" GROUP("g", "local", 2) "," GROUP(
	                "n", "ml.m5.xlarge", 0) "," GROUP("h", "ml.m5.large", 3) "]}}",
	        0, NULL);
	CHECK_OK(training_job_needs(in, &needs, e));
	CHECK_INT(capacity_hosts(&needs), 5);
	CHECK_STR(needs.instance_type, "local");
	CHECK_STR(needs.next->instance_type, "ml.m5.large");
	CHECK(!needs.next->next);
	capacity_needs_fini(&needs);
	json_decref(in);
}
