/* The handlers of training jobs, tags and logs over the real store, object store and job control, without HTTP.
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "harness.h"
#include "job/control.h"
#include "joblog/joblog.h"
#include "logstore/logstore.h"
#include "op/api.h"

static struct loop *loop;
static struct api api = { .account = "000000000000", .region = "us-east-1" };
static struct conf conf;
static const struct launcher_events *events;
static void *events_arg;

/* A launcher that takes everything and does nothing: jobs get as far as their launch. */
static struct launcher *quiet_open(const struct launcher_options *o)
{
	events = o->events;
	events_arg = o->arg;
	return NULL;
}
static void quiet_id(struct launcher *l, const char *id)
{
	(void)l, (void)id;
}
static void quiet_stop(struct launcher *l, const char *id, const char *why)
{
	(void)l, (void)id, (void)why;
}
static void quiet_watch(struct launcher *l, const char *id, uint64_t after)
{
	(void)l, (void)id, (void)after;
}
static void quiet_close(struct launcher *l)
{
	(void)l;
}
static const struct launcher_ops quiet = { .name = "quiet",
	                                   .open = quiet_open,
	                                   .close = quiet_close,
	                                   .launch = quiet_id,
	                                   .watch = quiet_watch,
	                                   .stop = quiet_stop,
	                                   .go = quiet_id,
	                                   .forget = quiet_id,
	                                   .remove = quiet_id };

static void put_object(const char *bucket, const char *key, const char *bytes)
{
	_cleanup_free_ char *path = strf("%s/new", test_tmpdir());
	_cleanup_buf_ struct buf hex = { 0 };
	unsigned char digest[MD5_BYTES];

	md5(str_of(bytes), digest);
	buf_hex(&hex, digest, sizeof(digest));
	CHECK_OK(file_put(AT_FDCWD, path, str_of(bytes), 0644, e));
	CHECK_OK(blob_bucket_create(api.blobs, str_of(bucket), e));
	CHECK_OK(blob_adopt(api.blobs, str_of(bucket), str_of(key), path, strlen(bytes), buf_view(&hex), e));
}

static void up(void)
{
	_cleanup_free_ char *db = strf("%s/bloomery.db", test_tmpdir()), *logs = strf("%s/logs.db", test_tmpdir());
	struct jobs_options o = { .conf = &conf, .launcher = &quiet };

	log_init("test", LOG_ERROR + 1);
	conf_init(&conf);
	loop = loop_new();
	CHECK_OK(store_open(db, &api.store, e));
	CHECK_OK(logstore_open(logs, &api.logs, e));
	CHECK_OK(blob_open(test_tmpdir(), &api.blobs, e));
	o.loop = loop;
	o.store = api.store;
	o.blobs = api.blobs;
	api.data_dir = o.data_dir = test_tmpdir();
	CHECK_OK(jobs_new(&o, &api.jobs, e));
	put_object("data", "train/x.csv", "1,2\n");
	CHECK_OK(blob_bucket_create(api.blobs, STR("results"), e));
}

static void down(void)
{
	jobs_free(api.jobs);
	blob_close(api.blobs);
	logstore_close(api.logs);
	store_close(api.store);
	loop_free(loop);
	conf_fini(&conf);
}

/* As api.c calls a handler. The reply's text, or "KIND: message"; freed at the test's end with the process. */
static const char *call_json(const char *service, const char *name, json_t *in)
{
	static struct buf replies[8];
	static unsigned turn;
	struct buf *out = &replies[turn++ % ARRAY_LEN(replies)];
	const struct service *s = model_service(service);
	const struct operation *op = model_operation(s, str_of(name));
	struct api_call call = {
		.api = &api, .service = s, .op = op, .now = wall_now(), .request_id = "r", .raw = out
	};
	api_fn *run = NULL;
	struct err why = { 0 };
	json_t *ret = NULL;

	buf_reset(out);
	buf_need(out, 1);
	for (size_t i = 0; i < api_op_count; i++)
		if (!strcmp(api_ops[i].name, name) && !strcmp(api_ops[i].service, service))
			run = api_ops[i].run;
	must(run && op && in);
	if (model_check(op, in, &why) < 0 || model_refuse(op, in, &why) < 0 || run(&call, in, &ret, &why) < 0) {
		buf_reset(out);
		buf_f(out, "%s: %s", err_info[why.kind].name, why.frame[0]);
		CHECK(!ret);
	} else if (ret) {
		char *text = json_dumps(ret, JSON_COMPACT);

		CHECK_INT(out->n, 0); /* one way or the other */
		buf_z(out, text);
		free(text);
	} else if (out->n) {
		json_t *valid = json_loadb(out->p, out->n, JSON_REJECT_DUPLICATES, NULL);

		CHECK(valid != NULL);
		json_decref(valid);
	}
	json_decref(ret);
	json_decref(in);
	return out->p;
}

static const char *call(const char *name, const char *fmt, ...)
{
	_cleanup_buf_ struct buf text = { 0 };
	va_list ap;

	va_start(ap, fmt);
	buf_vf(&text, fmt, ap);
	va_end(ap);
	return call_json("sagemaker", name, json_loads(text.p, 0, NULL));
}

static const char *call_logs(const char *name, const char *fmt, ...)
{
	_cleanup_buf_ struct buf text = { 0 };
	va_list ap;

	va_start(ap, fmt);
	buf_vf(&text, fmt, ap);
	va_end(ap);
	return call_json("logs", name, json_loads(text.p, 0, NULL));
}

