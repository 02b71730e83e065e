/* /opt/ml as the container finds it: config files byte for byte, directories, modes. SPDX-License-Identifier:
 * Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "run/config_files.h"
#include "run/phase.h"

/* The two-host job of the contract's observed files, and a plain one. */
static const char rich_request[] =
        "{\"TrainingJobName\":\"Task1\",\"HyperParameters\":{\"arg2\":\"\\\"hello\\\"\",\"arg1\":\"5\",\"name\":"
        "\"\xc3\xa9\\n/\"},"
        "\"AlgorithmSpecification\":{\"TrainingImage\":\"my-algo:latest\",\"TrainingInputMode\":\"File\","
        "\"MetricDefinitions\":[{\"Name\":\"loss\",\"Regex\":\"loss=(\\\\S+)\"}],\"EnableSageMakerMetricsTimeSeries\":"
        "true},"
        "\"RoleArn\":\"arn:aws:iam::000000000000:role/"
        "r\",\"InputDataConfig\":[{\"ChannelName\":\"data\",\"DataSource\":"
        "{\"S3DataSource\":{\"S3DataType\":\"S3Prefix\",\"S3Uri\":\"s3://b/"
        "in\",\"S3DataDistributionType\":\"ShardedByS3Key\"}}},"
        "{\"ChannelName\":\"model\",\"ContentType\":\"application/x-sagemaker-model\",\"InputMode\":\"FastFile\","
        "\"ShuffleConfig\":{\"Seed\":7},\"RecordWrapperType\":\"RecordIO\",\"CompressionType\":\"Gzip\",\"DataSource\":"
        "{\"S3DataSource\":{\"S3DataType\":\"AugmentedManifestFile\",\"S3Uri\":\"s3://b/"
        "m\",\"AttributeNames\":[\"a\",\"b\"]}}}],"
        "\"OutputDataConfig\":{\"S3OutputPath\":\"s3://b/out\"},\"ResourceConfig\":{\"InstanceType\":\"ml.m5.large\","
        "\"InstanceCount\":2,\"VolumeSizeInGB\":30},\"EnableManagedSpotTraining\":true,"
        "\"StoppingCondition\":{\"MaxRuntimeInSeconds\":900,\"MaxWaitTimeInSeconds\":900},"
        "\"Tags\":[{\"Key\":\"k\",\"Value\":\"v\"}],\"CheckpointConfig\":{\"S3Uri\":\"s3://b/state/"
        "x\",\"LocalPath\":\"/state\"},"
        "\"TensorBoardOutputConfig\":{\"S3OutputPath\":\"s3://b/tb\"},"
        "\"DebugHookConfig\":{\"S3OutputPath\":\"s3://b/debug\"},"
        "\"ProfilerConfig\":{\"S3OutputPath\":\"s3://b/prof\",\"ProfilingIntervalInMilliseconds\":500}}";
static const char plain_request[] =
        "{\"TrainingJobName\":\"p\",\"AlgorithmSpecification\":{\"TrainingImage\":\"my-algo\",\"TrainingInputMode\":"
        "\"File\"},"
        "\"RoleArn\":\"arn:aws:iam::000000000000:role/r\",\"OutputDataConfig\":{\"S3OutputPath\":\"s3://b/out\"},"
        "\"ResourceConfig\":{\"InstanceType\":\"ml.g4dn.12xlarge\",\"InstanceCount\":1,\"VolumeSizeInGB\":30},"
        "\"StoppingCondition\":{\"MaxRuntimeInSeconds\":86400}}";

static struct channel_spec channels[] = {
	{ .name = "data",
	  .input_mode = "File",
	  .distribution = "ShardedByS3Key",
	  .record_wrapper = "None",
	  .compression = "None",
	  .s3_data_type = "S3Prefix",
	  .s3_uri = "s3://b/in" },
	{ .name = "model",
	  .input_mode = "FastFile",
	  .content_type = "application/x-sagemaker-model",
	  .distribution = "FullyReplicated",
	  .record_wrapper = "RecordIO",
	  .compression = "Gzip",
	  .s3_data_type = "AugmentedManifestFile",
	  .s3_uri = "s3://b/m" },
};

