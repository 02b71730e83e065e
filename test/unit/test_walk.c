/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>

#include "aws/walk.h"
#include "base/clock.h"
#include "harness.h"

/* The request of contract 14.3, as a client would send it. */
static const char minimal[] =
        "{\"TrainingJobName\":\"Demo-1\",\"RoleArn\":\"arn:aws:iam::123456789012:role/sm\","
        "\"AlgorithmSpecification\":{\"TrainingImage\":\"123456789012.dkr.ecr.us-east-1.amazonaws.com/x:1\","
        "\"TrainingInputMode\":\"File\",\"MetricDefinitions\":[{\"Name\":\"loss\",\"Regex\":\"loss=([0-9.]+)\"}]},"
        "\"InputDataConfig\":[{\"ChannelName\":\"train\",\"DataSource\":{\"S3DataSource\":{\"S3DataType\":\"S3Prefix\","
        "\"S3Uri\":\"s3://b/d/\"}}}],\"OutputDataConfig\":{\"S3OutputPath\":\"s3://b/out\"},"
        "\"ResourceConfig\":{\"InstanceType\":\"ml.m5.large\",\"InstanceCount\":1,\"VolumeSizeInGB\":30},"
        "\"StoppingCondition\":{\"MaxRuntimeInSeconds\":3600}}";

static const struct operation *operation(const char *name)
{
	return model_operation(model_service("sagemaker"), str_of(name));
}

static json_t *parse(const char *text)
{
	json_t *x = json_loads(text, JSON_DECODE_ANY, NULL);

	must(x);
	return x;
}

/* The minimal request with one member of the top level replaced (value NULL: taken away). */
static json_t *request(const char *member, const char *value)
{
	json_t *x = parse(minimal);

	if (member && value)
		json_object_set_new(x, member, parse(value));
	else if (member)
		json_object_del(x, member);
	return x;
}

/* Static text: what model_check says of it, "" when it is fine. Steals in. */
static const char *checked(const char *op, json_t *in, enum err_kind want)
{
	static struct buf text;
	struct err e = { 0 };

	buf_reset(&text);
	buf_z(&text, "");
	if (model_check_text(operation(op), in, &text, &e) < 0)
		CHECK_INT(e.kind, want);
	json_decref(in);
	return text.p;
}

static const char *refused(json_t *in)
{
	static struct err e;

	e = (struct err){ 0 };
	if (model_refuse(operation("CreateTrainingJob"), in, &e) < 0)
		CHECK_INT(e.kind, ERR_INVALID);
	json_decref(in);
	return e.frame[0];
}

TEST(the_tables_are_whole)
{
	const struct service *s = model_service("sagemaker");

	CHECK_INT(s->operation_count, 75);
	CHECK_STR(s->target_prefix, "SageMaker");
	CHECK_STR(s->json_version, "1.1");
	CHECK_STR(s->signing_name, "sagemaker");
	CHECK(!model_service("sage") && !model_service("") && !model_operation(s, STR("CreateTrainingJo")));
	CHECK(model_operation(s, STR("AddTags")) && model_operation(s, STR("UpdateTrialComponent")));
	CHECK(model_operation(model_service("sts"), STR("GetCallerIdentity"))->input->member_count == 0);
	CHECK(!operation("StopTrainingJob")->output);
	for (size_t i = 0; i < model_service_count; i++)
		for (size_t k = 0; k < model_services[i].operation_count; k++)
			CHECK(model_operation(&model_services[i], str_of(model_services[i].operations[k].name)) ==
			      &model_services[i].operations[k]);
}