#define CHANNEL(name, uri)                                                                                             \
	"{\"ChannelName\":\"" name "\",\"DataSource\":{\"S3DataSource\":{\"S3DataType\":\"S3Prefix\",\"S3Uri\":\"" uri \
	"\"}}}"

#define TYPED(name, mode, type, uri)                          \
	"{\"ChannelName\":\"" name "\",\"InputMode\":\"" mode \
	"\",\"DataSource\":{\"S3DataSource\":{\"S3DataType\":\"" type "\",\"S3Uri\":\"" uri "\"}}}"

/* A good request, with what `more` (JSON) sets instead; a member set to null is not there. */
static json_t *request(const char *name, const char *more)
{
	json_t *in = json_loads(
	        "{\"RoleArn\":\"arn:aws:iam::123456789012:role/sm\",\"AlgorithmSpecification\":{"
	        "\"TrainingImage\":\"img\",\"TrainingInputMode\":\"File\"},\"InputDataConfig\":[" CHANNEL(
	                "train", "s3://data/train") "],\"OutputDataConfig\":{\"S3OutputPath\":"
	                                            "\"s3://results/out/\"},\"ResourceConfig\":{"
	                                            "\"InstanceType\":\"ml.m5.large\","
	                                            "\"InstanceCount\":1,\"VolumeSizeInGB\":1},"
	                                            "\"StoppingCondition\":{}}",
	        0, NULL);
	json_t *extra = json_loads(more, 0, NULL);

	must(in && extra);
	json_object_set_new(in, "TrainingJobName", json_string(name));
	json_object_update(in, extra);
	json_decref(extra);
	return in;
}

static const char *create(const char *name, const char *more)
{
	return call_json("sagemaker", "CreateTrainingJob", request(name, more));
}

#define ARN "arn:aws:sagemaker:us-east-1:000000000000:training-job/"

static char *member(const char *reply, const char *name)
{
	json_t *j = json_loads(reply, 0, NULL), *v = json_object_get(j, name);
	char *text = v ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : xstrdup("absent");

	json_decref(j);
	return text;
}

#define CHECK_MEMBER(reply, name, want)                        \
	do {                                                   \
		_cleanup_free_ char *m_ = member(reply, name); \
		CHECK_STR(m_, want);                           \
	} while (0)

TEST(create_answers_with_the_arn_and_describe_with_everything)
{
	const char *d;

	up();
	CHECK_STR(create("Demo-1", "{\"HyperParameters\":{\"lr\":\"0.1\",\"q\":\"\\\"\\u00e9\\\\\"},\"Environment\":{"
	                           "\"A\":\"b\"}}"),
	          "{\"TrainingJobArn\":\"" ARN "demo-1\"}");
	d = call("DescribeTrainingJob", "{\"TrainingJobName\":\"demo-1\"}");
	CHECK_MEMBER(d, "TrainingJobName", "\"Demo-1\"");
	CHECK_MEMBER(d, "TrainingJobArn", "\"" ARN "demo-1\"");
	CHECK_MEMBER(d, "ModelArtifacts", "{\"S3ModelArtifacts\":\"s3://results/out/Demo-1/output/model.tar.gz\"}");
	CHECK_MEMBER(d, "TrainingJobStatus", "\"InProgress\"");
	CHECK_MEMBER(d, "SecondaryStatus", "\"Starting\"");
	CHECK_MEMBER(d, "HyperParameters", "{\"lr\":\"0.1\",\"q\":\"\\\"é\\\\\"}");
	CHECK_MEMBER(d, "AlgorithmSpecification",
	             "{\"TrainingImage\":\"img\",\"TrainingInputMode\":\"File\","
	             "\"EnableSageMakerMetricsTimeSeries\":false}");
	CHECK_MEMBER(
	        d, "InputDataConfig",
	        "[{\"ChannelName\":\"train\",\"DataSource\":{\"S3DataSource\":{\"S3DataType\":\"S3Prefix\",\"S3Uri\":"
	        "\"s3://data/train\",\"S3DataDistributionType\":\"FullyReplicated\"}},\"CompressionType\":\"None\","
	        "\"RecordWrapperType\":\"None\"}]");
	CHECK_MEMBER(d, "OutputDataConfig",
	             "{\"S3OutputPath\":\"s3://results/out/\",\"KmsKeyId\":\"\",\"CompressionType\":\"GZIP\"}");
	CHECK_MEMBER(d, "StoppingCondition", "{\"MaxRuntimeInSeconds\":86400}");
	CHECK_MEMBER(d, "EnableNetworkIsolation", "false");
	CHECK_MEMBER(d, "EnableInterContainerTrafficEncryption", "false");
	CHECK_MEMBER(d, "EnableManagedSpotTraining", "false");
	CHECK_MEMBER(d, "ProfilingStatus", "\"Disabled\"");
	CHECK_MEMBER(d, "Environment", "{\"A\":\"b\"}");
	CHECK_MEMBER(d, "VpcConfig", "absent");
	CHECK_MEMBER(d, "FailureReason", "absent");
	CHECK_MEMBER(d, "TrainingStartTime", "absent");
	CHECK_MEMBER(d, "TrainingTimeInSeconds", "absent");
	CHECK_MEMBER(d, "Tags", "absent");
	CHECK_STR(call("DescribeTrainingJob", "{\"TrainingJobName\":\"nobody\"}"),
	          "INVALID: Requested resource not found.");
	down();
}

