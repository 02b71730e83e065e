/* The rules of algorithms: of what CreateAlgorithm says, and of the jobs that name one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "algorithm/algorithm.h"

#include <stdlib.h>

#include "algorithm/range.h"
#include "harness.h"

static json_t *parse(const char *text)
{
	json_error_t why;
	json_t *j = json_loads(text, 0, &why);

	if (!j)
		test_failed(__FILE__, __LINE__, "%s at %d of %s", why.text, why.position, text);
	must(j);
	return j;
}

/* What is said about a TrainingSpecification; freed at the test's end with the process. */
static const char *said_of_spec(const char *spec)
{
	static struct buf out;
	json_t *in = json_pack("{s:o}", "TrainingSpecification", parse(spec));
	struct faults f = { 0 };
	struct err why = { 0 };
	int rc;

	buf_reset(&out);
	buf_need(&out, 1);
	out.p[0] = 0;
	algorithm_check_spec(in, &f);
	rc = faults_end(&f, &out, &why);
	CHECK_INT(rc, f.count ? -1 : 0);
	CHECK(rc == 0 || why.kind == ERR_INVALID);
	faults_fini(&f);
	json_decref(in);
	return out.p;
}

#define CHANNELS \
	"\"TrainingChannels\":[{\"Name\":\"t\",\"SupportedContentTypes\":[],\"SupportedInputModes\":[\"File\"]}]"
#define TYPES "\"SupportedTrainingInstanceTypes\":[\"ml.m5.large\"]"
#define SPEC(members) "{" CHANNELS "," TYPES "," members "}"
#define HYPER(members) SPEC("\"SupportedHyperParameters\":[{\"Name\":\"h\"," members "}]")
#define BOUNDS(kind, min, max)                                                                          \
	"\"Type\":\"" kind "\",\"Range\":{\"" kind "ParameterRangeSpecification\":{\"MinValue\":\"" min \
	"\",\"MaxValue\":\"" max "\"}}"
#define VALUES(list) \
	"\"Type\":\"Categorical\",\"Range\":{\"CategoricalParameterRangeSpecification\":{\"Values\":" list "}}"
#define IS_H "TrainingSpecification.SupportedHyperParameters.h."
#define ONE "1 validation error detected: "

TEST(good_specifications_pass)
{
	CHECK_STR(said_of_spec(SPEC("\"SupportedHyperParameters\":[]")), "");
	CHECK_STR(said_of_spec(HYPER(BOUNDS("Integer", "-5", "99999999999999999999999") ",\"DefaultValue\":\"+07\"")),
	          "");
	CHECK_STR(said_of_spec(HYPER(BOUNDS("Integer", "1", "1") ",\"IsTunable\":true,\"IsRequired\":true")), "");
	CHECK_STR(
	        said_of_spec(HYPER(BOUNDS("Continuous", "-1.7976931348623157e+308",
	                                  "1.7976931348623157e+308") ",\"DefaultValue\":\".5\",\"IsRequired\":false")),
	        "");
	CHECK_STR(said_of_spec(HYPER(VALUES("[\"a\",\"\",\"b\"]") ",\"DefaultValue\":\"\"")), "");
	CHECK_STR(said_of_spec(HYPER("\"Type\":\"FreeText\",\"DefaultValue\":\"x\"")), "");
	CHECK_STR(said_of_spec(HYPER("\"Type\":\"Integer\",\"DefaultValue\":\"-3\"")), "");
	CHECK_STR(said_of_spec(HYPER("\"Type\":\"Continuous\"")), "");
}