/* Those of a member of a request's structure; returns how many are not among `others` (NULL: all). */
static size_t check_types(const char *op, const char *member, const char *shape, const char *const *others,
                          const char *const **ret)
{
	const struct shape *in = operation(op)->input, *config = NULL, *types = NULL;
	size_t n = 0;

	for (size_t i = 0; i < in->member_count; i++)
		if (strcmp(in->members[i].name, member) == 0)
			config = in->members[i].shape;
	types = config->members[0].shape;
	CHECK_STR(types->name, shape);
	for (const char *const *v = types->enums; *v; v++) {
		const struct instance_type *t = instance_type_find(str_of(*v));
		bool known = false;

		CHECK(t && strcmp(t->name, *v) == 0);
		CHECK(t && (t->vcpus > 0) == (strcmp(*v, "local") != 0));
		for (const char *const *o = others; o && *o; o++)
			known |= strcmp(*o, *v) == 0;
		n += !known;
	}
	*ret = types->enums;
	return n;
}

TEST(every_instance_type_is_known)
{
	const char *const *training = NULL, *const *transform = NULL;
	const struct instance_type *t;
	size_t n = check_types("CreateTrainingJob", "ResourceConfig", "TrainingInstanceType", NULL, &training);

	n += check_types("CreateTransformJob", "TransformResources", "TransformInstanceType", training, &transform);
	CHECK_INT(n, model_instance_type_count);
	t = instance_type_find(STR("ml.c5n.2xlarge"));
	CHECK(t && t->vcpus == 8 && t->memory_bytes == 21ull << 30 && t->gpus == 0);
	t = instance_type_find(STR("ml.c4.xlarge"));
	CHECK(t && t->memory_bytes == 15ull << 29);
	t = instance_type_find(STR("ml.p4d.24xlarge"));
	CHECK(t && t->vcpus == 96 && t->gpus == 8);
	t = instance_type_find(STR("local"));
	CHECK(t && t->vcpus == 0 && t->memory_bytes == 0 && t->gpus == 0);
	CHECK(!instance_type_find(STR("ml.m5.huge")) && !instance_type_find(STR("")));
}

TEST(the_request_of_the_contract_is_fine)
{
	json_t *in = request(NULL, NULL), *same = request(NULL, NULL);

	CHECK_OK(model_check(operation("CreateTrainingJob"), in, e));
	CHECK(json_equal(in, same));
	CHECK_OK(model_refuse(operation("CreateTrainingJob"), in, e));
	json_decref(in);
	json_decref(same);
}

TEST(a_violation_is_worded_as_the_service_does)
{
	/* contract 14.4 */
	CHECK_STR(checked("CreateTrainingJob", request("TrainingJobName", "\"a_b\""), ERR_INVALID),
	          "1 validation error detected: Value 'a_b' at 'trainingJobName' failed to satisfy constraint: Member "
	          "must "
	          "satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}");
	/* contract 9.3 */
	CHECK_STR(checked("CreateTrainingJob", request("TrainingJobName", NULL), ERR_INVALID),
	          "1 validation error detected: Value null at 'trainingJobName' failed to satisfy constraint: Member "
	          "must "
	          "not be null");
	CHECK_STR(checked("CreateTrainingJob",
	                  request("InputDataConfig",
	                          "[{\"ChannelName\":\"a\",\"DataSource\":{}},{\"ChannelName\":\"b\",\"DataSource\":{},"
	                          "\"InputMode\":\"Tube\"}]"),
	                  ERR_INVALID),
	          "1 validation error detected: Value 'Tube' at 'inputDataConfig.2.member.inputMode' failed to satisfy "
	          "constraint: Member must satisfy enum value set: [Pipe, File, FastFile]");
	CHECK_STR(
	        checked("CreateTrainingJob", request("StoppingCondition", "{\"MaxRuntimeInSeconds\":0}"), ERR_INVALID),
	        "1 validation error detected: Value '0' at 'stoppingCondition.maxRuntimeInSeconds' failed to satisfy "
	        "constraint: Member must have value greater than or equal to 1");
}