/* Times are the test's own, so the whole reply can be compared. */
static void deliver(const char *id, uint64_t n, enum fact_kind kind, json_t *args, int64_t at)
{
	struct fact f = { .n = n, .at.ms = at, .kind = kind, .args = args ? args : json_object() };

	events->on_fact(events_arg, str_of(id), &f);
	fact_fini(&f);
}

static void stop_when_launched(void *arg)
{
	const struct job *j = api.jobs->running.first;

	(void)arg;
	if (j && j->placed && !j->freezing)
		loop_stop(loop);
}

static char *launched(void)
{
	struct loop_source *t = loop_timer(loop, 1, 1, stop_when_launched, NULL);

	CHECK_OK(loop_run(loop, e));
	loop_source_free(t);
	return xstrdup(api.jobs->running.first->id);
}

TEST(describe_of_an_ended_job_is_the_golden_one)
{
	_cleanup_free_ char *id = NULL;
	_cleanup_buf_ struct buf b = { 0 };
	const char *d;
	int64_t t = 4102444800000; /* 2100: later than anything that really happens in this test */

	up();
	jobs_start(api.jobs, NULL);
	create("gold", "{}");
	id = launched();
	deliver(id, 1, FACT_DOWNLOADING, NULL, t);
	deliver(id, 2, FACT_TRAINING, NULL, t + 1500);
	deliver(id, 3, FACT_SALVAGING, NULL, t + 3000);
	deliver(id, 4, FACT_ENDED,
	        json_pack("{s:s, s:s}", "result", "failed", "reason", "AlgorithmError: \"bad\"\nlabel, exit code: 1"),
	        t + 3999);
	d = call("DescribeTrainingJob", "{\"TrainingJobName\":\"gold\"}");
	/* The creation, and the start that lasted until then, are of this day. */
	{
		json_t *j = json_loads(d, 0, NULL);
		char *text;

		json_object_set_new(j, "CreationTime", json_integer(0));
		json_object_set_new(json_array_get(json_object_get(j, "SecondaryStatusTransitions"), 0), "StartTime",
		                    json_integer(0));
		text = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(13));
		buf_z(&b, text);
		buf_c(&b, '\n');
		free(text);
		json_decref(j);
	}
	CHECK_GOLDEN("describe_failed.json", buf_view(&b));
	down();
}

