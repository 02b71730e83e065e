/* The handlers of models and model packages over the real store, object store and job control, without HTTP: what is
 * kept for who runs a model. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "blob/blob.h"
#include "harness.h"
#include "job/jobs.h"
#include "op/model.h"

#define HEX_TAIL "0123456789abcdef0123456789abcdef0123456789abcdef"
#define HEX "0123456789abcdef" HEX_TAIL
#define OTHER "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define ARN "arn:aws:sagemaker:us-east-1:000000000000:"

static struct loop *loop;
static struct api api = { .account = "000000000000", .region = "us-east-1" };
static struct access_key key = { .id = "AKIDEXAMPLE" };
static struct conf conf;
static const struct launcher_ops nothing = { .name = "nothing" };

/* As `bloomery image import img` would leave its names. */
static void make_image(void)
{
	_cleanup_close_ int dir = open(test_tmpdir(), O_PATH | O_DIRECTORY | O_CLOEXEC);

	CHECK_OK(mkdir_all(dir, "images/refs", 0755, e));
	CHECK_OK(mkdir_all(dir, "images/sha256-" HEX, 0755, e));
	CHECK_INT(symlinkat("../sha256-" HEX, dir, "images/refs/img%3Alatest"), 0);
}

static void put(const char *name, const char *k)
{
	_cleanup_free_ char *path = strf("%s/%s", test_tmpdir(), name);
	_cleanup_close_ int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	CHECK(fd >= 0);
	CHECK_OK(blob_adopt(api.blobs, STR("bucket"), str_of(k), path, 0, STR("d41d8cd98f00b204e9800998ecf8427e"), e));
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
	CHECK_OK(blob_bucket_create(api.blobs, STR("bucket"), e));
	o.store = api.store;
	o.blobs = api.blobs;
	api.data_dir = o.data_dir = test_tmpdir();
	CHECK_OK(jobs_new(&o, &api.jobs, e));
	make_image();
	put("one", "m/model.tar.gz");
	put("two", "m/tree/a");
}

static void down(void)
{
	jobs_free(api.jobs);
	blob_close(api.blobs);
	store_close(api.store);
	loop_free(loop);
	conf_fini(&conf);
}

/* A request in JSON with ' for "; what it is answered goes to *ret, which may be NULL. */
static int call(api_fn *fn, const char *text, json_t **ret, struct err *e)
{
	_cleanup_buf_ struct buf raw = { 0 }, words = { 0 };
	struct api_call c = { .api = &api, .caller = &key, .now = wall_now(), .raw = &raw, .words = &words };
	_cleanup_free_ char *json = xstrdup(text);
	json_t *in, *out = NULL;
	int rc;

	for (char *p = json; *p; p++)
		*p = (char)(*p == '\'' ? '"' : *p);
	in = json_loads(json, 0, NULL);
	CHECK(in != NULL);
	rc = fn(&c, in, &out, e);
	if (rc == 0 && raw.n)
		out = json_loadb(raw.p, raw.n, 0, NULL);
	json_decref(in);
	if (ret)
		*ret = out;
	else
		json_decref(out);
	return rc;
}

/* The containers that are kept for the model, as text. */
static char *kept(const char *model)
{
	struct stored_model m = { 0 };
	char *text;

	CHECK_OK(store_model_find(api.store, str_of(model), &m, e));
	text = xstrdup(m.containers);
	for (char *p = text; *p; p++)
		*p = (char)(*p == '"' ? '\'' : *p);
	stored_model_fini(&m);
	return text;
}

#define CHECK_KEPT(model, want)                       \
	do {                                          \
		_cleanup_free_ char *k = kept(model); \
		CHECK_STR(k, want);                   \
	} while (0)

#define TAR                                                                                                   \
	"'ModelDataSource':{'S3Uri':'s3://bucket/m/model.tar.gz','S3DataType':'S3Object','CompressionType':'" \
	"Gzip'}"

