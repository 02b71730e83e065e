/* Transform jobs as bloomeryd has them: their work orders, and what becomes of the facts of their hosts.
 * SPDX-License-Identifier: Apache-2.0 */
#include <sqlite3.h>

#include "jobdir/list.h"
#include "job_world.h"

enum { HOSTS_MAX = 2 };

#define TRANSFORM                                                                                                      \
	"{\"TransformJobName\":\"x\",\"ModelName\":\"m\",\"RoleArn\":\"arn:aws:iam::000000000000:role/r\","            \
	"\"TransformInput\":{\"DataSource\":{\"S3DataSource\":{\"S3DataType\":\"S3Prefix\",\"S3Uri\":\"s3://data/d/"   \
	"\"}},"                                                                                                        \
	"\"ContentType\":\"text/csv\",\"CompressionType\":\"Gzip\",\"SplitType\":\"Line\"},"                           \
	"\"TransformOutput\":{\"S3OutputPath\":\"s3://out/p/\"},"                                                      \
	"\"bloomery:Containers\":[{\"Name\":\"first\",\"Image\":\"img@sha256:1\",\"Environment\":{\"A\":\"1\"},"       \
	"\"ModelDataSource\":{\"S3Uri\":\"s3://data/m/model.tar.gz\",\"S3DataType\":\"S3Object\",\"CompressionType\":" \
	"\"Gzip\"}},{\"Name\":\"second\",\"Image\":\"img2\",\"Provider\":\"arn:p\",\"ModelDataSource\":{\"S3Uri\":"    \
	"\"s3://data/m/\",\"S3DataType\":\"S3Prefix\",\"CompressionType\":\"None\"}},{\"Name\":\"third\",\"Image\":"   \
	"\"img3\"}]}"

static char ids[HOSTS_MAX + 1][JOB_ID_BYTES]; /* by number */

static void note_id(const struct store_place *p, void *arg)
{
	(void)arg;
	memcpy(ids[p->host], p->id, JOB_ID_BYTES);
}

static bool without_bucket;

static void start(const char *name, unsigned hosts)
{
	struct capacity_needs n = { .instance_type = (char *)"ml.m5.large",
		                    .cpus = 0.5,
		                    .memory_bytes = 256 << 20,
		                    .volume_bytes = 1 << 30,
		                    .hosts = hosts > 1 ? hosts : 0 };
	_cleanup_free_ char *arn = strf("arn:aws:sagemaker:us-east-1:000000000000:transform-job/%s", name);
	struct jobs_create c = { .kind = KIND_TRANSFORM,
		                 .name = name,
		                 .arn = arn,
		                 .request = TRANSFORM,
		                 .echo = "",
		                 .needs = &n,
		                 .created = wall_now() };

	if (!jobs)
		up();
	CHECK_OK(blob_bucket_create(blobs, STR("data"), e));
	if (!without_bucket)
		CHECK_OK(blob_bucket_create(blobs, STR("out"), e));
	put_object("data", "d/", "");
	put_object("data", "d/a.csv", "a");
	put_object("data", "d/b.csv", "bb");
	put_object("data", "m/model.tar.gz", "mmm");
	put_object("data", "m/model.tar.gz.old", "mmmm");
	CHECK_OK(jobs_create(jobs, &c, e));
	settle();
	CHECK_OK(store_job_each_host(store, KIND_TRANSFORM, str_of(name), note_id, NULL, e));
}

static void load(unsigned number, struct job_spec *ret)
{
	_cleanup_free_ char *dir = strf("%s/jobs/%s", test_tmpdir(), ids[number]);

	CHECK_OK(spec_load(dir, ret, e));
}

static void check_list(unsigned number, const char *leaf, const char *want)
{
	_cleanup_free_ char *path = strf("%s/jobs/%s/lists/%s", test_tmpdir(), ids[number], leaf);
	_cleanup_(list_closep) struct list_reader *r = NULL;
	_cleanup_buf_ struct buf got = { 0 };
	struct list_entry entry;

	CHECK_OK(list_open_fd(open(path, O_RDONLY | O_CLOEXEC), &r, e)); /* the hosts share it */
	while (list_next(r, &entry, NULL) > 0)
		buf_f(&got, PRIstr " ", ARGstr(entry.key));
	CHECK_STR(got.p, want);
}