TEST(all_violations_come_together)
{
	json_t *in = request("TrainingJobName", "\"\"");

	json_object_set_new(in, "InputDataConfig", json_array());
	json_object_del(in, "OutputDataConfig");
	CHECK_STR(
	        checked("CreateTrainingJob", in, ERR_INVALID),
	        "4 validation errors detected: Value '' at 'trainingJobName' failed to satisfy constraint: Member must "
	        "satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}; Value '' at 'trainingJobName' "
	        "failed "
	        "to satisfy constraint: Member must have length greater than or equal to 1; Value '[]' at "
	        "'inputDataConfig' "
	        "failed to satisfy constraint: Member must have length greater than or equal to 1; Value null at "
	        "'outputDataConfig' failed to satisfy constraint: Member must not be null");
}

/* As a pre-flight has them: one by one, with the member as the API spells it. */
TEST(violations_one_by_one)
{
	json_t *in = request("InputDataConfig", "[{\"ChannelName\":\"a\",\"DataSource\":{}},{\"ChannelName\":\"b; c\","
	                                        "\"DataSource\":{}}]");
	json_t *each = json_array(), *first;
	struct err e = { 0 };

	json_object_set_new(in, "TrainingJobName", json_string("a_b"));
	json_object_set_new(in, "HyperParameters", json_pack("{s:s}", "k", "a\nb"));
	CHECK(model_check_each(operation("CreateTrainingJob"), in, each, &e) < 0 && e.kind == ERR_INVALID);
	CHECK_INT(json_array_size(each), 3);
	first = json_array_get(each, 0);
	CHECK_STR(json_string_value(json_object_get(first, "Where")), "TrainingJobName");
	CHECK_STR(
	        json_string_value(json_object_get(first, "What")),
	        "Value 'a_b' at 'trainingJobName' failed to satisfy constraint: Member must satisfy regular expression "
	        "pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}");
	CHECK_STR(json_string_value(json_object_get(json_array_get(each, 1), "Where")), "HyperParameters");
	CHECK_STR(json_string_value(json_object_get(json_array_get(each, 2), "Where")),
	          "InputDataConfig[1].ChannelName");
	json_array_clear(each);
	json_object_set_new(in, "RoleArn", json_integer(5));
	CHECK(model_check_each(operation("CreateTrainingJob"), in, each, &e) < 0 && e.kind == ERR_SYNTAX);
	json_decref(each);
	json_decref(in);
}

TEST(refusals_one_by_one)
{
	json_t *in = request("EnableManagedSpotTraining", "true");
	struct err e = { 0 };
	size_t at = 0, n = 0;

	json_object_set_new(in, "ResourceConfig",
	                    json_pack("{s:s, s:i, s:i, s:i}", "InstanceType", "ml.m5.large", "InstanceCount", 251,
	                              "VolumeSizeInGB", 1, "KeepAlivePeriodInSeconds", 60));
	while (model_refuse_next(operation("CreateTrainingJob"), in, &at, &e) < 0) {
		CHECK_INT(e.kind, ERR_INVALID);
		CHECK(n == 0 || strstr(e.frame[0], " is refused: "));
		e = (struct err){ 0 };
		n++;
	}
	CHECK(n >= 2);
	CHECK_INT(model_refuse_next(operation("CreateTrainingJob"), in, &at, &e), 0);
	json_decref(in);
}