TEST(bad_requests_are_refused_by_name_and_leave_nothing)
{
	static const struct {
		const char *more, *want;
	} cases[] = {
		{ "{\"AlgorithmSpecification\":null,\"ResourceConfig\":null,\"StoppingCondition\":null}",
		  "INVALID: 3 validation errors detected: Value null at 'algorithmSpecification' failed to satisfy "
		  "constraint: "
		  "Member must not be null; Value null at 'resourceConfig' failed to satisfy constraint: Member must "
		  "not be "
		  "null; Value null at 'stoppingCondition' failed to satisfy constraint: Member must not be null" },
		{ "{\"StoppingCondition\":null}",
		  "INVALID: 1 validation error detected: Value null at 'stoppingCondition' failed "
		  "to satisfy constraint: Member must not be null" },
		{ "{\"AlgorithmSpecification\":{\"TrainingInputMode\":\"File\"}}",
		  "INVALID: AlgorithmSpecification: neither TrainingImage nor AlgorithmName is given; give one of "
		  "them" },
		{ "{\"ResourceConfig\":{\"InstanceCount\":1,\"VolumeSizeInGB\":1}}",
		  "INVALID: ResourceConfig: InstanceType is missing; name an instance type, or `local` for the whole "
		  "machine" },
		{ "{\"ResourceConfig\":{\"InstanceType\":\"local\",\"InstanceCount\":0}}",
		  "INVALID: ResourceConfig: InstanceCount must be at least 1" },
		{ "{\"ResourceConfig\":{\"InstanceType\":\"local\",\"InstanceCount\":1,\"VolumeSizeInGB\":0}}",
		  "INVALID: ResourceConfig: VolumeSizeInGB must be at least 1" },
		{ "{\"StoppingCondition\":{\"MaxWaitTimeInSeconds\":900}}",
		  "INVALID: Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set "
		  "to true" },
		{ "{\"StoppingCondition\":{\"MaxRuntimeInSeconds\":2419201}}",
		  "INVALID: Invalid MaxRuntimeInSeconds. It must be at most 2419200 (28 days)" },
		{ "{\"InputDataConfig\":[" CHANNEL("..", "s3://data/train") "]}",
		  "INVALID: InputDataConfig: a channel cannot be called '..'; its name becomes a directory below "
		  "/opt/ml/input/data" },
		{ "{\"InputDataConfig\":[" CHANNEL("a", "s3://data/train") "," CHANNEL("a", "s3://data/train") "]}",
		  "INVALID: InputDataConfig: duplicate channel name 'a'; names must be unique within a job" },
		{ "{\"InputDataConfig\":[" CHANNEL("a", "https://data.s3.amazonaws.com/x") "]}",
		  "INVALID: InputDataConfig: S3Uri of channel a is to have the form s3://bucket/prefix" },
		{ "{\"InputDataConfig\":[" CHANNEL("a", "s3://data/nothing") "]}",
		  "INVALID: No S3 objects found under S3 URL \"s3://data/nothing\" given in input data source. Please "
		  "ensure that "
		  "the bucket exists in the selected region (us-east-1), that objects exist under that S3 prefix, and "
		  "that the "
		  "role \"arn:aws:iam::123456789012:role/sm\" has \"s3:ListBucket\" permissions on bucket \"data\"." },
		{ "{\"InputDataConfig\":[" CHANNEL("a", "s3://no-bucket/x") "]}",
		  "INVALID: No S3 objects found under S3 URL \"s3://no-bucket/x\" given in input data source. Please "
		  "ensure that "
		  "the bucket exists in the selected region (us-east-1), that objects exist under that S3 prefix, and "
		  "that the "
		  "role \"arn:aws:iam::123456789012:role/sm\" has \"s3:ListBucket\" permissions on bucket "
		  "\"no-bucket\"." },
		{ "{\"InputDataConfig\":[{\"ChannelName\":\"a\",\"CompressionType\":\"Gzip\",\"DataSource\":{"
		  "\"S3DataSource\":{"
		  "\"S3DataType\":\"S3Prefix\",\"S3Uri\":\"s3://data/train\"}}}]}",
		  "INVALID: Invalid compression type for channel a: File mode only supports NONE, got Gzip instead" },
		{ "{\"InputDataConfig\":[{\"ChannelName\":\"a\",\"DataSource\":{}}]}",
		  "INVALID: InputDataConfig: channel a has no data source; give S3DataSource or FileSystemDataSource" },
		{ "{\"InputDataConfig\":[" TYPED("a", "File", "ManifestFile", "s3://data/train/none") "]}",
		  "INVALID: No S3 objects found under S3 URL \"s3://data/train/none\" given in input data source. "
		  "Please "
		  "ensure that the bucket exists in the selected region (us-east-1), that objects exist under that S3 "
		  "prefix, and that the role \"arn:aws:iam::123456789012:role/sm\" has \"s3:ListBucket\" permissions "
		  "on "
		  "bucket \"data\"." },
		{ "{\"InputDataConfig\":[" TYPED("a", "FastFile", "S3Prefix", "s3://data/tra") "]}",
		  "INVALID: Invalid S3Uri for channel a: \"s3://data/tra\" ends within a name, and FastFile mode only "
		  "supports a whole object or a folder. End the name of a folder with '/'" },
		{ "{\"InputDataConfig\":[" TYPED("a", "FastFile", "S3Prefix", "s3://data/train/x") "]}",
		  "INVALID: Invalid S3Uri for channel a: \"s3://data/train/x\" ends within a name, and FastFile mode "
		  "only "
		  "supports a whole object or a folder. End the name of a folder with '/'" },
		{ "{\"InputDataConfig\":[{\"ChannelName\":\"a\",\"DataSource\":{\"FileSystemDataSource\":{"
		  "\"FileSystemId\":"
		  "\"fs-0123456789abcdef0\",\"FileSystemAccessMode\":\"ro\",\"FileSystemType\":\"EFS\","
		  "\"DirectoryPath\":"
		  "\"/\"}}}]}",
		  "INVALID: The file system 'fs-0123456789abcdef0' of channel a does not exist. Say in bloomery.conf "
		  "what it "
		  "is here, for example `file_system.fs-0123456789abcdef0 = /some/directory`, and start the server "
		  "again" },
		{ "{\"OutputDataConfig\":{\"S3OutputPath\":\"s3://no-bucket/x\"}}",
		  "INVALID: The bucket \"no-bucket\" of OutputDataConfig.S3OutputPath \"s3://no-bucket/x\" does not "
		  "exist. Create "
		  "it first, for example with `aws s3 mb s3://no-bucket`." },
		{ "{\"OutputDataConfig\":{\"S3OutputPath\":\"https://results/x\"}}",
		  "INVALID: OutputDataConfig: S3OutputPath is to have the form s3://bucket/prefix" },
		{ "{\"Tags\":[{\"Key\":\"aws:mine\",\"Value\":\"x\"}]}",
		  "INVALID: The tag key 'aws:mine' begins with 'aws:', which is reserved" },
		{ "{\"Tags\":[{\"Key\":\"k\",\"Value\":\"1\"},{\"Key\":\"k\",\"Value\":\"2\"}]}",
		  "INVALID: The tag key 'k' is given twice" },
	};

	up();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CHECK_STR(create("bad", cases[i].more), cases[i].want);
		CHECK_STR(call("DescribeTrainingJob", "{\"TrainingJobName\":\"bad\"}"),
		          "INVALID: Requested resource not found.");
	}
	CHECK_STR(call("ListTrainingJobs", "{}"), "{\"TrainingJobSummaries\":[]}");
	down();
}

TEST(a_metric_that_does_not_compile_is_refused_by_name_and_place)
{
	up();
	CHECK_STR(create("bad", "{\"AlgorithmSpecification\":{\"TrainingImage\":\"t\",\"TrainingInputMode\":\"File\","
	                        "\"MetricDefinitions\":[{\"Name\":\"a\",\"Regex\":\"a=(.)\"},"
	                        "{\"Name\":\"train:loss\",\"Regex\":\"loss=(\\\\S+\"}]}}"),
	          "INVALID: AlgorithmSpecification: MetricDefinitions: 'train:loss': the regular expression "
	          "'loss=(\\S+' is wrong at character 9: missing closing parenthesis");
	down();
}

