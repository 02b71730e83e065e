/* What the server has beside AWS's APIs: who gets in, and what they are told. Real server, store and objects.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "op/own.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/hash.h"
#include "blob/blob.h"
#include "harness.h"
#include "joblog/joblog.h"
#include "http/client.h"
#include "http/server.h"
#include "op/metrics.h"
#include "series/series.h"
#include "store/store.h"

#define KEY_ID "AKIDEXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define FEEDS                                                                                                       \
	"{\"at\":1700000000123,\"host\":\"algo-1\",\"channels\":[{\"channel\":\"train\",\"mode\":\"Pipe\",\"way\":" \
	"\"piped\",\"objects\":2,\"bytes\":10,\"feed\":{\"epoch\":1,\"epochs\":2,\"objects\":3,\"bytes\":15,"       \
	"\"stalls_reader\":4,\"stalls_store\":5,\"wait_reader_ms\":6000,\"wait_store_ms\":7000,"                    \
	"\"active_ms\":20000},\"bottleneck\":\"data\"}]}"

static const struct access_key keys[] = {
	{ KEY_ID, SECRET, NULL, NULL },
	{ "ASIATEMPORARY", "temporary", "token", NULL },
};

struct fixture {
	struct api api;
	struct http_server *server;
	struct http_client *client;
	struct http_reply reply;
	char host[32];
};

static void open_fixture(struct fixture *f)
{
	_cleanup_free_ char *db = strf("%s/jobs.db", test_tmpdir());

	*f = (struct fixture){ .api = { .account = "123456789012",
		                        .region = "us-east-1",
		                        .data_dir = test_tmpdir(),
		                        .keys = keys,
		                        .key_count = ARRAY_LEN(keys) } };
	CHECK_OK(blob_open(test_tmpdir(), &f->api.blobs, e));
	CHECK_OK(blob_bucket_create(f->api.blobs, STR("metrics"), e));
	CHECK_OK(blob_bucket_create(f->api.blobs, STR("bloomery"), e));
	CHECK_OK(store_open(db, &f->api.store, e));
	f->client = http_client_new();
	CHECK_OK(http_server_start("127.0.0.1", 0, NULL, api_route, &f->api, &f->server, e));
	snprintf(f->host, sizeof(f->host), "127.0.0.1:%u", http_server_port(f->server));
}

static void close_fixture(struct fixture *f)
{
	http_reply_fini(&f->reply);
	http_client_free(f->client);
	http_server_stop(f->server);
	store_close(f->api.store);
	blob_close(f->api.blobs);
}

static int64_t add_job(struct fixture *f, const char *name, const char *id, int64_t created_ms)
{
	_cleanup_free_ char *arn = strf("arn:aws:sagemaker:us-east-1:123456789012:training-job/%s", name);
	struct store_new_job j = { .id = id,
		                   .name = name,
		                   .arn = arn,
		                   .request = "{}",
		                   .echo = "a\nb\nc",
		                   .needs = "{}",
		                   .created.ms = created_ms };
	int64_t n = 0;

	CHECK_OK(store_job_insert(f->api.store, &j, &n, e));
	return n;
}

static void put_feeds(const char *id, struct str text)
{
	_cleanup_free_ char *dir = strf("%s/jobs/%s", test_tmpdir(), id), *path = strf("%s/feeds.json", dir);

	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	CHECK_OK(file_put(AT_FDCWD, path, text, 0644, e));
}

static int send_request(struct fixture *f, const char *method, const char *target, const char *const *headers)
{
	_cleanup_free_ char *url = strf("http://%s%s", f->host, target);
	struct http_call call = { .method = method,
		                  .url = url,
		                  .headers = headers,
		                  .body = STR(""),
		                  .body_fd = -EBADF,
		                  .max_reply = 1 << 20 };

	http_reply_fini(&f->reply);
	f->reply = (struct http_reply){ 0 };
	CHECK_OK(http_client_call(f->client, &call, &f->reply, e));
	return f->reply.status;
}

static int ask_signed(struct fixture *f, const char *method, const char *target, const char *service,
                      const char *secret)
{
	_cleanup_buf_ struct buf lines = { 0 }, hash = { 0 };
	struct sig_header host = { STR("Host"), str_of(f->host) };
	struct sig_request q = { str_of(method), { 0 }, str_of(target), &host, 1 };
	const char *headers[8] = { 0 };
	unsigned char digest[SHA256_BYTES];
	size_t n = 0;

	q.path = str_cut(&q.query, '?');
	sha256(STR(""), digest);
	buf_hex(&hash, digest, sizeof(digest));
	sigv4_sign(&q, STR(KEY_ID), str_of(secret), STR(""), STR("us-east-1"), str_of(service), buf_view(&hash),
	           wall_now(), &lines);
	for (char *p = lines.p; *p; p++) {
		headers[n++] = p;
		p = strchr(p, '\n');
		*p = 0;
	}
	return send_request(f, method, target, headers);
}

static int ask_basic(struct fixture *f, const char *target, const char *pair)
{
	_cleanup_buf_ struct buf header = { 0 };

	buf_z(&header, "Authorization: Basic ");
	buf_base64(&header, pair, strlen(pair));
	return send_request(f, "GET", target, (const char *const[]){ header.p, NULL });
}

#define CHECK_HAS(text, part)                                                                                     \
	do {                                                                                                      \
		const char *text_ = (text);                                                                       \
		if (!text_ || !strstr(text_, part))                                                               \
			test_failed(__FILE__, __LINE__, "no '%s' in:\n%.2000s", part, text_ ? text_ : "nothing"); \
	} while (0)

static bool header_is(const struct fixture *f, const char *name, const char *want)
{
	struct str got;

	return http_reply_header(&f->reply, name, &got) && str_is(got, want);
}

TEST(basic_credentials_are_compared_whole)
{
	struct api api = { .keys = keys, .key_count = ARRAY_LEN(keys) };
	static const char *const bad[] = { "",
		                           KEY_ID,
		                           KEY_ID ":",
		                           KEY_ID ":" SECRET "x",
		                           KEY_ID ":wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKE",
		                           ":" SECRET,
		                           "x" KEY_ID ":" SECRET,
		                           "ASIATEMPORARY:temporary",
		                           "ASIATEMPORARY:temporary:token" };
	_cleanup_buf_ struct buf good = { 0 }, huge = { 0 };

	buf_base64(&good, KEY_ID ":" SECRET, strlen(KEY_ID ":" SECRET));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		_cleanup_buf_ struct buf header = { 0 };

		buf_z(&header, "Basic ");
		buf_base64(&header, bad[i], strlen(bad[i]));
		CHECK(!own_basic_key(&api, buf_view(&header)));
	}
	{
		static const char *const spelled[] = { "Basic %s", "basic %s", "BASIC   %s  " };
		static const char *const not_so[] = { "%s", "Basic%s", "Bearer %s", "Basic %s%%", "Basic =%s" };

		for (size_t i = 0; i < ARRAY_LEN(spelled); i++) {
			_cleanup_free_ char *header = strf(spelled[i], good.p);

			CHECK(own_basic_key(&api, str_of(header)) == &keys[0]);
		}
		for (size_t i = 0; i < ARRAY_LEN(not_so); i++) {
			_cleanup_free_ char *header = strf(not_so[i], good.p);

			CHECK(!own_basic_key(&api, str_of(header)));
		}
	}
	buf_z(&huge, "Basic ");
	while (huge.n < 1 << 20)
		buf_c(&huge, 'A');
	CHECK(!own_basic_key(&api, buf_view(&huge)));
}

TEST(nobody_gets_in_without_the_key)
{
	static const char *const paths[] = { "/metrics", "/bloomery/jobs/one/feeds" };
	struct fixture f;

	open_fixture(&f);
	add_job(&f, "one", "0000000000000001", wall_now().ms);
	put_feeds("0000000000000001", STR(FEEDS));
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		CHECK_INT(ask_basic(&f, paths[i], KEY_ID ":wrong"), 401);
		CHECK(header_is(&f, "WWW-Authenticate", "Basic realm=\"bloomery\", charset=\"UTF-8\""));
		CHECK_HAS(f.reply.body.p, "UnrecognizedClientException");
		CHECK_INT(ask_basic(&f, paths[i], "ASIATEMPORARY:temporary"), 401);
		CHECK_INT(ask_signed(&f, "GET", paths[i], "bloomery", "wrong"), 401);
		CHECK_HAS(f.reply.body.p, "InvalidSignatureException");
		CHECK(!strstr(f.reply.body.p, "piped"));
		CHECK_INT(ask_basic(&f, paths[i], KEY_ID ":" SECRET), 200);
		CHECK_INT(ask_signed(&f, "GET", paths[i], "bloomery", SECRET), 200);
	}
	CHECK_INT(send_request(&f, "GET", "/metrics", NULL), 401);
	CHECK(header_is(&f, "WWW-Authenticate", "Basic realm=\"bloomery\", charset=\"UTF-8\""));
	CHECK_HAS(f.reply.body.p, "MissingAuthenticationTokenException");
	CHECK_INT(send_request(&f, "GET", "/metrics", (const char *const[]){ "Authorization: Bearer x", NULL }), 401);
	CHECK_INT(send_request(&f, "GET", "/metrics", (const char *const[]){ "Authorization: Basic", NULL }), 401);
	CHECK_INT(ask_signed(&f, "GET", "/metrics", "sagemaker", SECRET), 200);
	CHECK_INT(ask_signed(&f, "GET", "/metrics", "sagemaker", "wrong"), 401);
	/* unsigned, this is an object of a bucket: S3 refuses it */
	CHECK_INT(send_request(&f, "GET", "/bloomery/jobs/one/feeds", NULL), 403);
	CHECK_HAS(f.reply.body.p, "<Code>AccessDenied</Code>");
	close_fixture(&f);
}