TEST(type_and_range_go_together)
{
	CHECK_STR(said_of_spec(HYPER("\"Type\":\"FreeText\",\"Range\":{}")),
	          ONE IS_H "Range: a hyperparameter of Type FreeText has no Range");
	CHECK_STR(said_of_spec(HYPER("\"Type\":\"FreeText\",\"Range\":{\"IntegerParameterRangeSpecification\":"
	                             "{\"MinValue\":\"1\",\"MaxValue\":\"2\"}}")),
	          ONE IS_H "Range: a hyperparameter of Type FreeText has no Range, and this one has "
	                   "IntegerParameterRangeSpecification");
	CHECK_STR(said_of_spec(HYPER("\"Type\":\"Integer\",\"Range\":{\"ContinuousParameterRangeSpecification\":"
	                             "{\"MinValue\":\"1\",\"MaxValue\":\"2\"}}")),
	          ONE IS_H "Range: ContinuousParameterRangeSpecification does not belong to Type Integer, which takes "
	                   "IntegerParameterRangeSpecification");
	CHECK_STR(said_of_spec(HYPER("\"Type\":\"Continuous\",\"Range\":{}")),
	          ONE IS_H "Range: it is empty; Type Continuous takes ContinuousParameterRangeSpecification");
	CHECK_STR(said_of_spec(HYPER("\"Type\":\"Categorical\"")), ONE IS_H
	          "Range: Type Categorical needs CategoricalParameterRangeSpecification, with the values that it can "
	          "have");
	CHECK_STR(said_of_spec(HYPER("\"Type\":\"FreeText\",\"IsTunable\":true")),
	          ONE IS_H "IsTunable: true is not possible for Type FreeText, which has no range to search in");
}

TEST(bounds_are_of_the_type_and_in_order)
{
	CHECK_STR(said_of_spec(HYPER(BOUNDS("Integer", "1.0", "2"))),
	          ONE IS_H "IntegerParameterRangeSpecification.MinValue: Invalid value: '1.0' is not an integer");
	CHECK_STR(said_of_spec(HYPER(BOUNDS("Integer", "1", " 2"))),
	          ONE IS_H "IntegerParameterRangeSpecification.MaxValue: Invalid value: ' 2' is not an integer");
	CHECK_STR(said_of_spec(HYPER(BOUNDS("Integer", "10", "9"))),
	          ONE IS_H "IntegerParameterRangeSpecification: MinValue '10' is larger than MaxValue '9'");
	CHECK_STR(said_of_spec(HYPER(BOUNDS("Integer", "-9", "-10"))),
	          ONE IS_H "IntegerParameterRangeSpecification: MinValue '-9' is larger than MaxValue '-10'");
	CHECK_STR(said_of_spec(HYPER(BOUNDS("Continuous", "-Infinity", "1"))), ONE IS_H
	          "ContinuousParameterRangeSpecification.MinValue: Invalid value: '-Infinity' is not a finite decimal "
	          "number");
	CHECK_STR(said_of_spec(HYPER(BOUNDS("Continuous", "0.2", "1e-1"))),
	          ONE IS_H "ContinuousParameterRangeSpecification: MinValue '0.2' is larger than MaxValue '1e-1'");
	CHECK_STR(said_of_spec(HYPER(VALUES("[\"a\",\"b\",\"a\"]"))),
	          ONE IS_H "CategoricalParameterRangeSpecification.Values: 'a' is given twice");
}

TEST(defaults_are_in_range_and_may_be_required)
{
	CHECK_STR(said_of_spec(HYPER(BOUNDS("Integer", "1", "4") ",\"DefaultValue\":\"5\"")),
	          ONE IS_H "DefaultValue: Invalid value: '5' Supported range: integers from 1 to 4");
	CHECK_STR(said_of_spec(HYPER("\"Type\":\"Integer\",\"DefaultValue\":\"x\"")),
	          ONE IS_H "DefaultValue: Invalid value: 'x' Supported range: any of the integers");
	CHECK_STR(said_of_spec(HYPER(VALUES("[\"a\",\"b\"]") ",\"DefaultValue\":\"A\"")),
	          ONE IS_H "DefaultValue: Invalid value: 'A' Supported range: one of 'a', 'b'");
	/* as a sample of the console's guide; the default is what it is then */
	CHECK_STR(said_of_spec(HYPER("\"Type\":\"FreeText\",\"DefaultValue\":\"x\",\"IsRequired\":true")), "");
}

