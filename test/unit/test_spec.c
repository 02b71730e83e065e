/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"
#include "jobdir/spec.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char good_text[] =
        "{\"v\":1,\"id\":\"0123456789abcdef\",\"name\":\"iris-1\",\"arn\":\"arn:aws:sagemaker:us-east-1:000000"
        "000000:training-job/iris-1\",\"region\":\"us-east-1\",\"account\":\"000000000000\",\"host_name\":\"a"
        "lgo-1\",\"host_number\":1,\"host_count\":1,\"fastfile_links_max\":1000,\"image\":\"iris:latest\",\"m"
        "ax_runtime_s\":86400,\"stop_grace_s\":120,\"output_place\":\"embedded\",\"output_bucket\":\"bkt\",\""
        "output_prefix\":\"a/../b\",\"api_url\":\"http://127.0.0.1:8770\",\"token\":\"a.1.f\",\"credentials_path\":\"/"
        "v2/credentials/b\",\"log_epoch_s\":1700000000,\"requ"
        "est\":{\"TrainingJobName\":\"iris-1\"},"
        "\"limits\":{\"instance_type\":\"ml.m5.large\",\"cpus\":1.5,\"memory_bytes\":1073741824,\"shm_bytes\""
        ":67108864,\"volume_bytes\":1073741824,\"pids\":4096,\"clipped\":\"smaller\"},"
        "\"s3\":{\"endpoint\":\"https://s3\",\"region\":\"eu-west-1\",\"access_key\":\"AK\",\"secret_key\":\"SK\"},"
        "\"channels\":["
        "{\"name\":\"train\",\"input_mode\":\"File\",\"content_type\":\"text/csv\",\"distribution\":\"FullyRepli"
        "cated\",\"record_wrapper\":\"None\",\"compression\":\"None\",\"share_number\":0,\"share_count\":1,\"sh"
        "uffled\":false,\"shuffle_seed\":0,\"s3_data_type\":\"S3Prefix\",\"s3_uri\":\"s3://bkt/x\",\"bucket\":"
        "\"bkt\",\"prefix\":\"x\",\"place\":\"embedded\",\"list\":\"0\",\"objects\":2,\"bytes\":3},"
        "{\"name\":\"test\",\"input_mode\":\"Pipe\",\"distribution\":\"ShardedByS3Key\",\"record_wrapper\":\"Rec"
        "ordIO\",\"compression\":\"Gzip\",\"share_number\":2,\"share_count\":3,\"shuffled\":true,\"shuffle_se"
        "ed\":-9223372036854775808,\"s3_data_type\":\"S3Prefix\",\"s3_uri\":\"s3://bkt/y\",\"bucket\":\"bkt\","
        "\"prefix\":\"y\",\"place\":\"remote\",\"objects\":0,\"bytes\":0},"
        "{\"name\":\"disk\",\"input_mode\":\"File\",\"distribution\":\"FullyReplicated\",\"record_wrapper\":\"No"
        "ne\",\"compression\":\"None\",\"share_number\":0,\"share_count\":1,\"shuffled\":false,\"shuffle_seed"
        "\":0,\"place\":\"file-system\",\"objects\":0,\"bytes\":0,\"file_system_id\":\"fs-0123456789abcdef0\","
        "\"file_system_type\":\"EFS\",\"file_system_access\":\"ro\",\"directory_path\":\"/data\"}]}";

static json_t *good(void)
{
	json_t *j = json_loads(good_text, JSON_REJECT_DUPLICATES, NULL);

	must(j);
	return j;
}

TEST(a_specification_round_trips)
{
	json_t *j = good(), *back;
	struct job_spec s = { 0 };

	CHECK_OK(spec_from_json(j, &s, e));
	CHECK_STR(s.name, "iris-1");
	CHECK(s.channel_count == 3 && s.channels[1].place == PLACE_REMOTE && !s.channels[1].list);
	CHECK(s.channels[1].shuffled && s.channels[1].shuffle_seed == INT64_MIN && s.channels[1].share_number == 2);
	CHECK(s.channels[2].place == PLACE_FILE_SYSTEM && !s.channels[2].bucket);
	CHECK_STR(s.channels[2].directory_path, "/data");
	CHECK(s.limits.cpus == 1.5 && s.limits.pids == 4096 && s.host_count == 1);
	back = spec_to_json(&s);
	CHECK(json_equal(j, back));
	json_decref(back);
	json_decref(j);
	spec_fini(&s);
}