TEST(every_kind_of_channel_that_the_service_takes_is_taken)
{
	static const char *const good[] = {
		TYPED("a", "FastFile", "S3Prefix", "s3://data/train"),
		TYPED("a", "FastFile", "S3Prefix", "s3://data/train/"),
		TYPED("a", "FastFile", "S3Prefix", "s3://data"),
		TYPED("a", "FastFile", "S3Prefix", "s3://data/train/x.csv"),
		TYPED("a", "File", "S3Prefix", "s3://data/tra"),
		TYPED("a", "File", "ManifestFile", "s3://data/train/x.csv"),
		TYPED("a", "Pipe", "ManifestFile", "s3://data/train/x.csv"),
		"{\"ChannelName\":\"a\",\"InputMode\":\"Pipe\",\"CompressionType\":\"Gzip\",\"RecordWrapperType\":"
		"\"RecordIO\","
		"\"ShuffleConfig\":{\"Seed\":7},\"DataSource\":{\"S3DataSource\":{\"S3DataType\":"
		"\"AugmentedManifestFile\","
		"\"S3Uri\":\"s3://data/train/"
		"x.csv\",\"S3DataDistributionType\":\"ShardedByS3Key\",\"AttributeNames\":[\"a\"]}}}",
		"{\"ChannelName\":\"a\",\"DataSource\":{\"FileSystemDataSource\":{\"FileSystemId\":\"fs-"
		"0123456789abcdef1\","
		"\"FileSystemAccessMode\":\"ro\",\"FileSystemType\":\"EFS\",\"DirectoryPath\":\"/\"}}}",
	};
	static const char arn[] = "{\"TrainingJobArn\":\"";

	up();
	conf.file_systems = xcalloc(1, sizeof(*conf.file_systems));
	conf.file_systems[conf.file_system_count++] = (struct conf_file_system){ .id = xstrdup("fs-0123456789abcdef1"),
		                                                                 .directory = xstrdup("/srv") };
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		_cleanup_free_ char *name = strf("good-%zu", i), *more = strf("{\"InputDataConfig\":[%s]}", good[i]);
		const char *reply = create(name, more);

		if (!str_starts(str_of(reply), str_of(arn)))
			CHECK_STR(reply, good[i]);
	}
	CHECK(str_starts(
	        str_of(create("groups", "{\"ResourceConfig\":{\"InstanceGroups\":[{\"InstanceGroupName\":\"g\","
	                                "\"InstanceType\":\"local\",\"InstanceCount\":1}]}}")),
	        str_of(arn)));
	CHECK(str_starts(
	        str_of(create("vpc", "{\"VpcConfig\":{\"SecurityGroupIds\":[\"sg-1\"],\"Subnets\":[\"subnet-1\"]}}")),
	        STR("INVALID: VpcConfig: the subnet ID 'subnet-1', the security group 'sg-1' do not exist")));
	down();
}

TEST(a_taken_name_is_in_use_without_case)
{
	up();
	create("Demo", "{}");
	CHECK_STR(create("dEMO", "{}"),
	          "IN_USE: Job name must be unique within an AWS account and region, and a training job "
	          "with this name already exists (" ARN "demo)");
	down();
}

TEST(lists_are_paged_sorted_and_filtered)
{
	_cleanup_free_ char *token = NULL, *all = NULL;
	const char *r;

	up();
	for (int i = 0; i < 5; i++) {
		_cleanup_free_ char *name = strf("%c-%d", "ebdac"[i], i);

		create(name, "{}");
	}
	r = call("ListTrainingJobs", "{\"MaxResults\":2,\"SortBy\":\"Name\"}");
	CHECK(strstr(r, "\"a-3\"") && strstr(r, "\"b-1\"") && !strstr(r, "\"c-4\""));
	token = member(r, "NextToken");
	r = call("ListTrainingJobs", "{\"MaxResults\":2,\"SortBy\":\"Name\",\"NextToken\":%s}", token);
	CHECK(strstr(r, "\"c-4\"") && strstr(r, "\"d-2\"") && !strstr(r, "\"b-1\""));
	CHECK_STR(call("ListTrainingJobs", "{\"MaxResults\":2,\"SortBy\":\"Status\",\"NextToken\":%s}", token),
	          "INVALID: The NextToken is not valid for this request: use it with the filters and the order of the "
	          "request "
	          "that returned it.");
	CHECK_STR(call("ListTrainingJobs", "{\"NextToken\":\"bm90IGEgdG9rZW4\"}"),
	          "INVALID: The NextToken is not valid.");
	r = call("ListTrainingJobs", "{}"); /* by creation, ascending */
	CHECK(strstr(r, "\"e-0\"") < strstr(r, "\"b-1\"") && strstr(r, "\"a-3\"") < strstr(r, "\"c-4\""));
	CHECK_MEMBER(r, "NextToken", "absent");
	CHECK_STR(call("ListTrainingJobs", "{\"StatusEquals\":\"Failed\"}"), "{\"TrainingJobSummaries\":[]}");
	CHECK_STR(call("ListTrainingJobs", "{\"WarmPoolStatusEquals\":\"Available\"}"),
	          "{\"TrainingJobSummaries\":[]}");
	CHECK_STR(call("ListTrainingJobs", "{\"CreationTimeBefore\":0}"), "{\"TrainingJobSummaries\":[]}");
	CHECK_STR(call("ListTrainingJobs", "{\"CreationTimeAfter\":9e9}"), "{\"TrainingJobSummaries\":[]}");
	r = call("ListTrainingJobs", "{\"NameContains\":\"d-\",\"CreationTimeAfter\":1.5}");
	all = member(r, "TrainingJobSummaries");
	CHECK(strstr(all, "\"TrainingJobArn\":\"" ARN "d-2\"") && !strstr(all, "b-1"));
	down();
}