TEST(buckets_of_these_names_stay_buckets)
{
	struct fixture f;

	open_fixture(&f);
	CHECK_INT(ask_signed(&f, "GET", "/metrics", "s3", SECRET), 200);
	CHECK_HAS(f.reply.body.p, "<ListBucketResult");
	CHECK_INT(ask_signed(&f, "GET", "/bloomery/jobs/one/feeds", "s3", SECRET), 404);
	CHECK_HAS(f.reply.body.p, "<Code>NoSuchKey</Code>");
	CHECK_INT(ask_signed(&f, "GET", "/metrics", "s3", "wrong"), 403);
	CHECK_HAS(f.reply.body.p, "<Code>SignatureDoesNotMatch</Code>");
	close_fixture(&f);
}

TEST(feeds_of_a_job)
{
	struct fixture f;

	open_fixture(&f);
	add_job(&f, "One", "0000000000000001", 1);
	CHECK_INT(ask_signed(&f, "GET", "/bloomery/jobs/One/feeds", "bloomery", SECRET), 200);
	CHECK_STR(f.reply.body.p, "{\"TrainingJobName\":\"One\",\"Feeds\":[]}");
	put_feeds("0000000000000001", STR(FEEDS));
	CHECK_INT(ask_signed(&f, "GET", "/bloomery/jobs/one/feeds", "bloomery", SECRET), 200);
	CHECK(header_is(&f, "Content-Type", "application/json"));
	CHECK_STR(f.reply.body.p, "{\"TrainingJobName\":\"One\",\"Feeds\":[" FEEDS "]}");
	put_feeds("0000000000000001", STR("{\"at\":1"));
	CHECK_INT(ask_signed(&f, "GET", "/bloomery/jobs/one/feeds", "bloomery", SECRET), 500);
	CHECK_HAS(f.reply.body.p, "feeds.json: not a JSON object");
	close_fixture(&f);
}