TEST(names_are_unique_and_objectives_known)
{
	CHECK_STR(said_of_spec(
	                  SPEC("\"SupportedHyperParameters\":[{\"Name\":\"a\",\"Type\":\"FreeText\"},{\"Name\":\"a\","
	                       "\"Type\":\"FreeText\"}]")),
	          ONE "TrainingSpecification.SupportedHyperParameters: duplicate Name 'a'; names must be unique");
	CHECK_STR(
	        said_of_spec("{" TYPES ",\"TrainingChannels\":[{\"Name\":\"t\"},{\"Name\":\"..\"},{\"Name\":\"t\"}]}"),
	        "2 validation errors detected: TrainingSpecification.TrainingChannels: Name '..' cannot be a "
	        "channel's; it "
	        "becomes a directory below /opt/ml/input/data; TrainingSpecification.TrainingChannels: duplicate Name "
	        "'t'; "
	        "names must be unique");
	CHECK_STR(said_of_spec("{" CHANNELS ",\"SupportedTrainingInstanceTypes\":[]}"),
	          ONE "TrainingSpecification.SupportedTrainingInstanceTypes: '[]' names no instance type; name those "
	              "that the "
	              "algorithm can be trained on");
	CHECK_STR(said_of_spec(
	                  SPEC("\"MetricDefinitions\":[{\"Name\":\"m\"},{\"Name\":\"m\"}],"
	                       "\"SupportedTuningJobObjectiveMetrics\":[{\"MetricName\":\"m\"},{\"MetricName\":\"n\"},"
	                       "{\"MetricName\":\"m\"}]")),
	          "3 validation errors detected: TrainingSpecification.MetricDefinitions: duplicate Name 'm'; names "
	          "must be "
	          "unique; TrainingSpecification.SupportedTuningJobObjectiveMetrics: MetricName 'n' is not among "
	          "MetricDefinitions; a tuning job could never see it; "
	          "TrainingSpecification.SupportedTuningJobObjectiveMetrics: MetricName 'm' is given twice");
}

TEST(inference_containers_and_certification)
{
	json_t *in = parse("{\"TrainingSpecification\":{" CHANNELS "," TYPES "},\"CertifyForMarketplace\":true,"
	                   "\"InferenceSpecification\":{\"Containers\":[{\"Image\":\"a\",\"ContainerHostname\":\"x\"},"
	                   "{\"ContainerHostname\":\"x\"}]}}");
	struct faults f = { 0 };

	algorithm_check_spec(in, &f);
	CHECK_STR(f.text.p,
	          "InferenceSpecification.Containers.2.Image: it is missing; name the image that serves; "
	          "InferenceSpecification.Containers.2.ContainerHostname: 'x' is given twice; names of hosts must be "
	          "unique; CertifyForMarketplace: true needs a ValidationSpecification to certify by");
	faults_fini(&f);
	json_decref(in);
}

TEST(what_it_brings_along)
{
#define BRINGS(kind, uri, more) \
	said_of_spec(SPEC("\"AdditionalS3DataSource\":{\"S3DataType\":\"" kind "\",\"S3Uri\":\"" uri "\"" more "}"))
#define IS_DATA "TrainingSpecification.AdditionalS3DataSource."
	CHECK_STR(BRINGS("S3Prefix", "s3://b", ""), "");
	CHECK_STR(BRINGS("S3Prefix", "s3://b/p", ",\"CompressionType\":\"None\""), "");
	CHECK_STR(BRINGS("S3Object", "s3://b/p.tar.gz", ",\"CompressionType\":\"Gzip\",\"ETag\":\"x\""), "");
	CHECK_STR(BRINGS("S3Prefix", "https://b/p", ""),
	          ONE IS_DATA "S3Uri: Invalid value: 'https://b/p' it is to have the form s3://bucket/prefix");
	CHECK_STR(BRINGS("S3Object", "s3://b", ""),
	          ONE IS_DATA "S3Uri: Invalid value: 's3://b' it is to have the form s3://bucket/key");
	CHECK_STR(
	        BRINGS("S3Object", "s3://b/p/", ",\"CompressionType\":\"Gzip\""),
	        "2 validation errors detected: " IS_DATA
	        "S3Uri: Invalid value: 's3://b/p/' it is to have the form s3://bucket/key; " IS_DATA
	        "CompressionType: 'Gzip' needs S3DataType S3Object and a key that ends in .tar.gz, and 's3://b/p/' is "
	        "given; use None, or name one archive");
	CHECK_STR(BRINGS("S3Prefix", "s3://b/p", ",\"ETag\":\"x\""),
	          ONE IS_DATA "ETag: it is given, and S3DataType is not S3Object; only one object has an ETag");
}