TEST(the_work_orders_of_hosts)
{
	start("orders", 2);
	for (unsigned i = 1; i <= 2; i++) {
		_cleanup_free_ char *instance = strf("i-0%s", ids[i]);
		struct job_spec s = { 0 };

		load(i, &s);
		CHECK(spec_is_transform(&s) && !s.image && s.max_runtime_s == 0 && s.stop_grace_s == 30);
		CHECK_STR(s.instance, instance);
		CHECK_STR(s.output_bucket, "out");
		CHECK_STR(s.output_prefix, "p");
		CHECK_INT(s.channel_count, 1);
		CHECK_STR(s.channels[0].name, "input");
		CHECK_STR(s.channels[0].compression, "Gzip");
		CHECK_STR(s.channels[0].content_type, "text/csv");
		CHECK_INT(s.channels[0].share_number, i - 1);
		CHECK_INT(s.channels[0].share_count, 2);
		check_list(i, s.channels[0].list, "d/a.csv d/b.csv "); /* no folder, and all of it on every host */
		CHECK_INT(s.container_count, 3);
		CHECK_STR(s.containers[0].name, "first");
		CHECK_STR(s.containers[0].image, "img@sha256:1");
		CHECK_STR(json_string_value(json_object_get(s.containers[0].environment, "A")), "1");
		CHECK(s.containers[0].model && s.containers[0].model->gzip);
		CHECK_STR(s.containers[0].model->prefix, "m/model.tar.gz");
		check_list(i, s.containers[0].model->list, "m/model.tar.gz ");
		CHECK_STR(s.containers[1].image_provider, "arn:p");
		CHECK(s.containers[1].model && !s.containers[1].model->gzip);
		check_list(i, s.containers[1].model->list, "m/model.tar.gz m/model.tar.gz.old ");
		CHECK(!s.containers[2].model && json_object_size(s.containers[2].environment) == 0);
		spec_fini(&s);
	}
	down();
	jobs = NULL;
}

/* ---- facts ---- */

static uint64_t last[HOSTS_MAX + 1];

static void tell(unsigned number, enum fact_kind kind, json_t *args)
{
	fact_at(ids[number], ++last[number], kind, args, 1000);
}

static void serve(unsigned number)
{
	last[number] = 0;
	tell(number, FACT_STARTED, NULL);
	tell(number, FACT_DOWNLOADING, NULL);
	tell(number, FACT_TRAINING, NULL);
}

static json_t *outputs_fact(void)
{
	return json_pack("{s:s, s:i, s:i}", "file", "outputs", "count", 2, "bytes", 4);
}

static const char md5_of_one[] = "c4ca4238a0b923820dcc509a6f75849b"; /* "1" */

/* What a supervisor leaves in staged/: two outputs, both with the byte 1. */
static void stage(unsigned number)
{
	_cleanup_free_ char *dir = strf("%s/jobs/%s/staged", test_tmpdir(), ids[number]), *list = NULL;
	_cleanup_free_ char *first = strf("%s/0", dir), *second = strf("%s/1", dir), *path = strf("%s/outputs", dir);

	list = strf("{\"file\":\"0\",\"key\":\"p/%u/a.out\",\"size\":1,\"md5\":\"%s\"}\n"
	            "{\"file\":\"1\",\"key\":\"p/%u/b.out\",\"size\":1,\"md5\":\"%s\"}\n",
	            number, md5_of_one, number, md5_of_one);
	CHECK_OK(file_put(AT_FDCWD, first, STR("1"), 0644, e));
	CHECK_OK(file_put(AT_FDCWD, second, STR("1"), 0644, e));
	CHECK_OK(file_put(AT_FDCWD, path, str_of(list), 0644, e));
}

static unsigned count_outputs(unsigned number)
{
	static const char *const leaves[] = { "a.out", "b.out" };
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_LEN(leaves); i++) {
		_cleanup_free_ char *key = strf("p/%u/%s", number, leaves[i]);
		_cleanup_buf_ struct buf scratch = { 0 };
		struct blob_entry found;

		n += blob_find(blobs, STR("out"), str_of(key), &scratch, &found, NULL, NULL) == 0;
	}
	return n;
}

