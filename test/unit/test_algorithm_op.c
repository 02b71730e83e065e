/* The handlers of algorithms, and of training jobs by AlgorithmName, over the real store, object store and job control,
 * without HTTP. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "harness.h"
#include "job/jobs.h"
#include "op/algorithm.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ARN "arn:aws:sagemaker:us-east-1:000000000000:algorithm/"

static struct loop *loop;
static struct api api = { .account = "000000000000", .region = "us-east-1" };
static struct conf conf;
static struct buf words; /* of the last refusal */
static const struct launcher_ops nothing = { .name = "nothing" };

/* As `bloomery image import img` would leave its names. */
static void make_image(void)
{
	_cleanup_close_ int dir = open(test_tmpdir(), O_PATH | O_DIRECTORY | O_CLOEXEC);

	CHECK_OK(mkdir_all(dir, "images/refs", 0755, e));
	CHECK_OK(mkdir_all(dir, "images/sha256-" HEX, 0755, e));
	CHECK_INT(symlinkat("../sha256-" HEX, dir, "images/refs/img%3Alatest"), 0);
}

static void up(void)
{
	_cleanup_free_ char *db = strf("%s/bloomery.db", test_tmpdir());
	struct jobs_options o = { .conf = &conf, .launcher = &nothing };

	log_init("test", LOG_ERROR + 1);
	conf_init(&conf);
	o.loop = loop = loop_new();
	CHECK_OK(store_open(db, &api.store, e));
	CHECK_OK(blob_open(test_tmpdir(), &api.blobs, e));
	CHECK_OK(blob_bucket_create(api.blobs, STR("results"), e));
	o.store = api.store;
	o.blobs = api.blobs;
	api.data_dir = o.data_dir = test_tmpdir();
	api.algorithms = algorithm_cache_new();
	CHECK_OK(jobs_new(&o, &api.jobs, e));
	make_image();
}

static void down(void)
{
	jobs_free(api.jobs);
	blob_close(api.blobs);
	store_close(api.store);
	loop_free(loop);
	conf_fini(&conf);
	algorithm_cache_free(api.algorithms);
	buf_fini(&words);
}

/* The reply's text, or "KIND: message"; good until the next but three. */
static const char *call(const char *name, json_t *in)
{
	static struct buf replies[4];
	static unsigned turn;
	struct buf *out = &replies[turn++ % ARRAY_LEN(replies)];
	const struct operation *op = model_operation(model_service("sagemaker"), str_of(name));
	struct api_call c = {
		.api = &api, .op = op, .now = wall_now(), .request_id = "r", .raw = out, .words = &words
	};
	api_fn *run = NULL;
	struct err why = { 0 };
	json_t *ret = NULL;

	buf_reset(out);
	buf_need(out, 1);
	buf_reset(&words);
	for (size_t i = 0; i < api_op_count; i++)
		if (!strcmp(api_ops[i].name, name))
			run = api_ops[i].run;
	must(run && op && in);
	if (model_check(op, in, &why) < 0 || model_refuse(op, in, &why) < 0 || run(&c, in, &ret, &why) < 0) {
		buf_reset(out);
		buf_f(out, "%s: %s", err_info[why.kind].name, why.frame[0]);
	} else if (ret) {
		_cleanup_free_ char *text = json_dumps(ret, JSON_COMPACT);

		buf_z(out, text);
	} else if (out->n) {
		json_t *valid = json_loadb(out->p, out->n, JSON_REJECT_DUPLICATES, NULL);

		CHECK(valid != NULL);
		json_decref(valid);
	}
	json_decref(ret);
	json_decref(in);
	return out->p;
}

static json_t *text(const char *json)
{
	json_t *j = json_loads(json, 0, NULL);

	must(j);
	return j;
}

static const char *make(const char *name, const char *image, const char *digest)
{
	json_t *in = text(
	        "{\"TrainingSpecification\":{\"SupportedHyperParameters\":[{\"Name\":\"n\",\"Type\":\"Integer\","
	        "\"DefaultValue\":\"5\"},{\"Name\":\"s\",\"Type\":\"FreeText\",\"IsRequired\":true}],"
	        "\"SupportedTrainingInstanceTypes\":[\"ml.m5.large\"],\"MetricDefinitions\":[{\"Name\":\"m\","
	        "\"Regex\":\"m=(.*)\"}],\"TrainingChannels\":[{\"Name\":\"train\",\"SupportedContentTypes\":[],"
	        "\"SupportedInputModes\":[\"File\"]}]}}");
	json_t *t = json_object_get(in, "TrainingSpecification");

	json_object_set_new(in, "AlgorithmName", json_string(name));
	json_object_set_new(t, "TrainingImage", json_string(image));
	if (digest)
		json_object_set_new(t, "TrainingImageDigest", json_string(digest));
	return call("CreateAlgorithm", in);
}

static const char *train(const char *name, const char *algorithm, const char *hyperparameters)
{
	json_t *in = text(
	        "{\"RoleArn\":\"arn:aws:iam::123456789012:role/sm\",\"OutputDataConfig\":{\"S3OutputPath\":"
	        "\"s3://results/out\"},\"ResourceConfig\":{\"InstanceType\":\"ml.m5.large\",\"InstanceCount\":1},"
	        "\"StoppingCondition\":{}}");

	json_object_set_new(in, "TrainingJobName", json_string(name));
	json_object_set_new(in, "AlgorithmSpecification",
	                    json_pack("{s:s, s:s}", "AlgorithmName", algorithm, "TrainingInputMode", "File"));
	if (hyperparameters)
		json_object_set_new(in, "HyperParameters", text(hyperparameters));
	return call("CreateTrainingJob", in);
}