static const char *said_of_transform(const char *inference, const char *transform)
{
	static struct buf out;
	json_t *in = json_pack("{s:o, s:{s:[{s:o}]}}", "TrainingSpecification", parse("{" CHANNELS "," TYPES "}"),
	                       "ValidationSpecification", "ValidationProfiles", "TransformJobDefinition",
	                       parse(transform));
	struct faults f = { 0 };

	if (inference)
		json_object_set_new(in, "InferenceSpecification", parse(inference));
	algorithm_check_spec(in, &f);
	buf_reset(&out);
	buf_f(&out, "%s", f.count ? f.text.p : "");
	faults_fini(&f);
	json_decref(in);
	return out.p;
}

TEST(the_transform_of_a_validation_is_what_the_algorithm_serves)
{
#define TRANSFORM "ValidationSpecification.ValidationProfiles.1.TransformJobDefinition"
	static const char inference[] =
	        "{\"Containers\":[{\"Image\":\"a\"}],\"SupportedContentTypes\":[\"text/csv\"],"
	        "\"SupportedResponseMIMETypes\":[\"text/csv\"],\"SupportedTransformInstanceTypes\":[\"ml.m5.large\"]}";

	CHECK_STR(said_of_transform(
	                  inference,
	                  "{\"TransformInput\":{\"ContentType\":\"text/CSV; header=absent\"},\"TransformOutput\":"
	                  "{},\"TransformResources\":{\"InstanceType\":\"ml.m5.large\"}}"),
	          "");
	CHECK_STR(
	        said_of_transform(inference,
	                          "{\"TransformInput\":{\"ContentType\":\"image/png\"},\"TransformOutput\":{\"Accept\":"
	                          "\"text/plain\"},\"TransformResources\":{\"InstanceType\":\"ml.c5.large\"}}"),
	        TRANSFORM
	        ".TransformInput.ContentType: Invalid value: 'image/png' Supported content types: "
	        "'text/csv'; " TRANSFORM
	        ".TransformOutput.Accept: Invalid value: 'text/plain' Supported response types: 'text/csv'; " TRANSFORM
	        ".TransformResources.InstanceType: Invalid value: 'ml.c5.large' Supported instance types: "
	        "'ml.m5.large'");
	CHECK_STR(said_of_transform(NULL, "{}"), TRANSFORM
	          ": there is no InferenceSpecification, so there is nothing that could serve; leave one of them "
	          "out, or give both");
}

/* ---- jobs ---- */

static const char algorithm_text
        [] = "{\"SupportedHyperParameters\":[{\"Name\":\"epochs\",\"IsRequired\":true," BOUNDS("Integer", "1", "100") "},{\"Name\":\"rate\",\"DefaultValue\":\"0.1\"," BOUNDS(
                "Continuous", "0",
                "1") "},{\"Name\":\"kind\"," VALUES("[\"a\",\"b\"]") "},{\"Name\":\"note\",\"Type\":\"FreeText\","
                                                                     "\"DefaultValue\":\"\"}],"
                                                                     "\"SupportedTrainingInstanceTypes\":[\"ml.m5."
                                                                     "large\",\"ml.c5.large\"],"
                                                                     "\"MetricDefinitions\":[{\"Name\":\"loss\","
                                                                     "\"Regex\":\"loss=(.*)\"}],"
                                                                     "\"TrainingChannels\":[{\"Name\":\"train\","
                                                                     "\"IsRequired\":true,\"SupportedContentTypes\":["
                                                                     "\"text/csv\","
                                                                     "\"application/x-recordio; "
                                                                     "a=b\"],\"SupportedInputModes\":[\"File\"],"
                                                                     "\"SupportedCompressionTypes\":[\"None\"]},"
                                                                     "{\"Name\":\"test\",\"SupportedContentTypes\":[],"
                                                                     "\"SupportedInputModes\":[\"Pipe\",\"FastFile\"]}]"
                                                                     "}";