TEST(plain_items_are_reported_at_their_list_or_map)
{
	_cleanup_free_ char *value = xcalloc(2502, 1), *map = NULL;
	const char *got;

	memset(value, 'x', 2501);
	map = strf("{\"ok\":\"1\",\"long\":\"%s\"}", value);
	got = checked("CreateTrainingJob", request("HyperParameters", map), ERR_INVALID);
	CHECK(str_starts(str_of(got), STR("1 validation error detected: Value '{long=xxxx")));
	CHECK(str_ends(str_of(got),
	               STR("xxx...' at 'hyperParameters' failed to satisfy constraint: Map value must satisfy "
	                   "constraint: [Member must have length less than or equal to 2500, Member must have "
	                   "length greater than or equal to 0, Member must satisfy regular expression pattern: "
	                   ".*]")));
	CHECK_STR(checked("CreateTrainingJob", request("Environment", "{\"OK\":\"1\",\"1BAD\":\"x\",\"A B\":\"y\"}"),
	                  ERR_INVALID),
	          "1 validation error detected: Value '{1BAD=x, A B=y}' at 'environment' failed to satisfy constraint: "
	          "Map keys "
	          "must satisfy constraint: [Member must have length less than or equal to 512, Member must have "
	          "length greater "
	          "than or equal to 0, Member must satisfy regular expression pattern: ^[a-zA-Z_][a-zA-Z0-9_]*]");
	CHECK_STR(checked("CreateTrainingJob",
	                  request("VpcConfig", "{\"SecurityGroupIds\":[\"sg-1\",\"sg 2\"],\"Subnets\":[null]}"),
	                  ERR_INVALID),
	          "2 validation errors detected: Value '[sg 2]' at 'vpcConfig.securityGroupIds' failed to satisfy "
	          "constraint: "
	          "Member must satisfy constraint: [Member must have length less than or equal to 32, Member must have "
	          "length "
	          "greater than or equal to 0, Member must satisfy regular expression pattern: ^[-0-9a-zA-Z]+]; Value "
	          "'[null]' "
	          "at 'vpcConfig.subnets' failed to satisfy constraint: Member must satisfy constraint: [Member must "
	          "have length "
	          "less than or equal to 32, Member must have length greater than or equal to 0, Member must satisfy "
	          "regular "
	          "expression pattern: ^[-0-9a-zA-Z]+, Member must not be null]");
}

TEST(hyperparameters_of_any_text_but_newlines)
{
	CHECK_STR(checked("CreateTrainingJob",
	                  request("HyperParameters", "{\"q\":\"a\\\"b'c\",\"u\":\"h\xc3\xa9 "
	                                             "\xf0\x9f\x94\xa5\",\"\":\"\",\"t\":\"\\t\\u000b\"}"),
	                  ERR_INVALID),
	          "");
	for (int i = 0; i < 5; i++) {
		static const char *const lines[] = { "\\n", "\\r", "\\u0085", "\\u2028", "\\u2029" };
		_cleanup_free_ char *map = strf("{\"a\":\"x%sy\"}", lines[i]);

		CHECK(str_find(str_of(checked("CreateTrainingJob", request("HyperParameters", map), ERR_INVALID)),
		               STR("Map value must satisfy")) > 0);
	}
	CHECK_STR(checked("CreateTrainingJob", request("Environment", "{\"A\":\"x\\ny\"}"), ERR_INVALID), "");
}

TEST(lengths_are_counted_in_characters)
{
	struct buf b = { 0 };
	const char *got;

	buf_z(&b, "[{\"Key\":\"k\",\"Value\":\"");
	for (int i = 0; i < 256; i++)
		buf_z(&b, "\xc3\xa9");
	buf_z(&b, "\"}]");
	CHECK_STR(checked("CreateTrainingJob", request("Tags", b.p), ERR_INVALID), "");
	b.n -= 3;
	buf_z(&b, "\xc3\xa9\"}]");
	got = checked("CreateTrainingJob", request("Tags", b.p), ERR_INVALID);
	CHECK(str_ends(str_of(got),
	               STR("at 'tags.1.member.value' failed to satisfy constraint: Member must have length less "
	                   "than or equal to 256")));
	buf_fini(&b);
}