TEST(definitions_of_a_job)
{
	_cleanup_free_ char *dir = strf("%s/jobs/0000000000000001/metrics", test_tmpdir()),
	                    *path = strf("%s/algo-1", dir);
	struct joblog *l = NULL;
	struct fixture f;

	open_fixture(&f);
	add_job(&f, "One", "0000000000000001", 1);
	CHECK_INT(ask_signed(&f, "GET", "/bloomery/jobs/One/definitions", "bloomery", SECRET), 200);
	CHECK_STR(f.reply.body.p, "{\"TrainingJobName\":\"One\",\"MetricDefinitions\":[]}");
	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	CHECK_OK(joblog_open(path, &l, e));
	CHECK_OK(joblog_add_lines(
	        l, (struct wall){ 1 }, LOG_FROM_CONTAINER,
	        STR("{\"counts\":[{\"lines\":1}]}\n{\"counts\":[{\"lines\":2}],\"counted_at\":16}\n{\"at\":16}\n"), e));
	CHECK_OK(joblog_close(l, e));
	CHECK_INT(ask_signed(&f, "GET", "/bloomery/jobs/one/definitions", "bloomery", SECRET), 200);
	CHECK_STR(f.reply.body.p, "{\"TrainingJobName\":\"One\",\"MetricDefinitions\":[{\"host\":\"algo-1\",\"counts\":"
	                          "[{\"lines\":2}]}]}");
	close_fixture(&f);
}