static const char *describe(const char *name)
{
	return call("DescribeAlgorithm", json_pack("{s:s}", "AlgorithmName", name));
}

TEST(the_digest_is_found_and_pinned)
{
	up();
	CHECK_STR(make("Alg", "img", NULL), "{\"AlgorithmArn\":\"" ARN "alg\"}");
	CHECK(strstr(describe("alg"), "\"TrainingImageDigest\":\"sha256:" HEX "\""));
	CHECK(strstr(describe(ARN "alg"), "\"AlgorithmStatus\":\"Completed\""));
	CHECK_STR(make("given", "img", "SHA256:" HEX), "{\"AlgorithmArn\":\"" ARN "given\"}");
	CHECK(strstr(describe("given"), "\"AlgorithmStatus\":\"Completed\""));
	make("other", "img", "sha256:ffff456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
	CHECK(strstr(describe("other"), "\"AlgorithmStatus\":\"Failed\""));
	CHECK_STR(make("two", "img@sha256:" HEX,
	               "sha256:ffff456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
	          "INVALID: 1 validation error detected: TrainingSpecification.TrainingImageDigest: "
	          "'sha256:ffff456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef' is not the digest in "
	          "TrainingImage "
	          "'img@sha256:" HEX "'");
	CHECK_STR(describe("two"), "INVALID: Algorithm " ARN "two does not exist.");
	down();
}

static const char by_alg[] = "{\"AlgorithmName\":\"" ARN "alg\",\"TrainingInputMode\":\"File\",\"MetricDefinitions\":[{"
                             "\"Name\":\"m\",\"Regex\":\"m=(.*)\"}],\"EnableSageMakerMetricsTimeSeries\":true}";

TEST(a_job_is_what_its_algorithm_says)
{
	struct store_description d;
	_cleanup_free_ char *request = NULL;
	const char *shown;

	up();
	make("alg", "img", NULL);
	for (int i = 0; i < 2; i++) { /* parsed, and then kept */
		const char *name = i ? "j-1" : "j-0";

		CHECK(strstr(train(name, i ? ARN "alg" : "ALG", "{\"s\":\"x\"}"), "TrainingJobArn"));
		shown = call("DescribeTrainingJob", json_pack("{s:s}", "TrainingJobName", name));
		CHECK(strstr(shown, "\"HyperParameters\":{\"s\":\"x\",\"n\":\"5\"}"));
		CHECK(strstr(shown, by_alg));
		CHECK(!strstr(shown, "bloomery:"));
	}
	CHECK_OK(store_describe(api.store, KIND_TRAINING, STR("j-0"), &d, e));
	CHECK_OK(store_job_request(api.store, d.job.n, &request, e));
	CHECK(strstr(request, "\"" JOBS_IMAGE "\":\"img@sha256:" HEX "\""));
	store_description_fini(&d);
	down();
}

TEST(a_job_is_refused_by_its_algorithm_in_many_words)
{
	json_t *many = json_object();
	_cleanup_free_ char *all = NULL;

	up();
	make("alg", "img", NULL);
	CHECK_STR(train("j", "alg", NULL),
	          "INVALID: 1 validation error detected: HyperParameters.s: Required hyperparameter: s is not set");
	CHECK_STR(train("j", "alg", "{\"s\":\"\",\"n\":\"five\"}"),
	          "INVALID: 1 validation error detected: HyperParameters.n: Invalid value: 'five' Supported range: any "
	          "of the "
	          "integers");
	for (int i = 0; i < 99; i++) {
		_cleanup_free_ char *key = strf("unknown-%02d", i);

		json_object_set_new(many, key, json_string("value"));
	}
	all = json_dumps(many, 0);
	train("j", "alg", all);
	CHECK(str_starts(buf_view(&words), STR("100 validation errors detected: ")));
	CHECK(strstr(words.p, "HyperParameters.unknown-98: ") && strstr(words.p, "HyperParameters.s: Required"));
	json_decref(many);
	CHECK_STR(train("j", "none", "{}"), "INVALID: Algorithm " ARN "none does not exist.");
	CHECK_STR(train("j", "arn:aws:sagemaker:us-east-1:999999999999:algorithm/alg", "{}"),
	          "INVALID: Caller is not subscribed to the marketplace offering.");
	make("failed", "nowhere", NULL);
	CHECK(strstr(train("j", "failed", "{\"s\":\"x\"}"),
	             "'failed' is in status Failed; only a Completed algorithm can be used: "
	             "there is no local image 'nowhere'"));
	CHECK_STR(call("ListTrainingJobs", json_object()), "{\"TrainingJobSummaries\":[]}");
	/* made anew under the same name: what was parsed is another's */
	CHECK_STR(call("DeleteAlgorithm", text("{\"AlgorithmName\":\"alg\"}")), "");
	CHECK_STR(train("j", "alg", "{\"s\":\"x\"}"), "INVALID: Algorithm " ARN "alg does not exist.");
	down();
}