static struct job_spec rich(void)
{
	return (struct job_spec){ .name = "Task1",
		                  .arn = "arn:aws:sagemaker:us-east-1:000000000000:training-job/task1",
		                  .host_name = "algo-2",
		                  .host_number = 2,
		                  .host_count = 2,
		                  .region = "us-east-1",
		                  .request = json_loads(rich_request, 0, NULL),
		                  .channels = channels,
		                  .channel_count = 2,
		                  .limits.instance_type = "ml.m5.large",
		                  .api_url = "http://127.0.0.1:8770" };
}

static struct job_spec plain(void)
{
	return (struct job_spec){ .name = "p",
		                  .arn = "arn:aws:sagemaker:us-east-1:000000000000:training-job/p",
		                  .host_name = "algo-1",
		                  .host_number = 1,
		                  .host_count = 1,
		                  .region = "us-east-1",
		                  .request = json_loads(plain_request, 0, NULL),
		                  .limits.instance_type = "ml.g4dn.12xlarge" };
}

/* Every mode, and a file system, on the one host of the second of two groups. */
static const char mixed_request[] =
        "{\"TrainingJobName\":\"mixed\",\"AlgorithmSpecification\":{\"TrainingImage\":\"i\",\"TrainingInputMode\":"
        "\"Pipe\"},\"RoleArn\":\"arn:aws:iam::000000000000:role/r\",\"OutputDataConfig\":{\"S3OutputPath\":\"s3://b/"
        "o\"},"
        "\"ResourceConfig\":{\"VolumeSizeInGB\":1,\"InstanceGroups\":[{\"InstanceGroupName\":\"none\","
        "\"InstanceType\":\"ml.m5.xlarge\",\"InstanceCount\":0},{\"InstanceGroupName\":\"one\",\"InstanceType\":"
        "\"ml.m5.large\",\"InstanceCount\":1}]},\"StoppingCondition\":{\"MaxRuntimeInSeconds\":60},\"InputDataConfig\":"
        "["
        "{\"ChannelName\":\"away\",\"DataSource\":{\"S3DataSource\":{\"S3DataType\":\"S3Prefix\",\"S3Uri\":\"s3://b/"
        "x\","
        "\"InstanceGroupNames\":[\"none\"]}}},{\"ChannelName\":\"train\",\"ShuffleConfig\":{\"Seed\":-3},"
        "\"RecordWrapperType\":\"RecordIO\",\"DataSource\":{\"S3DataSource\":{\"S3DataType\":\"AugmentedManifestFile\","
        "\"S3Uri\":\"s3://b/m\",\"AttributeNames\":[\"a-ref\"],\"InstanceGroupNames\":[\"one\"]}}},"
        "{\"ChannelName\":\"list\",\"InputMode\":\"File\",\"DataSource\":{\"S3DataSource\":{\"S3DataType\":"
        "\"ManifestFile\",\"S3Uri\":\"s3://b/l\"}}},{\"ChannelName\":\"efs\",\"InputMode\":\"File\",\"DataSource\":{"
        "\"FileSystemDataSource\":{\"FileSystemId\":\"fs-0123456789abcdef0\",\"FileSystemAccessMode\":\"ro\","
        "\"FileSystemType\":\"FSxLustre\",\"DirectoryPath\":\"/mnt/x\"}}}]}";

static struct channel_spec mixed_channels[] = {
	{ .name = "train",
	  .input_mode = "Pipe",
	  .distribution = "FullyReplicated",
	  .record_wrapper = "RecordIO",
	  .compression = "None",
	  .s3_data_type = "AugmentedManifestFile",
	  .s3_uri = "s3://b/m" },
	{ .name = "list",
	  .input_mode = "File",
	  .distribution = "FullyReplicated",
	  .record_wrapper = "None",
	  .compression = "None",
	  .s3_data_type = "ManifestFile",
	  .s3_uri = "s3://b/l" },
	{ .name = "efs",
	  .place = PLACE_FILE_SYSTEM,
	  .input_mode = "File",
	  .distribution = "FullyReplicated",
	  .record_wrapper = "None",
	  .compression = "None",
	  .file_system_id = "fs-0123456789abcdef0",
	  .file_system_access = "ro",
	  .file_system_type = "FSxLustre",
	  .directory_path = "/mnt/x" },
};