TEST(paths_that_are_not_there)
{
	static const char *const paths[] = {
		"/bloomery/jobs/nobody/feeds",
		"/bloomery/jobs//feeds",
		"/bloomery/jobs/one",
		"/bloomery/jobs/one/",
		"/bloomery/jobs/one/feeds/",
		"/bloomery/jobs/one/feeds/x",
		"/bloomery/jobs/one%00/feeds",
		"/bloomery/jobs/%2e%2e/feeds",
		"/bloomery/jobs/..%2f..%2fetc/feeds",
		"/bloomery/jobs/one%/feeds",
		"/bloomery/jobs/one%0a/feeds",
		"/bloomery/jobs/%ff/feeds",
		"/bloomery/jobs/one'%20OR%201=1/feeds",
		"/bloomery/jobs/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/feeds", /* 64 */
		"/bloomery/",
		"/",
		"/metrics/",
		"/metricsx",
	};
	struct fixture f;

	open_fixture(&f);
	add_job(&f, "one", "0000000000000001", 1);
	put_feeds("0000000000000001", STR(FEEDS));
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		if (ask_basic(&f, paths[i], KEY_ID ":" SECRET) != 404)
			test_failed(__FILE__, __LINE__, "%s: %d", paths[i], f.reply.status);
		CHECK_HAS(f.reply.body.p, "\"__type\":\"ResourceNotFound\"");
	}
	CHECK_INT(ask_signed(&f, "PUT", "/metrics", "bloomery", SECRET), 405);
	CHECK(header_is(&f, "Allow", "GET"));
	CHECK_INT(ask_basic(&f, "/bloomery/jobs/%6fne/feeds?x=1", KEY_ID ":" SECRET), 200);
	close_fixture(&f);
}

/* Moves a job to its end. */
static void end_job(struct fixture *f, int64_t n, int64_t ended_ms)
{
	struct store_move m = {
		.n = n, .from = JOB_STARTING, .to = JOB_FAILED, .at.ms = ended_ms, .ended.ms = ended_ms
	};

	CHECK_OK(store_job_move(f->api.store, &m, e));
}

TEST(metrics_tell_of_jobs_that_run_and_of_those_that_have_just_ended)
{
	int64_t now = wall_now().ms, old = now - 1000LL * METRICS_KEEP_S - 5000;
	struct fixture f;

	open_fixture(&f);
	add_job(&f, "runs-long", "0000000000000001", old);
	end_job(&f, add_job(&f, "ended-now", "0000000000000002", old), now);
	end_job(&f, add_job(&f, "ended-before", "0000000000000003", old), old);
	add_job(&f, "no-channels", "0000000000000004", now);
	add_job(&f, "damaged", "0000000000000005", now);
	for (int i = 1; i <= 3; i++)
		put_feeds((const char *[]){ "0000000000000001", "0000000000000002", "0000000000000003" }[i - 1],
		          STR(FEEDS));
	put_feeds("0000000000000005", STR("[]"));
	CHECK_INT(ask_basic(&f, "/metrics", KEY_ID ":" SECRET), 200);
	CHECK(header_is(&f, "Content-Type", "text/plain; version=0.0.4; charset=utf-8"));
	CHECK_HAS(f.reply.body.p, "\nbloomery_channel_bytes_total{training_job=\"runs-long\",host=\"algo-1\","
	                          "channel=\"train\"} 15\n");
	CHECK_HAS(f.reply.body.p, "\nbloomery_channel_wait_seconds_total{training_job=\"ended-now\",host=\"algo-1\","
	                          "channel=\"train\",for=\"data\"} 7.000\n");
	CHECK(!strstr(f.reply.body.p, "ended-before"));
	CHECK(!strstr(f.reply.body.p, "_info{training_job=\"no-channels\",host"));
	CHECK_HAS(f.reply.body.p, "\nbloomery_training_job_info{training_job=\"no-channels\",status=\"InProgress\","
	                          "secondary_status=\"Starting\"} 1\n");
	CHECK_HAS(f.reply.body.p, "\nbloomery_training_job_info{training_job=\"ended-now\",status=\"Failed\","
	                          "secondary_status=\"Failed\"} 1\n");
	CHECK_HAS(f.reply.body.p, "\nbloomery_training_job_hosts{training_job=\"runs-long\"} 1\n");
	CHECK_HAS(f.reply.body.p, "\nbloomery_feeds_unreadable 1\n");
	CHECK_HAS(f.reply.body.p, "\nbloomery_feeds_omitted 0\n");
	CHECK_HAS(f.reply.body.p, "\nbloomery_jobs{status=\"InProgress\"} 3\n");
	CHECK_HAS(f.reply.body.p, "\nbloomery_jobs{status=\"Failed\"} 2\n");
	CHECK_HAS(f.reply.body.p, "\nbloomery_jobs_unfinished{secondary_status=\"Starting\"} 3\n");
	close_fixture(&f);
}