TEST(wrong_types_say_what_and_where)
{
	CHECK_STR(checked("CreateTrainingJob", request("StoppingCondition", "{\"MaxRuntimeInSeconds\":\"60\"}"),
	                  ERR_SYNTAX),
	          "STRING_VALUE can not be converted to an Integer (at 'stoppingCondition.maxRuntimeInSeconds')");
	CHECK_STR(checked("CreateTrainingJob", request("TrainingJobName", "5"), ERR_SYNTAX),
	          "NUMBER_VALUE can not be converted to a String (at 'trainingJobName')");
	CHECK_STR(checked("CreateTrainingJob", request("HyperParameters", "{\"epochs\":5}"), ERR_SYNTAX),
	          "NUMBER_VALUE can not be converted to a String (at 'hyperParameters.epochs.member')");
	CHECK_STR(checked("CreateTrainingJob", request("Tags", "{}"), ERR_SYNTAX),
	          "Start of structure or map found where not expected. (at 'tags')");
	CHECK_STR(checked("CreateTrainingJob", request("Tags", "\"x\""), ERR_SYNTAX),
	          "Expected list or null (at 'tags')");
	CHECK_STR(checked("CreateTrainingJob", request("Tags", "[\"x\"]"), ERR_SYNTAX),
	          "Expected null (at 'tags.1.member')");
	CHECK_STR(checked("CreateTrainingJob", parse("[]"), ERR_SYNTAX), "Start of list found where not expected");
	CHECK_STR(checked("CreateTrainingJob", parse("3"), ERR_SYNTAX), "Expected null");
	CHECK_STR(checked("ListTrainingJobs", parse("{\"CreationTimeAfter\":\"2024-01-01T00:00:00Z\"}"), ERR_SYNTAX),
	          "STRING_VALUE can not be converted to milliseconds since epoch (at 'creationTimeAfter')");
	CHECK_STR(checked("ListTrainingJobs", parse("{\"CreationTimeAfter\":1e300}"), ERR_SYNTAX),
	          "1e+300 can not be converted to milliseconds since epoch (at 'creationTimeAfter')");
	/* a wrong type is found although a constraint was broken before it */
	CHECK_STR(checked("ListTrainingJobs", parse("{\"MaxResults\":0,\"NameContains\":[]}"), ERR_SYNTAX),
	          "Start of list found where not expected (at 'nameContains')");
}

TEST(numbers_keep_to_their_range)
{
	json_t *in = parse("{\"MaxResults\":5.0}");

	CHECK_OK(model_check(operation("ListTrainingJobs"), in, e));
	CHECK(json_is_integer(json_object_get(in, "MaxResults")));
	json_decref(in);
	CHECK_STR(checked("ListTrainingJobs", parse("{\"MaxResults\":1e1}"), ERR_INVALID), "");
	CHECK_STR(checked("ListTrainingJobs", parse("{\"MaxResults\":1.5}"), ERR_SYNTAX),
	          "1.5 can not be converted to an Integer (at 'maxResults')");
	CHECK_STR(checked("ListTrainingJobs", parse("{\"MaxResults\":4294967297}"), ERR_SYNTAX),
	          "4294967297 can not be converted to an Integer (at 'maxResults')");
	CHECK_STR(checked("ListTrainingJobs", parse("{\"MaxResults\":-1e30}"), ERR_SYNTAX),
	          "-1e+30 can not be converted to an Integer (at 'maxResults')");
	CHECK_STR(checked("ListTrainingJobs", parse("{\"MaxResults\":101}"), ERR_INVALID),
	          "1 validation error detected: Value '101' at 'maxResults' failed to satisfy constraint: Member must "
	          "have value "
	          "less than or equal to 100");
}