/* What is said about a job; members of `more` replace those of a good one, null removes. */
static const char *said_of_job(const char *spec, const char *more)
{
	static struct buf out;
	json_t *in = parse(
	        "{\"AlgorithmSpecification\":{\"TrainingInputMode\":\"File\"},\"HyperParameters\":{\"epochs\":\"3\"},"
	        "\"InputDataConfig\":[{\"ChannelName\":\"train\"}],"
	        "\"ResourceConfig\":{\"InstanceType\":\"ml.m5.large\",\"InstanceCount\":1}}");
	json_t *extra = parse(more), *spec_json = parse(spec), *before, *v;
	struct algorithm *a = algorithm_new(spec_json);
	struct faults f = { 0 };
	const char *key;

	json_decref(spec_json);
	json_object_foreach (extra, key, v)
		if (json_is_null(v))
			json_object_del(in, key);
		else
			json_object_set(in, key, v);
	json_decref(extra);
	before = json_deep_copy(in);
	algorithm_check_job(a, "alg", in, &f);
	CHECK(json_equal(in, before));
	buf_reset(&out);
	buf_need(&out, 1);
	out.p[0] = 0;
	buf_str(&out, buf_view(&f.text));
	faults_fini(&f);
	algorithm_unref(a);
	json_decref(in);
	json_decref(before);
	return out.p;
}

static const char *said(const char *more)
{
	return said_of_job(algorithm_text, more);
}

TEST(a_good_job_passes)
{
	CHECK_STR(said("{}"), "");
	CHECK_STR(
	        said("{\"HyperParameters\":{\"epochs\":\"100\",\"rate\":\"1\",\"kind\":\"b\",\"note\":\"anything\"}}"),
	        "");
	CHECK_STR(said("{\"InputDataConfig\":[{\"ChannelName\":\"test\",\"InputMode\":\"Pipe\",\"ContentType\":\"x/y\","
	               "\"CompressionType\":\"Gzip\"},{\"ChannelName\":\"train\",\"CompressionType\":\"None\"}]}"),
	          "");
	CHECK_STR(
	        said("{\"InputDataConfig\":[{\"ChannelName\":\"train\",\"ContentType\":\"Text/CSV; label_size=0\"}]}"),
	        "");
	CHECK_STR(said("{\"InputDataConfig\":[{\"ChannelName\":\"train\",\"ContentType\":\"application/x-recordio; "
	               "a=b\"}]}"),
	          "");
}

TEST(channels_are_known_there_and_as_declared)
{
	CHECK_STR(said("{\"InputDataConfig\":null}"),
	          "InputDataConfig: Required input channel: train Was not provided.");
	CHECK_STR(said("{\"InputDataConfig\":[{\"ChannelName\":\"train\"},{\"ChannelName\":\"Train\"}]}"),
	          "InputDataConfig.Train.ChannelName: Unknown input channel: Train is not supported by: alg, whose "
	          "channels are "
	          "'train', 'test'");
	CHECK_STR(
	        said("{\"InputDataConfig\":[{\"ChannelName\":\"train\",\"ContentType\":\"application/x-recordio\"}]}"),
	        "InputDataConfig.train.ContentType: Invalid value: 'application/x-recordio' Supported content types: "
	        "'text/csv', 'application/x-recordio; a=b'");
	CHECK_STR(said("{\"InputDataConfig\":[{\"ChannelName\":\"train\",\"CompressionType\":\"Gzip\"}]}"),
	          "InputDataConfig.train.CompressionType: Invalid value: 'Gzip' Supported compression types: 'None'");
	CHECK_STR(said("{\"InputDataConfig\":[{\"ChannelName\":\"train\"},{\"ChannelName\":\"test\"}]}"),
	          "InputDataConfig.test.InputMode: Invalid value: 'File' Supported input modes: 'Pipe', 'FastFile'");
	CHECK_STR(said("{\"InputDataConfig\":[{\"ChannelName\":\"train\",\"InputMode\":\"Pipe\"}]}"),
	          "InputDataConfig.train.InputMode: Invalid value: 'Pipe' Supported input modes: 'File'");
}