TEST(stop_update_and_delete)
{
	const char *d;

	up();
	create("j", "{}");
	CHECK_STR(call("UpdateTrainingJob", "{\"TrainingJobName\":\"j\"}"),
	          "INVALID: Invalid UpdateTrainingJobRequest, the request cannot be empty");
	CHECK_STR(call("UpdateTrainingJob", "{\"TrainingJobName\":\"x\",\"ProfilerConfig\":{}}"),
	          "INVALID: Requested resource not found.");
	CHECK_STR(call("UpdateTrainingJob",
	               "{\"TrainingJobName\":\"j\",\"ResourceConfig\":{\"KeepAlivePeriodInSeconds\":0}}"),
	          "INVALID: The request was rejected because the training job j has no warm pool in status Available; "
	          "this "
	          "server keeps none");
	CHECK_STR(call("UpdateTrainingJob",
	               "{\"TrainingJobName\":\"j\",\"ProfilerConfig\":{\"S3OutputPath\":\"s3://p/q\"}}"),
	          "{\"TrainingJobArn\":\"" ARN "j\"}");
	CHECK_STR(call("UpdateTrainingJob",
	               "{\"TrainingJobName\":\"j\",\"ProfilerConfig\":{\"ProfilingIntervalInMilliseconds\":500}}"),
	          "{\"TrainingJobArn\":\"" ARN "j\"}");
	d = call("DescribeTrainingJob", "{\"TrainingJobName\":\"j\"}");
	CHECK_MEMBER(d, "ProfilerConfig", "{\"S3OutputPath\":\"s3://p/q\",\"ProfilingIntervalInMilliseconds\":500}");
	CHECK_MEMBER(d, "ProfilingStatus", "\"Enabled\"");
	call("UpdateTrainingJob", "{\"TrainingJobName\":\"j\",\"ProfilerConfig\":{\"DisableProfiler\":true}}");
	CHECK_MEMBER(call("DescribeTrainingJob", "{\"TrainingJobName\":\"j\"}"), "ProfilingStatus", "\"Disabled\"");
	CHECK_STR(call("DeleteTrainingJob", "{\"TrainingJobName\":\"j\"}"),
	          "IN_USE: The training job j is in status InProgress. Only a job that is Completed, Failed or Stopped "
	          "can be "
	          "deleted; stop it first");
	CHECK_STR(call("StopTrainingJob", "{\"TrainingJobName\":\"j\"}"), "");
	CHECK_STR(call("StopTrainingJob", "{\"TrainingJobName\":\"j\"}"),
	          "INVALID: The request was rejected because the training job is in status Stopped.");
	CHECK_STR(
	        call("UpdateTrainingJob", "{\"TrainingJobName\":\"j\",\"ProfilerConfig\":{\"DisableProfiler\":false}}"),
	        "INVALID: The request was rejected because the training job is in status Stopped.");
	CHECK_STR(call("StopTrainingJob", "{\"TrainingJobName\":\"x\"}"), "INVALID: Requested resource not found.");
	CHECK_STR(call("DeleteTrainingJob", "{\"TrainingJobName\":\"j\"}"), "");
	CHECK_STR(call("DeleteTrainingJob", "{\"TrainingJobName\":\"j\"}"), "INVALID: Requested resource not found.");
	down();
}

TEST(tags_through_the_api)
{
	up();
	create("T", "{\"Tags\":[{\"Key\":\"a\",\"Value\":\"1\"},{\"Key\":\"b\",\"Value\":\"\"}]}");
	CHECK_STR(call("AddTags", "{\"ResourceArn\":\"" ARN "t\",\"Tags\":[{\"Key\":\"a\",\"Value\":\"2\"}]}"),
	          "{\"Tags\":[{\"Key\":\"a\",\"Value\":\"2\"},{\"Key\":\"b\",\"Value\":\"\"}]}");
	CHECK_STR(call("DeleteTags", "{\"ResourceArn\":\"" ARN "t\",\"TagKeys\":[\"b\",\"never\"]}"), "{}");
	CHECK_STR(call("ListTags", "{\"ResourceArn\":\"" ARN "t\"}"), "{\"Tags\":[{\"Key\":\"a\",\"Value\":\"2\"}]}");
	CHECK_STR(call("ListTags", "{\"ResourceArn\":\"" ARN "t\",\"NextToken\":\"x\"}"),
	          "INVALID: The NextToken is not valid.");
	CHECK_STR(call("ListTags", "{\"ResourceArn\":\"" ARN "u\"}"), "INVALID: Requested resource not found.");
	CHECK_STR(call("AddTags", "{\"ResourceArn\":\"" ARN "t\",\"Tags\":[{\"Key\":\"AWS:x\",\"Value\":\"2\"}]}"),
	          "INVALID: The tag key 'AWS:x' begins with 'aws:', which is reserved");
	down();
}

/* ---- logs ---- */

#define GROUP "\"logGroupName\":\"/aws/sagemaker/TrainingJobs\""

static char *stream_of(const char *name)
{
	struct stored_job row = { 0 };
	char *stream;

	CHECK_OK(store_job_find(api.store, KIND_TRAINING, str_of(name), &row, e));
	stream = strf("%s/algo-1-%lld", row.name, (long long)(row.created.ms / 1000));
	stored_job_fini(&row);
	return stream;
}

static void print_lines(const char *name, int lines, int64_t from_ms)
{
	struct stored_job row = { 0 };
	struct joblog *l = NULL;
	char *dir, *path;

	CHECK_OK(store_job_find(api.store, KIND_TRAINING, str_of(name), &row, e));
	dir = strf("%s/jobs/%s/log", test_tmpdir(), row.id);
	path = strf("%s/algo-1", dir);
	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	CHECK_OK(joblog_open(path, &l, e));
	for (int i = 0; i < lines; i++) {
		_cleanup_free_ char *line = strf("%s line\t%d", name, i);

		CHECK_OK(joblog_add(l, (struct wall){ from_ms + i }, LOG_FROM_CONTAINER, true, str_of(line), e));
	}
	CHECK_OK(joblog_close(l, e));
	free(dir);
	free(path);
	stored_job_fini(&row);
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	for (const char *p = text; (p = strstr(p, what)); p++)
		n++;
	return n;
}