static void check_state(const char *name, enum job_state want, const char *reason)
{
	struct stored_job row = { 0 };

	CHECK_OK(store_job_find(store, KIND_TRANSFORM, str_of(name), &row, e));
	CHECK_STR(job_state_info[row.state].name, job_state_info[want].name);
	if (reason)
		CHECK_STR(row.failure_reason ? row.failure_reason : "", reason);
	stored_job_fini(&row);
}

static void is_gathered(void *arg)
{
	struct job *j = job_by_id(jobs, str_of(ids[1]));

	(void)arg;
	wait_over = !j || !j->gathering;
}

static void upload(unsigned number)
{
	stage(number);
	tell(number, FACT_UPLOADING, NULL);
	tell(number, FACT_OUTPUTS, outputs_fact());
}

TEST(outputs_are_objects_before_the_end_counts)
{
	start("one", 1);
	serve(1);
	upload(1);
	tell(1, FACT_ENDED, ended("ok", "")); /* too early */
	check_state("one", JOB_UPLOADING, NULL);
	buf_reset(&asked);
	wait_until(is_gathered, NULL);
	CHECK_INT(count_outputs(1), 2);
	CHECK_STR(asked.p, "watch>4 one; ");
	check_state("one", JOB_UPLOADING, NULL);
	fact_at(ids[1], 5, FACT_OUTPUTS, outputs_fact(), 1000);
	fact_at(ids[1], 6, FACT_ENDED, ended("ok", ""), 1000);
	check_state("one", JOB_COMPLETED, NULL);
	down();
	jobs = NULL;
}

TEST(a_restart_takes_the_rest_of_the_outputs)
{
	_cleanup_free_ char *gone = NULL;

	start("one", 1);
	serve(1);
	stage(1);
	tell(1, FACT_UPLOADING, NULL);
	gone = strf("%s/jobs/%s/staged/0", test_tmpdir(), ids[1]);
	CHECK_OK(blob_adopt(blobs, STR("out"), STR("p/1/a.out"), gone, 1, str_of(md5_of_one), e));
	put_object("out", "p/1/a.out", "not what it was"); /* a user was quick */
	restart();
	CHECK_STR(asked.p, "watch>4 one; ");
	fact_at(ids[1], 5, FACT_OUTPUTS, outputs_fact(), 1000);
	wait_until(is_gathered, NULL);
	CHECK_INT(count_outputs(1), 2);
	fact_at(ids[1], 5, FACT_OUTPUTS, outputs_fact(), 1000);
	fact_at(ids[1], 6, FACT_ENDED, ended("ok", ""), 1000);
	check_state("one", JOB_COMPLETED, NULL);
	down();
	jobs = NULL;
}