TEST(hyperparameters_are_known_there_typed_and_in_range)
{
	CHECK_STR(said("{\"HyperParameters\":null}"),
	          "HyperParameters.epochs: Required hyperparameter: epochs is not set");
	CHECK_STR(said("{\"HyperParameters\":{\"epochs\":\"1\",\"Rate\":\"1\"}}"),
	          "HyperParameters.Rate: Invalid hyperparameter: Rate is not supported by alg (its value is '1')");
	CHECK_STR(said("{\"HyperParameters\":{\"epochs\":\"101\",\"rate\":\"1.0000001\",\"kind\":\"c\"}}"),
	          "HyperParameters.epochs: Invalid value: '101' Supported range: integers from 1 to 100; "
	          "HyperParameters.rate: Invalid value: '1.0000001' Supported range: numbers from 0 to 1; "
	          "HyperParameters.kind: Invalid value: 'c' Supported range: one of 'a', 'b'");
	CHECK_STR(said("{\"HyperParameters\":{\"epochs\":\"1.0\",\"rate\":\"0x1\"}}"),
	          "HyperParameters.epochs: Invalid value: '1.0' Supported range: integers from 1 to 100; "
	          "HyperParameters.rate: Invalid value: '0x1' Supported range: numbers from 0 to 1");
	CHECK_STR(said("{\"HyperParameters\":{\"epochs\":\"\\n\\u001b[1m\"}}"),
	          "HyperParameters.epochs: Invalid value: '??[1m' Supported range: integers from 1 to 100");
	/* one that declares none takes any */
	CHECK_STR(said_of_job(SPEC("\"SupportedHyperParameters\":[]"),
	                      "{\"HyperParameters\":{\"x\":\"1\"},\"InputDataConfig\":[{\"ChannelName\":\"t\"}]}"),
	          "");
}

TEST(machines_and_metrics)
{
	CHECK_STR(
	        said("{\"ResourceConfig\":{\"InstanceType\":\"ml.p3.2xlarge\",\"InstanceCount\":1}}"),
	        "ResourceConfig.InstanceType: Invalid value: 'ml.p3.2xlarge' Supported instance types: 'ml.m5.large', "
	        "'ml.c5.large'");
	CHECK_STR(said("{\"ResourceConfig\":{\"InstanceType\":\"ml.m5.large\",\"InstanceCount\":2}}"),
	          "ResourceConfig.InstanceCount: Invalid value: '2' alg does not support distributed training "
	          "(SupportsDistributedTraining); use 1");
	CHECK_STR(
	        said("{\"ResourceConfig\":{\"InstanceGroups\":[{\"InstanceType\":\"ml.c5.large\",\"InstanceCount\":1},"
	             "{\"InstanceType\":\"ml.c4.large\",\"InstanceCount\":1}]}}"),
	        "ResourceConfig.InstanceGroups.2.InstanceType: Invalid value: 'ml.c4.large' Supported instance types: "
	        "'ml.m5.large', 'ml.c5.large'; ResourceConfig.InstanceCount: Invalid value: '2' alg does not support "
	        "distributed training (SupportsDistributedTraining); use 1");
	CHECK_STR(said("{\"AlgorithmSpecification\":{\"TrainingInputMode\":\"File\",\"MetricDefinitions\":[{\"Name\":"
	               "\"x\","
	               "\"Regex\":\"y\"}]}}"),
	          "AlgorithmSpecification.MetricDefinitions: 'x' cannot be given with AlgorithmName: a job by alg has "
	          "that "
	          "algorithm's metrics; leave MetricDefinitions out");
	CHECK_STR(said("{\"AlgorithmSpecification\":{\"TrainingInputMode\":\"File\",\"MetricDefinitions\":[{\"Name\":"
	               "\"loss\","
	               "\"Regex\":\"loss=(.*)\"}]}}"),
	          "");
	CHECK_STR(said_of_job(SPEC("\"SupportsDistributedTraining\":true"),
	                      "{\"ResourceConfig\":{\"InstanceType\":\"ml.m5.large\",\"InstanceCount\":9},"
	                      "\"InputDataConfig\":[{\"ChannelName\":\"t\"}]}"),
	          "");
}