TEST(groups_and_streams_appear_with_the_first_output)
{
	_cleanup_free_ char *token = NULL, *a = NULL;
	const char *r;

	up();
	CHECK_STR(call_logs("DescribeLogGroups", "{}"), "{\"logGroups\":[]}");
	create("a", "{}");
	r = call_logs("DescribeLogGroups", "{\"logGroupNamePrefix\":\"/aws/sage\"}");
	CHECK_INT(count(r, "\"logGroupName\":\"/aws/sagemaker/TrainingJobs\""), 1);
	CHECK_STR(call_logs("DescribeLogGroups", "{\"logGroupNamePrefix\":\"/other\"}"), "{\"logGroups\":[]}");
	CHECK_STR(call_logs("DescribeLogStreams", "{" GROUP ",\"logStreamNamePrefix\":\"a/\"}"), "{\"logStreams\":[]}");
	CHECK_STR(call_logs("DescribeLogStreams", "{\"logGroupName\":\"/other\"}"),
	          "NOT_FOUND: The specified log group does not exist.");
	a = stream_of("a");
	CHECK_STR(call_logs("GetLogEvents", "{" GROUP ",\"logStreamName\":\"%s\"}", a),
	          "NOT_FOUND: The specified log stream does not exist.");
	create("a-b", "{}");
	create("a.c-not-a-name", "{}"); /* refused by the model */
	create("z", "{}");
	print_lines("a", 3, 5000);
	print_lines("a-b", 1, 6000);
	print_lines("z", 1, 7000);
	r = call_logs("DescribeLogStreams",
	              "{" GROUP ",\"logStreamNamePrefix\":\"a/\",\"orderBy\":\"LogStreamName\",\"limit\":1}");
	CHECK_INT(count(r, "\"logStreamName\""), 1);
	CHECK_INT(count(r, "nextToken"), 0); /* the page is complete: a token would send clients round for ever */
	CHECK(strstr(r, "\"firstEventTimestamp\":5000,\"lastEventTimestamp\":5002"));
	r = call_logs("DescribeLogStreams", "{" GROUP ",\"logStreamNamePrefix\":\"a\",\"limit\":1}");
	CHECK(strstr(r, "\"a-b/algo-1-")); /* '-' sorts before '/' */
	token = member(r, "nextToken");
	r = call_logs("DescribeLogStreams", "{" GROUP ",\"logStreamNamePrefix\":\"a\",\"limit\":1,\"nextToken\":%s}",
	              token);
	CHECK(strstr(r, "\"a/algo-1-") && !strstr(r, "nextToken"));
	r = call_logs("DescribeLogStreams", "{" GROUP ",\"descending\":true}");
	CHECK(strstr(r, "\"z/algo") < strstr(r, "\"a/algo") && strstr(r, "\"a/algo") < strstr(r, "\"a-b/algo"));
	CHECK_STR(call_logs("DescribeLogStreams", "{" GROUP ",\"nextToken\":\"s/nowhere\"}"),
	          "INVALID: The specified nextToken is invalid.");
	r = call_logs("DescribeLogStreams", "{" GROUP ",\"orderBy\":\"LastEventTime\",\"descending\":true}");
	CHECK_INT(count(r, "\"logStreamName\""), 3);
	r = call_logs("DescribeLogStreams", "{\"logGroupIdentifier\":\"arn:aws:logs:us-east-1:000000000000:log-group:"
	                                    "/aws/sagemaker/TrainingJobs\"}");
	CHECK_INT(count(r, "\"logStreamName\""), 3);
	down();
}

static void add_messages(const char *reply, struct buf *out)
{
	json_t *j = json_loads(reply, 0, NULL), *list = json_object_get(j, "events");

	for (size_t i = 0; i < json_array_size(list); i++)
		buf_f(out, "%s;", json_string_value(json_object_get(json_array_get(list, i), "message")));
	json_decref(j);
}

TEST(events_forwards_are_each_line_once)
{
	_cleanup_buf_ struct buf got = { 0 }, want = { 0 };
	_cleanup_free_ char *stream = NULL, *token = NULL;
	const char *r;

	up();
	create("j", "{}");
	print_lines("j", 25, 1000);
	stream = stream_of("j");
	for (int round = 0; round < 40; round++) {
		_cleanup_free_ char *again = NULL;

		r = call_logs("GetLogEvents",
		              "{" GROUP ",\"logStreamName\":\"%s\",\"startFromHead\":true,\"limit\":%d%s%s}", stream,
		              1 + round % 4, token ? ",\"nextToken\":" : "", token ? token : "");
		add_messages(r, &got);
		again = member(r, "nextForwardToken");
		if (!count(r, "\"message\"")) {
			CHECK_STR(again, token); /* at the end the same token comes back */
			break;
		}
		free(token);
		token = take_ptr(again);
		if (round == 5)
			print_lines("j", 3, 2000); /* it grows meanwhile */
	}
	for (int i = 0; i < 28; i++)
		buf_f(&want, "j line#011%d;", i < 25 ? i : i - 25);
	CHECK_STR(got.p, want.p);
	down();
}