TEST(metrics_have_the_last_values_of_each_job)
{
	_cleanup_free_ char *path = strf("%s/metrics.db", test_tmpdir());
	_cleanup_(series_batch_freep) struct series_batch *b = series_batch_new();
	struct wall now = wall_now();
	const struct str job = STR("0000000000000001");
	struct fixture f;

	open_fixture(&f);
	CHECK_OK(series_store_open(path, &f.api.series, e));
	add_job(&f, "one", job.p, now.ms);
	series_batch_value(b,
	                   &(struct series_value){ .job = job, .metric = STR("a \"b\"\n\\"), .at = now, .value = 0.1 });
	series_batch_value(
	        b, &(struct series_value){ .job = job, .metric = STR("loss"), .at = { now.ms - 1 }, .value = 2 });
	series_batch_value(
	        b, &(struct series_value){ .job = job, .metric = STR("loss"), .at = { now.ms - 2 }, .value = 3 });
	series_batch_sample(b, job, STR("algo-1"), STR("CPUUtilization"), now, 12.5);
	CHECK_OK(series_commit(f.api.series, b, now, false, e));
	CHECK_INT(ask_basic(&f, "/-/metrics", KEY_ID ":" SECRET), 200);
	CHECK_HAS(f.reply.body.p,
	          "\n# TYPE bloomery_training_job_metric gauge\n"
	          "bloomery_training_job_metric{training_job=\"one\",metric=\"a \\\"b\\\"\\n\\\\\"} 0.1\n"
	          "bloomery_training_job_metric{training_job=\"one\",metric=\"loss\"} 2\n#");
	CHECK_HAS(f.reply.body.p, "\nbloomery_training_job_instance{training_job=\"one\",host=\"algo-1\",metric="
	                          "\"CPUUtilization\"} 12.5\n#");
	CHECK_HAS(f.reply.body.p, "\nbloomery_training_job_values_omitted 0\n");
	CHECK_INT(ask_basic(&f, "/-/metrics", KEY_ID ":wrong"), 401);
	series_store_close(f.api.series);
	close_fixture(&f);
}

TEST(the_process_is_measured)
{
	struct fixture f;
	struct metrics m;

	open_fixture(&f);
	CHECK_OK(metrics_collect(&f.api, &m, e));
	CHECK(m.start_s > (double)wall_now().ms / 1000 - 300 && m.start_s < (double)wall_now().ms / 1000 + 5);
	CHECK(m.resident_bytes > 100000 && m.virtual_bytes >= m.resident_bytes);
	CHECK(m.open_fds >= 3 && m.max_fds >= m.open_fds);
	CHECK(m.cpu_s > 0 && m.disk_bytes >= m.disk_free_bytes && m.disk_bytes);
	metrics_fini(&m);
	close_fixture(&f);
}

TEST(metrics_are_bounded)
{
	struct fixture f;
	struct metrics m;
	size_t channels = 0;

	open_fixture(&f);
	for (int i = 0; i < METRICS_JOBS + 5; i++) {
		_cleanup_free_ char *name = strf("j-%d", i), *id = strf("%016x", i + 1);

		add_job(&f, name, id, i + 1);
		put_feeds(id, STR(FEEDS));
	}
	CHECK_OK(metrics_collect(&f.api, &m, e));
	for (size_t i = 0; i < m.job_count; i++)
		channels += m.jobs[i].feeds.count;
	CHECK_INT(m.job_count, METRICS_JOBS);
	CHECK(channels <= METRICS_CHANNELS);
	CHECK_INT(m.omitted, 5);
	CHECK_STR(m.jobs[0].name, "j-1004"); /* the newest come first */
	metrics_fini(&m);
	close_fixture(&f);
}