TEST(what_runs_is_kept_beside_the_request)
{
	up();
	CHECK_OK(call(op_create_model,
	              "{'ModelName': 'One', 'PrimaryContainer': {'Image': 'img', 'ContainerHostname': 'no',"
	              " 'ModelDataUrl': 's3://bucket/m/model.tar.gz', 'Environment': {'A': 'b'}}}",
	              NULL, e));
	CHECK_KEPT("one", "[{'Name':'container-1','Image':'img','Environment':{'A':'b'}," TAR "}]");
	CHECK_OK(call(
	        op_create_model,
	        "{'ModelName': 'two', 'Containers': [{'Image': 'img', 'ContainerHostname': 'a'}, {'Image': 'h.x/y:1',"
	        " 'ContainerHostname': 'b', 'ModelDataSource': {'S3DataSource': {'S3Uri': 's3://bucket/m/tree/',"
	        " 'S3DataType': 'S3Prefix', 'CompressionType': 'None'}}}]}",
	        NULL, e));
	CHECK_KEPT(
	        "two",
	        "[{'Name':'a','Image':'img','Environment':{}},{'Name':'b','Image':'h.x/y:1','Environment':{},"
	        "'ModelDataSource':{'S3Uri':'s3://bucket/m/tree/','S3DataType':'S3Prefix','CompressionType':'None'}}]");
	CHECK_OK(call(op_create_model, "{'ModelName': 'three', 'Containers': [{'Image': 'img'}, {'Image': 'img'}]}",
	              NULL, e));
	CHECK_KEPT("three", "[{'Name':'container-1','Image':'img','Environment':{}},"
	                    "{'Name':'container-2','Image':'img','Environment':{}}]");
	down();
}

static bool is_pinned(void)
{
	_cleanup_free_ char *path = strf("%s/pins/" HEX, test_tmpdir());

	return access(path, F_OK) == 0;
}

TEST(a_model_of_a_package_has_its_containers_by_digest)
{
	json_t *out;
	struct err why = { 0 };

	up();
	CHECK_OK(call(op_create_model_package_group, "{'ModelPackageGroupName': 'Group'}", NULL, e));
	CHECK_OK(call(op_create_model_package,
	              "{'ModelPackageGroupName': '" ARN
	              "model-package-group/group', 'InferenceSpecification': {'Containers':"
	              " [{'Image': 'img', 'ModelDataUrl': 's3://bucket/m/model.tar.gz', 'Environment': {'A': '1', 'B': "
	              "'1'}}]},"
	              " 'AdditionalInferenceSpecifications': [{'Name': 'more', 'Containers': [{'Image': 'img',"
	              " 'ContainerHostname': 'x'}, {'Image': 'img', 'ContainerHostname': 'y'}]}]}",
	              &out, e));
	CHECK_STR(json_string_value(json_object_get(out, "ModelPackageArn")), ARN "model-package/group/1");
	json_decref(out);
	CHECK_OK(call(
	        op_create_model,
	        "{'ModelName': 'one', 'PrimaryContainer': {'ModelPackageName': 'Group/1', 'Environment': {'B': '2'}}}",
	        NULL, e));
	CHECK_KEPT("one",
	           "[{'Name':'container-1','Image':'img@sha256:" HEX "','Environment':{'A':'1','B':'2'}," TAR "}]");
	CHECK_OK(call(op_create_model,
	              "{'ModelName': 'two', 'PrimaryContainer': {'ModelPackageName': 'group/1',"
	              " 'InferenceSpecificationName': 'more', 'Environment': {'B': '2'}}}",
	              NULL, e));
	CHECK_KEPT("two", "[{'Name':'x','Image':'img@sha256:" HEX "','Environment':{'B':'2'}},"
	                  "{'Name':'y','Image':'img@sha256:" HEX "','Environment':{'B':'2'}}]");
	CHECK_OK(call(op_delete_model_package, "{'ModelPackageName': 'group/1'}", NULL, e));
	CHECK_KEPT("one",
	           "[{'Name':'container-1','Image':'img@sha256:" HEX "','Environment':{'A':'1','B':'2'}," TAR "}]");
	CHECK(is_pinned());
	CHECK_INT(call(op_create_model, "{'ModelName': 'new', 'PrimaryContainer': {'ModelPackageName': 'group/1'}}",
	               NULL, &why),
	          -1);
	CHECK_STR(why.frame[0], "ModelPackage " ARN "model-package/group/1 does not exist.");
	down();
}