TEST(events_backwards_and_by_time)
{
	_cleanup_buf_ struct buf got = { 0 };
	_cleanup_free_ char *stream = NULL, *token = NULL;
	const char *r;

	up();
	create("j", "{}");
	print_lines("j", 10, 1000);
	stream = stream_of("j");
	r = call_logs("GetLogEvents", "{" GROUP ",\"logStreamName\":\"%s\",\"limit\":3}", stream); /* the latest */
	add_messages(r, &got);
	CHECK_STR(got.p, "j line#0117;j line#0118;j line#0119;");
	token = member(r, "nextBackwardToken");
	r = call_logs("GetLogEvents", "{" GROUP ",\"logStreamName\":\"%s\",\"limit\":4,\"nextToken\":%s}", stream,
	              token);
	buf_reset(&got);
	add_messages(r, &got);
	CHECK_STR(got.p, "j line#0113;j line#0114;j line#0115;j line#0116;");
	r = call_logs("GetLogEvents",
	              "{" GROUP ",\"logStreamName\":\"%s\",\"startTime\":1004,\"endTime\":1006,\"startFromHead\":true}",
	              stream);
	buf_reset(&got);
	add_messages(r, &got);
	CHECK_STR(got.p, "j line#0114;j line#0115;");
	r = call_logs("GetLogEvents", "{" GROUP ",\"logStreamName\":\"%s\",\"startTime\":1004,\"endTime\":1006}",
	              stream);
	buf_reset(&got);
	add_messages(r, &got);
	CHECK_STR(got.p, "j line#0114;j line#0115;");
	/* The greatest number of a Long, which no double holds, is a time like others. */
	r = call_logs("GetLogEvents",
	              "{" GROUP ",\"logStreamName\":\"%s\",\"limit\":1,\"endTime\":9223372036854775807}", stream);
	buf_reset(&got);
	add_messages(r, &got);
	CHECK_STR(got.p, "j line#0119;");
	r = call_logs("GetLogEvents", "{" GROUP ",\"logStreamName\":\"%s\",\"startTime\":9223372036854775807}", stream);
	CHECK_INT(count(r, "\"message\""), 0);
	for (size_t i = 0; i < 8; i++) {
		static const char *const bad[] = { "f/x",
			                           "x",
			                           "f/99999999999",
			                           "b/-1",
			                           "f/3",
			                           "f/18446744073709551615",
			                           "b/9223372036854775808",
			                           "b/18446744073709551616" };

		CHECK_STR(call_logs("GetLogEvents", "{" GROUP ",\"logStreamName\":\"%s\",\"nextToken\":\"%s\"}", stream,
		                    bad[i]),
		          "INVALID: The specified nextToken is invalid.");
	}
	CHECK_STR(call_logs("GetLogEvents", "{" GROUP ",\"logStreamName\":\"j/algo-2-1\"}"),
	          "NOT_FOUND: The specified log stream does not exist.");
	CHECK_STR(call_logs("GetLogEvents", "{" GROUP ",\"logStreamName\":\"../../credentials\"}"),
	          "NOT_FOUND: The specified log stream does not exist.");
	down();
}

/* A token and a bound in time: the page begins at whichever is later, and ends at whichever is earlier. */
TEST(events_by_token_and_time)
{
	_cleanup_buf_ struct buf got = { 0 };
	_cleanup_free_ char *stream = NULL, *first = NULL, *end = NULL;
	const char *r;

	up();
	create("j", "{}");
	print_lines("j", 10, 1000);
	stream = stream_of("j");
	r = call_logs("GetLogEvents", "{" GROUP ",\"logStreamName\":\"%s\",\"limit\":2,\"startFromHead\":true}",
	              stream);
	first = member(r, "nextForwardToken");
	r = call_logs("GetLogEvents",
	              "{" GROUP ",\"logStreamName\":\"%s\",\"startTime\":1001,\"limit\":2,\"nextToken\":%s}", stream,
	              first);
	add_messages(r, &got);
	CHECK_STR(got.p, "j line#0112;j line#0113;");
	r = call_logs("GetLogEvents",
	              "{" GROUP ",\"logStreamName\":\"%s\",\"startTime\":1008,\"limit\":9,\"nextToken\":%s}", stream,
	              first);
	buf_reset(&got);
	add_messages(r, &got);
	CHECK_STR(got.p, "j line#0118;j line#0119;");
	r = call_logs("GetLogEvents", "{" GROUP ",\"logStreamName\":\"%s\",\"startTime\":5000,\"nextToken\":%s}",
	              stream, first);
	CHECK_INT(count(r, "\"message\""), 0);
	end = member(r, "nextBackwardToken");
	r = call_logs("GetLogEvents",
	              "{" GROUP ",\"logStreamName\":\"%s\",\"endTime\":1003,\"limit\":2,\"nextToken\":%s}", stream,
	              end);
	buf_reset(&got);
	add_messages(r, &got);
	CHECK_STR(got.p, "j line#0111;j line#0112;");
	down();
}

TEST(a_page_of_events_is_at_most_a_megabyte)
{
	_cleanup_free_ char *stream = NULL;
	const char *r;

	up();
	create("j", "{}");
	print_lines("j", 60000, 1000);
	stream = stream_of("j");
	r = call_logs("GetLogEvents", "{" GROUP ",\"logStreamName\":\"%s\",\"startFromHead\":true}", stream);
	CHECK_INT(count(r, "\"message\""), 10000);
	CHECK(strlen(r) < 4 << 20);
	down();
}