TEST(a_specification_is_saved_and_loaded)
{
	int dir = open(test_tmpdir(), O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	struct job_spec s = { 0 }, back = { 0 };
	json_t *j = good();
	struct stat st;

	CHECK_OK(spec_from_json(j, &s, e));
	CHECK_OK(spec_save(dir, &s, e));
	CHECK(fstatat(dir, "spec.json", &st, 0) == 0 && (st.st_mode & 0777) == 0600);
	CHECK_OK(spec_load(test_tmpdir(), &back, e));
	CHECK_STR(back.s3.secret_key, "SK");
	free(s.id);
	s.id = xstrdup("../../../../etc/x");
	CHECK(spec_save(dir, &s, NULL) == -1); /* the writer does not write what the reader refuses */
	spec_fini(&s);
	spec_fini(&back);
	json_decref(j);
	close(dir);
}

/* Takes the good specification with the value at a path such as "channels/0/name" replaced (or removed: v NULL). */
static json_t *changed(const char *path, json_t *v)
{
	json_t *j = good(), *at = j;
	struct str rest = str_of(path);

	for (;;) {
		_cleanup_free_ char *part = str_dup(str_cut(&rest, '/'));

		if (!rest.n && v)
			json_object_set_new(at, part, v);
		else if (!rest.n)
			must(json_object_del(at, part) == 0);
		if (!rest.n)
			return j;
		at = json_is_array(at) ? json_array_get(at, (size_t)atoll(part)) : json_object_get(at, part);
	}
}

static void refused(const char *path, json_t *v, const char *names)
{
	_cleanup_free_ char *shown = v ? json_dumps(v, JSON_ENCODE_ANY) : xstrdup("(missing)");
	json_t *j = changed(path, v);
	struct job_spec s = { 0 };
	struct err err = { 0 };
	char text[3000];

	if (spec_from_json(j, &s, &err) == 0) {
		test_failed(__FILE__, __LINE__, "taken: %s = %s", path, shown);
		spec_fini(&s);
	} else if (err.kind != ERR_INVALID || !strstr(err_text(&err, text, sizeof(text)), names))
		test_failed(__FILE__, __LINE__, "%s = %s: '%s' does not name %s", path, shown, text, names);
	json_decref(j);
}

/* Every member there is, in turn: removed, and of each wrong type. */
TEST(every_member_is_required_and_typed)
{
	static const char *const objects[] = { "", "limits/", "s3/", "channels/0/", "channels/2/" };
	static const char optional[] = " api_url clipped content_type credentials_path s3 token ";

	for (size_t i = 0; i < ARRAY_LEN(objects); i++) {
		_cleanup_free_ char *in = strf("%sx", objects[i]);
		json_t *j = changed(in, json_null()), *at = j, *v;
		struct str rest = str_of(objects[i]);
		const char *key;

		while (rest.n) {
			_cleanup_free_ char *part = str_dup(str_cut(&rest, '/'));

			at = json_is_array(at) ? json_array_get(at, (size_t)atoll(part)) : json_object_get(at, part);
		}
		refused(in, json_null(), "'x' is not a member"); /* an unknown one, too */
		json_object_foreach (at, key, v) {
			_cleanup_free_ char *path = strf("%s%s", objects[i], key), *word = strf(" %s ", key);

			if (strcmp(key, "x") == 0)
				continue;
			if (!strstr(optional, word))
				refused(path, NULL, key);
			refused(path, json_null(), key);
			if (!json_is_boolean(v))
				refused(path, json_true(), key);
			if (!json_is_object(v))
				refused(path, json_object(), key);
			if (!json_is_array(v))
				refused(path, json_array(), key);
			if (!json_is_number(v))
				refused(path, json_integer(7), key);
			if (!json_is_string(v))
				refused(path, json_string("7"), key);
		}
		json_decref(j);
	}
}

TEST(hostile_values_are_refused)
{
	static const char *const leaves[] = { "", ".", "..", "a/b", "/etc/passwd", "../x", "a\nb", "\xc3\xa9" };
	char longest[300];

	memset(longest, 'a', sizeof(longest));
	longest[256] = 0;
	for (size_t i = 0; i < ARRAY_LEN(leaves); i++) {
		refused("channels/0/name", json_string(leaves[i]), "channels[0].name");
		if (i < 7)
			refused("channels/0/list", json_string(leaves[i]), "channels[0].list");
		refused("host_name", json_string(leaves[i]), "host_name");
		refused("output_bucket", json_string(leaves[i]), "output_bucket");
		refused("id", json_string(leaves[i]), "id");
	}
	refused("channels/0/list", json_string(longest), "list");
	refused("channels/0/name", json_string("test"), "name"); /* twice */
	refused("channels/0/place", json_string("file-system"), "s3_data_type");
	refused("channels/2/place", json_string("embedded"), "s3_data_type");
	refused("channels/0/bucket", NULL, "bucket");
	refused("channels/0/file_system_id", json_string("fs-01234567"), "file_system_id");
	refused("channels/2/directory_path", json_string("data"), "directory_path");
	refused("channels/2/directory_path", NULL, "directory_path");
	refused("channels/2/file_system_access", json_string("wr"), "file_system_access");
	refused("channels/1/share_number", json_integer(3), "share_number");
	refused("channels/1/share_count", json_integer(0), "share_count");
	refused("gpus", json_string("0"), "gpus: not an array");
	refused("gpus", json_pack("[s,i]", "0", 1), "gpus: holds what is not the name of a GPU");
	refused("gpus", json_pack("[s]", "a b"), "gpus: holds what is not the name of a GPU");
	refused("gpus", json_pack("[s,s,s]", "0", "1", "0"), "gpus: names one twice");
	refused("channels/1/shuffled", json_integer(1), "shuffled");
	refused("channels/1/shuffle_seed", json_real(1.5), "shuffle_seed");
	refused("output_place", json_string("file-system"), "output_place");
	refused("channels/1/place", json_string("embedded"), "list");
	refused("channels/0/input_mode", json_string("file"), "input_mode");
	refused("channels/0/objects", json_integer(-1), "objects");
	refused("s3", NULL, "s3");
	refused("s3/endpoint", json_string("file:///etc/passwd"), "endpoint");
	refused("v", json_integer(2), "v");
	refused("host_number", json_integer(2), "host_number");
	refused("host_count", json_integer(4294967297LL), "host_count");
	refused("max_runtime_s", json_integer(0), "max_runtime_s");
	refused("max_runtime_s", json_real(5.5), "max_runtime_s");
	refused("limits/memory_bytes", json_integer(-1), "memory_bytes");
	refused("limits/volume_bytes", json_integer(INT64_MAX), "volume_bytes");
	refused("limits/pids", json_integer(0), "pids");
	refused("limits/cpus", json_integer(0), "cpus");
	refused("account", json_string("12345678901x"), "account");
	refused("name", json_string("a/../../b"), "name");
	refused("api_url", json_string("javascript:1"), "api_url");
	refused("token", json_string("a\r\nX: y"), "token");
	refused("credentials_path", json_string("/v2/credentials/a b"), "credentials_path");
	refused("credentials_path", json_string("/v3/a"), "credentials_path");
}

TEST(there_are_at_most_twenty_channels)
{
	json_t *j = good(), *list = json_object_get(j, "channels");
	struct job_spec s = { 0 };

	for (int i = 0; i < 18; i++)
		json_array_append(list, json_array_get(list, 0));
	CHECK(spec_from_json(j, &s, NULL) == -1 && !s.channels);
	json_decref(j);
}

/* What is not JSON, or cut anywhere, or has any one byte changed, is refused or read, and never crashes. */
TEST(damaged_files_are_read_or_refused)
{
	static const char bytes[] = { 0, '"', '{', '}', '[', '9', '-', (char)0xff };
	_cleanup_free_ char *text = xstrdup(good_text);
	size_t n = sizeof(good_text) - 1, taken = 0;

	for (size_t i = 0; i < n; i++)
		for (size_t b = 0; b <= ARRAY_LEN(bytes); b++) {
			struct job_spec s = { 0 };
			json_t *j;

			text[i] = b < ARRAY_LEN(bytes) ? bytes[b] : good_text[i];
			j = json_loadb(text, b < ARRAY_LEN(bytes) ? n : i, JSON_REJECT_DUPLICATES, NULL);
			if (j && spec_from_json(j, &s, NULL) == 0)
				taken++;
			spec_fini(&s);
			json_decref(j);
			text[i] = good_text[i];
		}
	CHECK(taken > 0 && taken < n * ARRAY_LEN(bytes) / 2);
}

/* ---- transform jobs ---- */

/* The good specification as one of a transform job of two containers. */
static json_t *good_transform(void)
{
	static const char more_text[] =
	        "{\"kind\":\"transform\",\"instance\":\"i-00123456789abcdef\",\"containers\":["
	        "{\"name\":\"container-1\",\"image\":\"iris@sha256:aa\",\"environment\":{\"A\":\"1\",\"B\":\"\"},"
	        "\"model\":{\"place\":\"embedded\",\"bucket\":\"bkt\",\"prefix\":\"m/model.tar.gz\",\"list\":\"m0\","
	        "\"gzip\":true}},"
	        "{\"name\":\"Second\",\"image\":\"r.example/x\",\"image_provider\":\"arn:aws:lambda:x\","
	        "\"environment\":{},\"model\":null}]}";
	json_t *j = good(), *more = json_loads(more_text, JSON_REJECT_DUPLICATES, NULL);
	json_t *channels = json_object_get(j, "channels"), *input = json_array_get(channels, 0);

	must(more);
	json_object_update(j, more);
	json_decref(more);
	json_object_del(j, "image");
	json_object_del(j, "max_runtime_s");
	while (json_array_size(channels) > 1)
		json_array_remove(channels, 1);
	json_object_set_new(input, "name", json_string("input"));
	return j;
}

TEST(the_specification_of_a_transform_job_round_trips)
{
	json_t *j = good_transform(), *back;
	struct job_spec s = { 0 };

	CHECK_OK(spec_from_json(j, &s, e));
	CHECK(spec_is_transform(&s) && !s.image && s.max_runtime_s == 0 && s.container_count == 2);
	CHECK_STR(s.instance, "i-00123456789abcdef");
	CHECK_STR(s.containers[0].image, "iris@sha256:aa");
	CHECK(s.containers[0].model && s.containers[0].model->gzip && !s.containers[0].image_provider);
	CHECK_STR(s.containers[0].model->prefix, "m/model.tar.gz");
	CHECK_STR(json_string_value(json_object_get(s.containers[0].environment, "A")), "1");
	CHECK(!s.containers[1].model && s.containers[1].image_provider);
	back = spec_to_json(&s);
	CHECK(json_equal(j, back));
	json_decref(back);
	json_decref(j);
	spec_fini(&s);
	j = good();
	CHECK_OK(spec_from_json(j, &s, e));
	CHECK(!spec_is_transform(&s));
	json_decref(j);
	spec_fini(&s);
}

/* Replaces (v NULL: removes) `name` of the object, checks that this is refused by a sentence with `names`. */
static void transform_refused(json_t *j, json_t *object, const char *name, json_t *v, const char *names)
{
	struct job_spec s = { 0 };
	struct err err = { 0 };
	char text[3000];

	if (v)
		json_object_set_new(object, name, v);
	else
		json_object_del(object, name);
	if (spec_from_json(j, &s, &err) == 0) {
		test_failed(__FILE__, __LINE__, "taken: %s", name);
		spec_fini(&s);
	} else if (err.kind != ERR_INVALID || !strstr(err_text(&err, text, sizeof(text)), names))
		test_failed(__FILE__, __LINE__, "%s: '%s' does not name %s", name, text, names);
	json_decref(j);
}

#define REFUSED(in, name, v, names)                                                                         \
	do {                                                                                                \
		json_t *j = good_transform(), *first = json_array_get(json_object_get(j, "containers"), 0), \
		       *second = json_array_get(json_object_get(j, "containers"), 1),                       \
		       *model = json_object_get(first, "model"),                                            \
		       *input = json_array_get(json_object_get(j, "channels"), 0);                          \
                                                                                                            \
		(void)first, (void)second, (void)model, (void)input;                                        \
		transform_refused(j, in, name, v, names);                                                   \
	} while (0)

TEST(what_a_transform_job_must_have_and_must_not)
{
	REFUSED(j, "kind", NULL, "image: missing");
	REFUSED(j, "kind", json_string("training"), "image: missing");
	REFUSED(j, "kind", json_string("tuning"), "kind");
	REFUSED(j, "image", json_string("x"), "image: not for this kind");
	REFUSED(j, "max_runtime_s", json_integer(5), "max_runtime_s: not for this kind");
	REFUSED(j, "instance", NULL, "instance: missing");
	REFUSED(j, "instance", json_string("i-00123456789abcdeX"), "instance");
	REFUSED(j, "containers", NULL, "containers: missing");
	REFUSED(j, "containers", json_array(), "containers: not an array of 1 to 15");
	REFUSED(j, "containers", json_object(), "containers: not an array of 1 to 15");
	REFUSED(j, "channels", json_array(), "channels: not what the input");
	REFUSED(input, "name", json_string("train"), "channels: not what the input");
	REFUSED(input, "record_wrapper", json_string("RecordIO"), "channels: not what the input");
	REFUSED(input, "shuffled", json_true(), "channels: not what the input");
}

TEST(containers_are_checked_member_by_member)
{
	REFUSED(first, "name", json_string("a/b"), "containers[0].name");
	REFUSED(first, "name", json_string("data-log"), "containers[0].name");
	REFUSED(first, "name", json_string(".."), "containers[0].name");
	REFUSED(second, "name", json_string("container-1"), "containers[1].name: another");
	REFUSED(first, "name", NULL, "containers[0].name: missing");
	REFUSED(first, "image", NULL, "containers[0].image: missing");
	REFUSED(first, "x", json_null(), "containers[0].'x' is not a member");
	REFUSED(first, "environment", NULL, "environment: not an object");
	REFUSED(first, "environment", json_pack("{s:i}", "A", 1), "what is not a text");
	REFUSED(first, "environment", json_pack("{s:s}", "", "1"), "cannot be a variable's name");
	REFUSED(first, "environment", json_pack("{s:s}", "A=B", "1"), "cannot be a variable's name");
	REFUSED(first, "environment", json_pack("{s:o}", "A", json_stringn("a\0b", 3)), "what is not a text");
	REFUSED(first, "model", NULL, "containers[0].model: missing");
	REFUSED(first, "model", json_string("m"), "containers[0].model. not an object");
	REFUSED(model, "place", json_string("file-system"), "containers[0].model.place");
	REFUSED(model, "place", json_string("nowhere"), "containers[0].model.place");
	REFUSED(model, "bucket", json_string("a/b"), "containers[0].model.bucket");
	REFUSED(model, "list", json_string("../0"), "containers[0].model.list");
	REFUSED(model, "list", NULL, "containers[0].model.list: missing");
	REFUSED(model, "gzip", json_integer(1), "containers[0].model.gzip");
}

TEST(what_an_algorithm_brings_along)
{
	json_t *whole = good(), *again;
	json_t *data = json_pack("{s:s, s:s, s:s, s:s, s:b}", "place", "embedded", "bucket", "bucket", "prefix",
	                         "d.tar.gz", "list", "7", "gzip", 1);
	struct job_spec s = { 0 };

	json_object_set(whole, "additional", data);
	CHECK_OK(spec_from_json(whole, &s, e));
	CHECK(s.additional && s.additional->gzip);
	CHECK_STR(s.additional->prefix, "d.tar.gz");
	again = spec_to_json(&s);
	CHECK(json_equal(json_object_get(again, "additional"), data));
	json_decref(again);
	spec_fini(&s);
	json_object_set_new(data, "list", json_string("../7"));
	CHECK_INT(spec_from_json(whole, &s, NULL), -1);
	json_object_set_new(data, "list", json_string("7"));
	json_decref(whole);
	REFUSED(j, "additional", json_incref(data), "additional: not for this kind");
	json_decref(data);
}

TEST(a_remote_model_needs_another_s3)
{
	json_t *j = good_transform(), *first = json_array_get(json_object_get(j, "containers"), 0);

	json_object_set_new(json_object_get(first, "model"), "place", json_string("remote"));
	transform_refused(j, j, "s3", NULL, "s3: missing, and a model is remote");
}

TEST(there_are_at_most_fifteen_containers)
{
	json_t *j = good_transform(), *list = json_object_get(j, "containers");
	struct job_spec s = { 0 };

	for (int i = 3; i <= 16; i++) {
		json_t *c = json_deep_copy(json_array_get(list, 1));
		char name[20];

		snprintf(name, sizeof(name), "container-%d", i);
		json_object_set_new(c, "name", json_string(name));
		json_array_append_new(list, c);
		if (i == 15) {
			CHECK_OK(spec_from_json(j, &s, e));
			CHECK(s.container_count == 15);
			spec_fini(&s);
		}
	}
	CHECK(spec_from_json(j, &s, NULL) == -1 && !s.containers);
	json_decref(j);
}