TEST(an_image_stays_as_long_as_a_package_names_it)
{
	json_t *out;

	up();
	CHECK(!is_pinned());
	CHECK_OK(call(op_create_model_package,
	              "{'ModelPackageName': 'p', 'InferenceSpecification': {'Containers': [{'Image': 'img',"
	              " 'ImageDigest': 'SHA256:0123456789ABCDEF" HEX_TAIL "'}]}}",
	              NULL, e));
	CHECK(is_pinned());
	CHECK_OK(call(op_describe_model_package, "{'ModelPackageName': 'p'}", &out, e));
	CHECK_STR(json_string_value(json_object_get(
	                  json_array_get(json_object_get(json_object_get(out, "InferenceSpecification"), "Containers"),
	                                 0),
	                  "ImageDigest")),
	          "sha256:" HEX);
	json_decref(out);
	CHECK_OK(call(op_delete_model_package, "{'ModelPackageName': 'p'}", NULL, e));
	CHECK(!is_pinned());
	down();
}

TEST(a_digest_and_a_name_go_together)
{
	struct err why = { 0 };

	up();
	CHECK_INT(
	        call(op_create_model_package,
	             "{'ModelPackageName': 'p', 'InferenceSpecification': {'Containers': [{'Image': 'h.x/y@sha256:" HEX
	             "', 'ImageDigest': 'sha256:" OTHER "'}]}}",
	             NULL, &why),
	        -1);
	CHECK_STR(why.frame[0], "ImageDigest 'sha256:" OTHER "' is not the digest in Image 'h.x/y@sha256:" HEX "'");
	down();
}

TEST(packages_of_certified_algorithms_make_isolated_models)
{
	const struct store_new_algorithm a = { .name = "Alg",
		                               .arn = ARN "algorithm/alg",
		                               .status = "Completed",
		                               .image = "img",
		                               .details = "{}",
		                               .request = "{\"CertifyForMarketplace\":true,\"InferenceSpecification\":"
		                                          "{\"Containers\":[{\"Image\":\"img\"}]}}",
		                               .created = { 1 } };
	int64_t n;
	json_t *out;

	up();
	CHECK_OK(store_algorithm_insert(api.store, &a, &n, e));
	CHECK_OK(
	        call(op_create_model_package,
	             "{'ModelPackageName': 'p', 'SourceAlgorithmSpecification': {'SourceAlgorithms': [{'AlgorithmName':"
	             " 'alg', 'ModelDataUrl': 's3://bucket/m/model.tar.gz'}]}}",
	             NULL, e));
	CHECK_OK(call(
	        op_create_model,
	        "{'ModelName': 'm', 'PrimaryContainer': {'ModelPackageName': 'p'}, 'EnableNetworkIsolation': false}",
	        NULL, e));
	CHECK_KEPT("m", "[{'Name':'container-1','Image':'img@sha256:" HEX "','Environment':{}," TAR "}]");
	CHECK_OK(call(op_describe_model, "{'ModelName': 'm'}", &out, e));
	CHECK(json_is_true(json_object_get(out, "EnableNetworkIsolation")));
	json_decref(out);
	CHECK_OK(call(op_describe_model_package, "{'ModelPackageName': 'p'}", &out, e));
	CHECK(!json_object_get(out, PACKAGE_ISOLATED)); /* ours, not the API's */
	json_decref(out);
	down();
}
