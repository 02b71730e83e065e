/* What a ValidationSpecification becomes: names, requests and details. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "harness.h"
#include "op/validation.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define TRAINING                                                                                                       \
	"\"TrainingJobDefinition\":{\"TrainingInputMode\":\"Pipe\",\"HyperParameters\":{\"a\":\"1\"},"                 \
	"\"InputDataConfig\":[1],\"OutputDataConfig\":{\"S3OutputPath\":\"s3://b/o\"%s},\"ResourceConfig\":{\"x\":1}," \
	"\"StoppingCondition\":{}}"

/* One of an InferenceSpecification's containers, with more members of the profile and of the whole. */
static json_t *algorithm(const char *name, const char *profile, const char *output, const char *containers,
                         const char *more)
{
	_cleanup_free_ char *training = strf(TRAINING, output);
	_cleanup_free_ char *text = strf(
	        "{\"AlgorithmName\":\"%s\",\"InferenceSpecification\":{\"Containers\":%s},"
	        "\"ValidationSpecification\":{\"ValidationRole\":\"role\",\"ValidationProfiles\":[{\"ProfileName\":\"%"
	        "s\","
	        "%s,\"TransformJobDefinition\":{\"MaxPayloadInMB\":3,\"BatchStrategy\":\"MultiRecord\","
	        "\"Environment\":{\"E\":\"1\"},\"TransformInput\":{\"i\":1},\"TransformOutput\":{\"o\":1},"
	        "\"TransformResources\":{\"r\":1}}}]}%s}",
	        name, containers, profile, training, more);
	json_t *j = json_loads(text, 0, NULL);

	CHECK(j != NULL);
	return j;
}

static const char *dumped(json_t *j)
{
	static char *text;

	free(text);
	text = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(j);
	return text;
}

static const char *named(const char *name, const char *profile)
{
	static char *text;
	json_t *a = algorithm(name, profile, "", "[]", "");

	free(text);
	text = validation_name(a, 1700000000);
	json_decref(a);
	return text;
}

TEST(a_name_has_both_and_the_time)
{
	CHECK_STR(named("alg", "small"), "alg-small-1700000000");
}

TEST(a_long_name_is_cut_before_the_time)
{
	static const char ten[] = "abcdefghij";
	_cleanup_free_ char *n = strf("%s%s%s%s", ten, ten, ten, ten), *want = NULL;

	want = strf("%s-%s1-1700000000", n, ten);
	CHECK_STR(named(n, "abcdefghij1234567890"), want);
	CHECK_INT(strlen(want), 63);
}

TEST(a_cut_name_has_no_two_hyphens)
{
	_cleanup_free_ char *n = strf("%050d1-b", 0);

	CHECK_STR(named(n, "p"), "000000000000000000000000000000000000000000000000001-1700000000");
}

TEST(the_training_job)
{
	json_t *a = algorithm("alg", "p", "", "[]", "");

	CHECK_STR(dumped(validation_training_job(a, "arn", "name")),
	          "{\"AlgorithmSpecification\":{\"AlgorithmName\":\"arn\",\"TrainingInputMode\":\"Pipe\"},"
	          "\"HyperParameters\":{\"a\":\"1\"},\"InputDataConfig\":[1],\"OutputDataConfig\":{\"S3OutputPath\":"
	          "\"s3://b/o\"},\"ResourceConfig\":{\"x\":1},\"RoleArn\":\"role\",\"StoppingCondition\":{},"
	          "\"TrainingJobName\":\"name\"}");
	json_decref(a);
}

TEST(one_that_is_to_be_certified_is_isolated)
{
	json_t *a = algorithm("alg", "p", "", "[{\"Image\":\"i\"}]", ",\"CertifyForMarketplace\":true");
	json_t *job = validation_training_job(a, "arn", "name"), *model = validation_model(a, "name", STR("s3://b/m"));

	CHECK(json_is_true(json_object_get(job, "EnableNetworkIsolation")));
	CHECK(json_is_true(json_object_get(model, "EnableNetworkIsolation")));
	json_decref(a);
	json_decref(job);
	json_decref(model);
}