TEST(unknown_members_and_nulls_are_taken_away)
{
	json_t *in = parse("{\"TrainingJobName\":\"a\",\"Nonsense\":{\"x\":[1]},\"ProfilerConfig\":null,"
	                   "\"ResourceConfig\":{\"KeepAlivePeriodInSeconds\":0,\"More\":1,\"Yet\":null}}");
	json_t *want = parse("{\"TrainingJobName\":\"a\",\"ResourceConfig\":{\"KeepAlivePeriodInSeconds\":0}}");

	CHECK_OK(model_check(operation("UpdateTrainingJob"), in, e));
	CHECK(json_equal(in, want));
	json_decref(in);
	json_decref(want);
	in = request("HyperParameters", "{\"a\":null,\"b\":\"1\"}");
	CHECK_OK(model_check(operation("CreateTrainingJob"), in, e));
	CHECK_INT(json_object_size(json_object_get(in, "HyperParameters")), 1);
	json_decref(in);
	in = parse("{\"anything\":1}");
	CHECK_OK(model_check(model_operation(model_service("sts"), STR("GetCallerIdentity")), in, e));
	CHECK_INT(json_object_size(in), 0);
	json_decref(in);
}

TEST(nesting_is_bounded)
{
	struct buf b = { 0 };
	const char *got;

	/* Search is the one request of the model that nests in itself. */
	buf_z(&b, "{\"Resource\":\"TrainingJob\",\"SearchExpression\":");
	for (int i = 0; i < 400; i++)
		buf_z(&b, "{\"SubExpressions\":[");
	buf_z(&b, "{}");
	for (int i = 0; i < 400; i++)
		buf_z(&b, "]}");
	buf_c(&b, '}');
	got = checked("Search", parse(b.p), ERR_SYNTAX);
	CHECK(str_starts(str_of(got), STR("Nested too deeply (at 'searchExpression.subExpressions.1.member.")));
	buf_fini(&b);
}

TEST(a_thousand_violations_are_counted_and_the_text_stays_bounded)
{
	json_t *in = request("Tags", "[]"), *tags = json_object_get(in, "Tags");
	const char *got;

	for (int i = 0; i < 20000; i++)
		json_array_append_new(tags, parse("{\"Key\":\"\",\"Value\":\"*\"}"));
	got = checked("CreateTrainingJob", in, ERR_INVALID);
	CHECK(str_starts(str_of(got),
	                 STR("40001 validation errors detected: Value '[{Key=, Value=*}, {Key=, Value=*}, ")));
	CHECK(str_ends(str_of(got), STR(" more")));
	CHECK(strlen(got) < 2 * WALK_TEXT_BYTES);
}

TEST(long_values_are_cut_between_characters)
{
	struct buf b = { 0 };
	const char *got;

	buf_c(&b, '"');
	for (int i = 0; i < 1000; i++)
		buf_z(&b, "\xe2\x82\xac");
	buf_c(&b, '"');
	got = checked("CreateTrainingJob", request("TrainingJobName", b.p), ERR_INVALID);
	CHECK(utf8_valid(str_of(got)));
	CHECK(str_find(str_of(got), STR("\xe2\x82\xac...' at 'trainingJobName'")) > 0);
	buf_fini(&b);
}

TEST(patterns_match_the_whole_value_and_end_on_hostile_ones)
{
	size_t n = 500000;
	_cleanup_free_ char *uri = xcalloc(n + 1, 1);
	struct pattern_scratch *scratch = NULL;
	struct mono start;

	CHECK(str_find(str_of(checked("CreateTrainingJob", request("TrainingJobName", "\"ok\\n\""), ERR_INVALID)),
	               STR("regular expression")) > 0);
	CHECK(str_find(str_of(checked("CreateTrainingJob", request("TrainingJobName", "\"-ok\""), ERR_INVALID)),
	               STR("regular expression")) > 0);
	memset(uri, 'a', n);
	memcpy(uri, "s3://", 5);
	uri[n - 1] = '\n'; /* the last byte makes every split of the rest fail */
	for (size_t i = 0; i < model_pattern_count; i++) {
		start = mono_now();
		pattern_matches((int)i, (struct str){ uri, n }, &scratch);
		memset(uri + 5, '-', n / 2);
		pattern_matches((int)i, (struct str){ uri, n }, &scratch);
		memset(uri + 5, 'a', n / 2);
		if (mono_ms_since(start) > 3000)
			test_failed(__FILE__, __LINE__, "pattern %s took %lld ms", model_patterns[i],
			            (long long)mono_ms_since(start));
	}
	pattern_scratch_free(scratch);
}