TEST(defaults_and_metrics_are_filled_in)
{
	json_t *spec = parse(algorithm_text), *in = parse("{\"AlgorithmSpecification\":{}}");
	json_t *given = parse("{\"AlgorithmSpecification\":{},\"HyperParameters\":{\"rate\":\"1\"}}");
	struct algorithm *a = algorithm_new(spec), *b = algorithm_ref(a);
	json_t *want = parse("{\"rate\":\"0.1\",\"note\":\"\"}"), *want_given = parse("{\"rate\":\"1\",\"note\":\"\"}");

	algorithm_unref(a);
	algorithm_fill_job(b, in);
	algorithm_fill_job(b, given);
	algorithm_unref(b);
	CHECK(json_equal(json_object_get(in, "HyperParameters"), want));
	CHECK(json_equal(json_object_get(given, "HyperParameters"), want_given));
	CHECK(json_equal(json_object_get(json_object_get(in, "AlgorithmSpecification"), "MetricDefinitions"),
	                 json_object_get(spec, "MetricDefinitions")));
	json_decref(spec);
	json_decref(in);
	json_decref(given);
	json_decref(want);
	json_decref(want_given);
}

TEST(sentences_stay_within_bounds)
{
	struct faults f = { 0 };
	_cleanup_buf_ struct buf text = { 0 }, long_value = { 0 };
	_cleanup_free_ char *shown = NULL;
	struct err why = { 0 };

	for (int i = 0; i < 150; i++)
		buf_z(&long_value, "\xc3\xa9");
	shown = fault_value(buf_view(&long_value));
	CHECK_INT(strlen(shown), FAULT_VALUE_BYTES + 3);
	CHECK(utf8_valid(str_of(shown)));
	for (int i = 0; i < 1000; i++)
		fault(&f, "member.%d: %s", i, shown);
	CHECK_INT(faults_end(&f, &text, &why), -1);
	CHECK(str_starts(buf_view(&text), STR("1000 validation errors detected: member.0: ")));
	CHECK(text.n < FAULTS_TEXT_BYTES + 1000 && text.n > FAULTS_TEXT_BYTES);
	CHECK(str_ends(buf_view(&text), STR(" more")));
	faults_fini(&f);
}

/* ---- ranges: against the machine's own arithmetic ---- */

TEST(integers_compare_as_numbers_do)
{
	uint64_t r = 88172645463325252u;

	for (int i = 0; i < 200000; i++) {
		int64_t v[2];
		char text[2][64];
		struct integer n[2];

		for (int k = 0; k < 2; k++) {
			r ^= r << 13, r ^= r >> 7, r ^= r << 17;
			v[k] = (int64_t)r >> (r % 60);
			snprintf(text[k], sizeof(text[k]), "%s%s%llu",
			         v[k] < 0 ? "-"
			         : r & 1  ? "+"
			                  : "",
			         r & 2 ? "000" : "", v[k] < 0 ? -(unsigned long long)v[k] : (unsigned long long)v[k]);
			CHECK(integer_parse(str_of(text[k]), &n[k]));
		}
		if (integer_cmp(n[0], n[1]) != (v[0] > v[1]) - (v[0] < v[1]))
			test_failed(__FILE__, __LINE__, "%s and %s", text[0], text[1]);
	}
}

TEST(zero_is_zero)
{
	struct integer a = { 0 }, b = { 0 };

	CHECK(integer_parse(STR("-000"), &a) && integer_parse(STR("+0"), &b));
	CHECK_INT(integer_cmp(a, b), 0);
	for (const char *const *bad = (const char *const[]){ "", "-", "+", "--1", "1-", "1 ", " 1", "1e3", "1.", "0x1",
	                                                     "\xd9\xa1", NULL };
	     *bad; bad++)
		CHECK(!integer_parse(str_of(*bad), &a));
}