TEST(the_model_of_one_container)
{
	json_t *a = algorithm("alg", "p", "",
	                      "[{\"Image\":\"host/img:tag\",\"ImageDigest\":\"sha256:" HEX
	                      "\",\"ContainerHostname\":\"h\",\"Environment\":{\"E\":\"1\"},\"Framework\":\"X\"}]",
	                      "");

	CHECK_STR(dumped(validation_model(a, "name", STR("s3://b/o/name/output/model.tar.gz"))),
	          "{\"ExecutionRoleArn\":\"role\",\"ModelName\":\"name\",\"PrimaryContainer\":{\"ContainerHostname\":"
	          "\"h\","
	          "\"Environment\":{\"E\":\"1\"},\"Image\":\"host/img@sha256:" HEX
	          "\",\"ModelDataUrl\":\"s3://b/o/name/output/model.tar.gz\"}}");
	json_decref(a);
}

TEST(the_model_of_several_with_data_of_their_own)
{
	json_t *a = algorithm("alg", "p", "",
	                      "[{\"Image\":\"a\",\"ModelDataUrl\":\"s3://b/own.tar.gz\"},{\"Image\":\"b\"}]", "");

	CHECK_STR(dumped(validation_model(a, "name", STR("s3://b/m.tar.gz"))),
	          "{\"Containers\":[{\"Image\":\"a\",\"ModelDataUrl\":\"s3://b/own.tar.gz\"},{\"Image\":\"b\","
	          "\"ModelDataUrl\":\"s3://b/m.tar.gz\"}],\"ExecutionRoleArn\":\"role\",\"ModelName\":\"name\"}");
	json_decref(a);
}

TEST(artifacts_that_are_not_packed_are_a_prefix)
{
	json_t *a = algorithm("alg", "p", ",\"CompressionType\":\"NONE\"", "[{\"Image\":\"a\"}]", "");

	CHECK_STR(dumped(validation_model(a, "name", STR("s3://b/o/name/output/model"))),
	          "{\"ExecutionRoleArn\":\"role\",\"ModelName\":\"name\",\"PrimaryContainer\":{\"Image\":\"a\","
	          "\"ModelDataSource\":{\"S3DataSource\":{\"CompressionType\":\"None\",\"S3DataType\":\"S3Prefix\","
	          "\"S3Uri\":\"s3://b/o/name/output/model/\"}}}}");
	json_decref(a);
}

TEST(the_transform_job)
{
	json_t *a = algorithm("alg", "p", "", "[]", "");

	CHECK_STR(dumped(validation_transform_job(a, "name")),
	          "{\"BatchStrategy\":\"MultiRecord\",\"Environment\":{\"E\":\"1\"},\"MaxPayloadInMB\":3,\"ModelName\":"
	          "\"name\","
	          "\"TransformInput\":{\"i\":1},\"TransformJobName\":\"name\",\"TransformOutput\":{\"o\":1},"
	          "\"TransformResources\":{\"r\":1}}");
	json_decref(a);
}

TEST(details)
{
	json_t *a = algorithm("alg", "p", "", "[]", ""), *scans = json_loads("[{\"Name\":\"i\"}]", 0, NULL);
	_cleanup_free_ char *plain = validation_details(a, "InProgress", NULL, NULL),
	                    *failed = validation_details(a, "Failed", "why \"so\"", scans);

	CHECK_STR(plain,
	          "{\"ValidationStatuses\":[{\"Name\":\"p\",\"Status\":\"InProgress\"}],\"ImageScanStatuses\":[]}");
	CHECK_STR(failed, "{\"ValidationStatuses\":[{\"Name\":\"p\",\"Status\":\"Failed\",\"FailureReason\":\"why "
	                  "\\\"so\\\"\"}],\"ImageScanStatuses\":[{\"Name\":\"i\"}]}");
	json_decref(a);
	json_decref(scans);
}