/* All files of a job, one after the other. */
static void write_all(const struct job_spec *s, struct buf *out)
{
	struct config_input in = { .spec = s, .network_interface = "eth0" };

	CHECK(s->request);
	for (size_t i = 0; i < config_file_count; i++) {
		struct buf b = { 0 };

		if (config_files[i].write(&in, &b))
			buf_f(out, "%s %s\n", config_files[i].name, b.p);
		buf_fini(&b);
	}
}

TEST(layout_config_files_of_a_plain_job)
{
	struct job_spec s = plain();
	struct buf b = { 0 };

	write_all(&s, &b);
	CHECK_GOLDEN("config_files_plain.txt", buf_view(&b));
	buf_fini(&b);
	json_decref(s.request);
}

TEST(layout_config_files_of_a_rich_job)
{
	struct job_spec s = rich();
	struct buf b = { 0 };

	write_all(&s, &b);
	CHECK_GOLDEN("config_files_rich.txt", buf_view(&b));
	buf_fini(&b);
	json_decref(s.request);
}

TEST(layout_config_files_of_a_job_with_mixed_channels)
{
	struct job_spec s = plain();
	struct buf b = { 0 };

	json_decref(s.request);
	s.request = json_loads(mixed_request, 0, NULL);
	s.name = "mixed";
	s.limits.instance_type = "ml.m5.large";
	s.channels = mixed_channels;
	s.channel_count = ARRAY_LEN(mixed_channels);
	write_all(&s, &b);
	CHECK_GOLDEN("config_files_mixed.txt", buf_view(&b));
	buf_fini(&b);
	json_decref(s.request);
}

TEST(layout_resourceconfig_is_the_observed_one)
{
	/* contract 1.2: 280 bytes in 2022, since 2025-12 the same with "topology":null */
	struct job_spec s = plain();
	struct config_input in = { .spec = &s, .network_interface = "eth0" };
	struct buf b = { 0 };

	for (size_t i = 0; i < config_file_count; i++)
		if (str_is(str_of(config_files[i].name), "resourceconfig.json"))
			CHECK(config_files[i].write(&in, &b));
	CHECK_INT(b.n, 280 + sizeof(",\"topology\":null") - 1);
	buf_fini(&b);
	json_decref(s.request);
}

TEST(layout_instance_groups_count_on)
{
	struct job_spec s = plain();
	struct config_input in = { .spec = &s, .network_interface = "eth0" };
	json_t *groups = json_loads("[{\"InstanceType\":\"ml.a\",\"InstanceCount\":2,\"InstanceGroupName\":\"first\"},"
	                            "{\"InstanceType\":\"ml.b\",\"InstanceCount\":9,\"InstanceGroupName\":\"second\"}]",
	                            0, NULL);
	struct buf b = { 0 };

	json_object_set_new(json_object_get(s.request, "ResourceConfig"), "InstanceGroups", groups);
	s.host_count = 11;
	s.host_number = 3;
	s.host_name = "algo-3";
	for (size_t i = 0; i < config_file_count; i++)
		if (str_is(str_of(config_files[i].name), "resourceconfig.json"))
			CHECK(config_files[i].write(&in, &b));
	CHECK(str_find(buf_view(&b), STR("\"current_instance_type\":\"ml.b\",\"current_group_name\":\"second\"")) >= 0);
	CHECK(str_find(buf_view(&b), STR("\"hosts\":[\"algo-1\",\"algo-10\",\"algo-11\",\"algo-2\",")) >= 0);
	CHECK(str_find(buf_view(&b),
	               STR("\"instance_group_name\":\"first\",\"instance_type\":\"ml.a\",\"hosts\":[\"algo-1\","
	                   "\"algo-2\"]")) >= 0);
	buf_fini(&b);
	json_decref(s.request);
}