/* Threads that meet a pattern for the first time together. */
static void *check_again_and_again(void *arg)
{
	(void)arg;
	for (int i = 0; i < 50; i++) {
		json_t *in = request("HyperParameters", "{\"a\":\"1\"}");

		CHECK_OK(model_check(operation("CreateTrainingJob"), in, e));
		json_decref(in);
	}
	return NULL;
}

TEST(many_threads_check_at_once)
{
	pthread_t threads[8];

	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		CHECK_INT(pthread_create(&threads[i], NULL, check_again_and_again, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		CHECK_INT(pthread_join(threads[i], NULL), 0);
}

TEST(what_is_not_supported_is_refused_by_name)
{
	CHECK_STR(refused(request("EnableManagedSpotTraining", "true")),
	          "EnableManagedSpotTraining (true) is refused: managed spot training is not built yet; use false");
	CHECK_STR(refused(request("EnableManagedSpotTraining", "false")), "");
	CHECK_STR(refused(request("ResourceConfig", "{\"InstanceCount\":251}")),
	          "ResourceConfig.InstanceCount (251) is refused: a job can have at most 250 hosts on this machine");
	CHECK_STR(refused(request("ResourceConfig",
	                          "{\"InstanceCount\":1,\"InstanceGroups\":[],\"KeepAlivePeriodInSeconds\":0}")),
	          "");
	CHECK_STR(
	        refused(request("InputDataConfig", "[{\"InputMode\":\"FastFile\"},{\"ShuffleConfig\":{\"Seed\":1}}]")),
	        "");
	CHECK(str_starts(
	        str_of(refused(request("InputDataConfig",
	                               "[{},{\"DataSource\":{\"S3DataSource\":{\"S3DataType\":\"Converse\"}}}]"))),
	        STR("InputDataConfig[1].DataSource.S3DataSource.S3DataType (Converse) is refused: ")));
	CHECK(str_starts(
	        str_of(refused(request(
	                "InputDataConfig",
	                "[{\"DataSource\":{\"S3DataSource\":{\"ModelAccessConfig\":{\"AcceptEula\":true}}}}]"))),
	        STR("InputDataConfig[0].DataSource.S3DataSource.ModelAccessConfig is refused: ")));
	CHECK(str_starts(
	        str_of(refused(request(
	                "InputDataConfig",
	                "[{\"DataSource\":{\"S3DataSource\":{\"HubAccessConfig\":{\"HubContentArn\":\"a\"}}}}]"))),
	        STR("InputDataConfig[0].DataSource.S3DataSource.HubAccessConfig is refused: ")));
	CHECK(str_starts(str_of(refused(request("InputDataConfig",
	                                        "[{\"DataSource\":{\"DatasetSource\":{\"DatasetArn\":\"a\"}}}]"))),
	                 STR("InputDataConfig[0].DataSource.DatasetSource is refused: ")));
	CHECK(str_starts(str_of(refused(request("RetryStrategy", "{}"))), STR("RetryStrategy is refused: ")));
	CHECK_STR(refused(request("DebugRuleConfigurations", "[]")), "");
	CHECK(str_starts(str_of(refused(request("DebugRuleConfigurations", "[{}]"))),
	                 STR("DebugRuleConfigurations is refused: ")));
	/* what SDKs send of their own accord */
	CHECK_STR(refused(request("ProfilerConfig", "{\"S3OutputPath\":\"s3://b/p\",\"DisableProfiler\":false}")), "");
	CHECK_STR(
	        refused(request("DebugHookConfig", "{\"S3OutputPath\":\"s3://b/d\",\"CollectionConfigurations\":[]}")),
	        "");
}

/* A request that has nothing but what the row refuses. */
static json_t *refusable(const struct refusal *r)
{
	json_t *x = r->when == REFUSE_PRESENT     ? json_object()
	            : r->when == REFUSE_NOT_EMPTY ? json_pack("[{}]")
	            : r->when == REFUSE_TRUE      ? json_true()
	            : r->when == REFUSE_ABOVE     ? json_integer((json_int_t)r->above + 1)
	                                          : json_string("something else");
	struct str path = str_of(r->path);

	while (path.n) {
		struct str name = str_cut_last(&path, '.');
		_cleanup_free_ char *key = NULL;

		if (str_ends(name, STR("[]"))) {
			x = json_pack("[o]", x);
			name.n -= 2;
		}
		key = str_dup(name);
		x = json_pack("{s:o}", key, x);
	}
	return x;
}

TEST(every_refusal_can_happen_and_says_why)
{
	size_t n = 0;

	for (size_t i = 0; i < model_service_count; i++)
		for (size_t k = 0; k < model_services[i].operation_count; k++) {
			const struct operation *op = &model_services[i].operations[k];

			for (size_t r = 0; r < op->refusal_count; r++, n++) {
				json_t *in = refusable(&op->refusals[r]);
				struct err e = { 0 };
				_cleanup_free_ char *end = strf(" is refused: %s", op->refusals[r].reason);

				CHECK(model_refuse(op, in, &e) < 0 && e.kind == ERR_INVALID);
				CHECK(str_ends(str_of(e.frame[0]), str_of(end)));
				json_decref(in);
			}
		}
	CHECK(n > 30);
}

TEST(secrets_are_not_shown)
{
	static const struct shape text = { .name = "Text", .kind = SHAPE_STRING, .pattern_index = -1 };
	static const struct shape secret = {
		.name = "Secret", .kind = SHAPE_STRING, .has_max = true, .max = 3, .pattern_index = -1, .secret = true
	};
	static const struct shape list = { .name = "List", .kind = SHAPE_LIST, .item = &secret, .pattern_index = -1 };
	static const struct shape map = {
		.name = "Map", .kind = SHAPE_MAP, .key = &text, .item = &secret, .pattern_index = -1
	};
	static const struct member members[] = {
		{ "Open", &text, false }, { "Key", &secret, false }, { "List", &list, false }, { "Map", &map, false }
	};
	static const struct shape in = { .name = "In", .kind = SHAPE_STRUCTURE, .members = members, .member_count = 4 };
	static const struct operation op = { .name = "Op", .input = &in };
	json_t *x = parse("{\"Open\":\"o\",\"Key\":\"hunter2\",\"List\":[\"hunter2\"],\"Map\":{\"k\":\"hunter2\"},"
	                  "\"Unknown\":\"hunter2\"}");
	_cleanup_buf_ struct buf out = { 0 }, said = { 0 };
	struct err e;

	model_redact(&in, x, &out);
	CHECK_STR(out.p, "{\"Open\":\"o\",\"Key\":\"***\",\"List\":[\"***\"],\"Map\":{\"k\":\"***\"}}");
	CHECK(model_check_text(&op, x, &said, &e) < 0);
	CHECK(str_starts(buf_view(&said), STR("3 validation errors detected: Value at 'key' failed")));
	CHECK(str_find(buf_view(&said), STR("hunter2")) < 0);
	json_decref(x);
}

TEST(model_redact_leaves_what_is_open)
{
	json_t *x = request("Tags", "[{\"Key\":\"k\",\"Value\":\"v\"}]");
	_cleanup_buf_ struct buf out = { 0 };
	json_t *back;

	model_redact(operation("CreateTrainingJob")->input, x, &out);
	back = json_loads(out.p, 0, NULL);
	CHECK(json_equal(x, back));
	json_decref(back);
	json_decref(x);
}