/* As if a commit had not happened: the file has been moved, and nothing knows of it. */
static void forget_outputs(void)
{
	_cleanup_free_ char *db = strf("%s/objects.db", test_tmpdir());
	sqlite3 *sqlite;

	CHECK_INT(sqlite3_open(db, &sqlite), SQLITE_OK);
	sqlite3_busy_timeout(sqlite, 60000);
	CHECK_INT(sqlite3_exec(sqlite, "DELETE FROM object; DELETE FROM adopted", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(sqlite);
}

TEST(a_kill_between_an_outputs_file_and_its_commit_loses_nothing)
{
	_cleanup_free_ char *moved = NULL;

	start("one", 1);
	serve(1);
	stage(1);
	tell(1, FACT_UPLOADING, NULL);
	moved = strf("%s/jobs/%s/staged/0", test_tmpdir(), ids[1]);
	CHECK_OK(blob_adopt(blobs, STR("out"), STR("p/1/a.out"), moved, 1, str_of(md5_of_one), e));
	forget_outputs();
	CHECK_INT(count_outputs(1), 0);
	restart();
	fact_at(ids[1], 5, FACT_OUTPUTS, outputs_fact(), 1000);
	wait_until(is_gathered, NULL);
	CHECK_INT(count_outputs(1), 2);
	down();
	jobs = NULL;
}

TEST(outputs_that_are_gone_are_the_reason)
{
	_cleanup_free_ char *gone = NULL;

	start("one", 1);
	serve(1);
	stage(1);
	gone = strf("%s/jobs/%s/staged/1", test_tmpdir(), ids[1]);
	CHECK(unlink(gone) == 0);
	tell(1, FACT_UPLOADING, NULL);
	tell(1, FACT_OUTPUTS, outputs_fact());
	wait_until(is_gathered, NULL);
	fact_at(ids[1], 5, FACT_OUTPUTS, outputs_fact(), 1000);
	fact_at(ids[1], 6, FACT_ENDED, ended("ok", ""), 1000);
	check_state("one", JOB_FAILED,
	            "ClientError: The output s3://out/p/1/b.out cannot be stored: its host does not have it any more");
	down();
	jobs = NULL;
}

TEST(outputs_that_cannot_be_stored_are_the_reason)
{
	struct stored_job row = { 0 };

	without_bucket = true;
	start("one", 1);
	serve(1);
	upload(1);
	wait_until(is_gathered, NULL);
	fact_at(ids[1], 5, FACT_OUTPUTS, outputs_fact(), 1000);
	fact_at(ids[1], 6, FACT_ENDED, ended("ok", ""), 1000);
	check_state("one", JOB_FAILED, NULL);
	CHECK_OK(store_job_find(store, KIND_TRANSFORM, STR("one"), &row, e));
	CHECK(row.failure_reason &&
	      strstr(row.failure_reason, ".out cannot be stored: its bucket was deleted while")); /* one of them */
	stored_job_fini(&row);
	down();
	jobs = NULL;
}

TEST(a_stopped_job_stores_nothing)
{
	start("one", 1);
	serve(1);
	CHECK_OK(jobs_stop(jobs, KIND_TRANSFORM, STR("one"), e));
	upload(1); /* it was too late for the supervisor */
	tell(1, FACT_ENDED, ended("ok", ""));
	check_state("one", JOB_STOPPED, NULL);
	CHECK_INT(count_outputs(1), 0);
	down();
	jobs = NULL;
}

/* ---- of several hosts ---- */

TEST(outputs_of_hosts_are_taken_when_all_have_ended)
{
	start("two", 2);
	serve(1);
	serve(2);
	upload(1);
	tell(1, FACT_ENDED, ended("ok", ""));
	CHECK_INT(count_outputs(1), 0);
	restart();
	upload(2);
	tell(2, FACT_ENDED, ended("ok", ""));
	wait_until(is_gathered, NULL);
	CHECK(count_outputs(1) == 2 && count_outputs(2) == 2);
	check_state("two", JOB_COMPLETED, NULL);
	down();
	jobs = NULL;
}

TEST(a_host_that_fails_stops_no_other)
{
	_cleanup_free_ char *reason = NULL;

	start("two", 2);
	serve(1);
	serve(2);
	buf_reset(&asked);
	stage(1);
	tell(1, FACT_SALVAGING, NULL);
	tell(1, FACT_OUTPUTS, outputs_fact());
	tell(1, FACT_ENDED, ended("failed", "ClientError: a record is bad"));
	CHECK(!asked.n || !strstr(asked.p, "stop"));
	upload(2);
	tell(2, FACT_ENDED, ended("ok", ""));
	wait_until(is_gathered, NULL);
	CHECK(count_outputs(1) == 2 && count_outputs(2) == 2); /* what went well is kept */
	reason = strf("ClientError: a record is bad (i-0%s was the first of 2 hosts to fail)", ids[1]);
	check_state("two", JOB_FAILED, reason);
	down();
	jobs = NULL;
}

TEST(hosts_that_are_stopped_store_nothing)
{
	start("two", 2);
	serve(1);
	serve(2);
	upload(1);
	tell(1, FACT_ENDED, ended("ok", ""));
	CHECK_OK(jobs_stop(jobs, KIND_TRANSFORM, STR("two"), e));
	tell(2, FACT_STOPPING, json_pack("{s:s}", "why", "stop"));
	tell(2, FACT_ENDED, ended("stopped", ""));
	check_state("two", JOB_STOPPED, NULL);
	CHECK_INT(count_outputs(1), 0);
	down();
	jobs = NULL;
}