TEST(layout_enums_in_the_services_spelling)
{
	static const char *const rows[][2] = { { "S3Prefix", "S3_PREFIX" },
		                               { "ManifestFile", "MANIFEST_FILE" },
		                               { "File", "FILE" },
		                               { "FastFile", "FAST_FILE" },
		                               { "RecordIO", "RECORD_IO" },
		                               { "ShardedByS3Key", "SHARDED_BY_S3_KEY" },
		                               { "None", "NONE" },
		                               { "Gzip", "GZIP" },
		                               { "FullyReplicated", "FULLY_REPLICATED" } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf b = { 0 };

		config_enum(str_of(rows[i][0]), &b);
		CHECK_STR(b.p, rows[i][1]);
		buf_fini(&b);
	}
}

TEST(layout_interface_of_the_default_route)
{
	static const char head[] =
	        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
	static const struct {
		const char *lines, *want;
	} rows[] = {
		{ "", "lo" },
		{ "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", "lo" },
		{ "eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
		  "enp3s0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n",
		  "enp3s0" },
		{ "down0\t00000000\t0100A8C0\t0002\t0\t0\t100\t00000000\t0\t0\t0\n", "lo" },
		{ "tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n", "lo" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_free_ char *text = strf("%s%s", head, rows[i].lines), *got = layout_interface(str_of(text));

		CHECK_STR(got, rows[i].want);
	}
}

static void check_mode(int fd, const char *path, mode_t mode)
{
	struct stat st = { 0 };

	if (fstatat(fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		test_failed(__FILE__, __LINE__, "%s is not there", path);
	else if ((st.st_mode & 07777) != mode)
		test_failed(__FILE__, __LINE__, "%s has the mode %o", path, st.st_mode & 07777);
}

static int make_tree(const struct job_spec *s, struct err *e)
{
	int fd = open(test_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	umask(022);
	CHECK(fd >= 0);
	if (layout_tree(fd, s, "eth0", true, e) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

TEST(layout_tree_of_a_plain_job)
{
	static const char *const absent[] = { "opt/ml/input/config/checkpointconfig.json",
		                              "opt/ml/input/config/debughookconfig.json",
		                              "opt/ml/input/config/profilerconfig.json",
		                              "opt/ml/input/config/tensorboardoutputconfig.json",
		                              "opt/ml/output/tensorboard",
		                              "opt/ml/input/data/checkpoints-manifest",
		                              "opt/ml/checkpoints",
		                              "opt/ml/code" };
	static const char *const directories[] = { "opt/ml",
		                                   "opt/ml/input",
		                                   "opt/ml/input/config",
		                                   "opt/ml/input/data",
		                                   "opt/ml/model",
		                                   "opt/ml/output",
		                                   "opt/ml/output/data",
		                                   "opt/ml/output/metrics/sagemaker",
		                                   "opt/ml/output/profiler" };
	struct job_spec s = plain();
	struct err why = { 0 };
	_cleanup_close_ int fd = make_tree(&s, &why);
	struct buf hosts = { 0 };

	CHECK(fd >= 0);
	for (size_t i = 0; i < ARRAY_LEN(directories); i++)
		check_mode(fd, directories[i], 0755);
	for (size_t i = 0; i < ARRAY_LEN(absent); i++)
		CHECK(faccessat(fd, absent[i], F_OK, 0) < 0);
	check_mode(fd, "opt/ml/input/config/hyperparameters.json", 0644);
	check_mode(fd, "tmp", 01777);
	check_mode(fd, "opt/ml/input/config/resourceConfig.json", 0644);
	CHECK_OK(file_read_at(fd, "etc/hosts", 4096, &hosts, e));
	CHECK_STR(hosts.p, "127.0.0.1\tlocalhost\n127.0.0.1\talgo-1\n::1\tlocalhost ip6-localhost ip6-loopback\n");
	buf_fini(&hosts);
	json_decref(s.request);
}

TEST(layout_tree_of_a_rich_job)
{
	struct job_spec s = rich();
	struct err why = { 0 };
	_cleanup_close_ int fd = make_tree(&s, &why);
	struct buf manifest = { 0 };

	CHECK(fd >= 0);
	check_mode(fd, "state", 0755);
	check_mode(fd, "opt/ml/output/tensorboard", 0755);
	check_mode(fd, "opt/ml/input/config/debughookconfig.json", 0644);
	CHECK_OK(file_read_at(fd, "opt/ml/input/data/checkpoints-manifest", 4096, &manifest, e));
	CHECK_STR(manifest.p, "state/x\n");
	buf_fini(&manifest);
	json_decref(s.request);
}

TEST(layout_refuses_a_local_path_that_leaves_the_tree)
{
	static const char *const paths[] = { "/state/../../x", "..", "/opt/ml/input/config/../../../../etc/x" };

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct job_spec s = plain();
		struct err why = { 0 };
		int fd;

		json_object_set_new(s.request, "CheckpointConfig",
		                    json_pack("{s:s, s:s}", "S3Uri", "s3://b/c", "LocalPath", paths[i]));
		CHECK_OK(remove_tree(AT_FDCWD, test_tmpdir(), e));
		(void)!mkdir(test_tmpdir(), 0700);
		fd = make_tree(&s, &why);
		CHECK(fd < 0);
		CHECK_INT(why.kind, ERR_CLIENT);
		cleanup_closep(&fd);
		json_decref(s.request);
	}
}

static const char *value_of(char *const *env, const char *name)
{
	for (; *env; env++) {
		struct str s = str_of(*env);

		if (str_skip(&s, str_of(name)) && str_skip(&s, STR("=")))
			return s.p;
	}
	return "(unset)";
}

TEST(layout_environment_and_its_precedence)
{
	char *image_env[] = { "PATH=/opt/bin", "LANG=C", "AWS_REGION=mars", "HOME=/home/x", NULL };
	struct image image = { .env = image_env, .user = "" };
	struct job_spec s = rich();
	char **env;

	json_object_set_new(s.request, "Environment",
	                    json_pack("{s:s, s:s, s:s, s:s}", "TRAINING_JOB_NAME", "liar", "DMLC_INTERFACE", "ib0",
	                              "COLOUR", "a=b", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x"));
	env = environment_of(&s, &image, "eth0", "http://127.0.0.1:9/v2/credentials/x");
	CHECK_STR(value_of(env, "TRAINING_JOB_NAME"), "Task1");
	CHECK_STR(value_of(env, "TRAINING_JOB_ARN"), s.arn);
	CHECK_STR(value_of(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), "(unset)");
	CHECK_STR(value_of(env, "AWS_CONTAINER_CREDENTIALS_FULL_URI"), "http://127.0.0.1:9/v2/credentials/x");
	CHECK_STR(value_of(env, "DMLC_INTERFACE"), "ib0");
	CHECK_STR(value_of(env, "COLOUR"), "a=b");
	CHECK_STR(value_of(env, "PATH"), "/opt/bin");
	CHECK_STR(value_of(env, "LANG"), "C");
	CHECK_STR(value_of(env, "HOME"), "/home/x");
	CHECK_STR(value_of(env, "AWS_REGION"), "us-east-1");
	CHECK_STR(value_of(env, "NVIDIA_VISIBLE_DEVICES"), "void");
	CHECK_STR(value_of(env, "SAGEMAKER_METRICS_DIRECTORY"), "/opt/ml/output/metrics/sagemaker");
	CHECK_STR(value_of(env, "AWS_ENDPOINT_URL"), "http://127.0.0.1:8770");
	strv_free(env);
	json_decref(s.request);
}

TEST(layout_environment_of_an_isolated_job_of_a_user)
{
	char *image_env[] = { NULL };
	struct image image = { .env = image_env, .user = "trainer" };
	struct job_spec s = plain();
	char **env;

	s.api_url = "http://127.0.0.1:8770";
	json_object_set_new(s.request, "EnableNetworkIsolation", json_true());
	env = environment_of(&s, &image, "lo", NULL);
	CHECK_STR(value_of(env, "AWS_ENDPOINT_URL"), "(unset)");
	CHECK_STR(value_of(env, "HOME"), "(unset)"); /* the runtime looks it up in the image's passwd */
	CHECK_STR(value_of(env, "PATH"), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	CHECK_STR(value_of(env, "SAGEMAKER_METRICS_DIRECTORY"), "(unset)");
	strv_free(env);
	json_decref(s.request);
}
