/* Jobs of several hosts: their facts, failures, losses and restarts. SPDX-License-Identifier: Apache-2.0 */

#include "artifact/artifact.h"
#include "job_world.h"

enum { HOSTS_MAX = 4 };

static void create_hosts(const char *name, double cpus, unsigned hosts, const char *more)
{
	struct capacity_needs n = { .instance_type = (char *)"ml.m5.large",
		                    .cpus = cpus,
		                    .memory_bytes = 256 << 20,
		                    .volume_bytes = 1 << 30,
		                    .hosts = hosts };
	_cleanup_free_ char *arn = strf("arn:aws:sagemaker:us-east-1:000000000000:training-job/%s", name);
	_cleanup_free_ char *request = strf(REQUEST, more);
	struct jobs_create c = {
		.name = name, .arn = arn, .request = request, .echo = "", .needs = &n, .created = wall_now()
	};

	CHECK_OK(jobs_create(jobs, &c, e));
}

static char ids[HOSTS_MAX + 1][JOB_ID_BYTES]; /* by number */

static void note_id(const struct store_place *p, void *arg)
{
	(void)arg;
	memcpy(ids[p->host], p->id, JOB_ID_BYTES);
}

static void start_hosts(const char *name, unsigned hosts)
{
	create_hosts(name, 0.5, hosts, "");
	settle();
	CHECK_OK(store_job_each_host(store, KIND_TRAINING, str_of(name), note_id, NULL, e));
}

/* Where host `number` is after the fact of that kind, with the facts that come before. */
static uint64_t last[HOSTS_MAX + 1];

static void tell(unsigned number, enum fact_kind kind, json_t *args, int64_t at)
{
	fact_at(ids[number], ++last[number], kind, args, at);
}

static void ready(unsigned number)
{
	last[number] = 0;
	tell(number, FACT_STARTED, NULL, 1000);
	tell(number, FACT_DOWNLOADING, NULL, 1000);
	tell(number, FACT_READY, NULL, 2000);
}

static void train(unsigned hosts)
{
	for (unsigned i = 1; i <= hosts; i++)
		ready(i);
	for (unsigned i = 1; i <= hosts; i++)
		tell(i, FACT_TRAINING, NULL, 3000);
}

static void finish(unsigned number, int64_t at)
{
	tell(number, FACT_EXITED, json_pack("{s:i}", "code", 0), at);
	tell(number, FACT_UPLOADING, NULL, at);
	tell(number, FACT_ENDED, ended("ok", ""), at);
}

static void fail(unsigned number, int64_t at, const char *reason)
{
	tell(number, FACT_EXITED, json_pack("{s:i}", "code", 1), at);
	tell(number, FACT_SALVAGING, NULL, at);
	tell(number, FACT_ENDED, ended("failed", reason), at + 1);
}

TEST(hosts_are_launched_start_and_end_together)
{
	up();
	start_hosts("demo", 2);
	CHECK_STR(asked.p, "launch demo/1; watch>0 demo/1; launch demo/2; watch>0 demo/2; ");
	CHECK(jobs->used.cpus == 1);
	buf_reset(&asked);
	ready(1);
	CHECK_INT(state_of("demo"), JOB_DOWNLOADING);
	CHECK(!asked.n); /* it waits for the other */
	ready(2);
	CHECK_STR(asked.p, "go demo/1; go demo/2; ");
	tell(2, FACT_TRAINING, NULL, 3000);
	CHECK_INT(state_of("demo"), JOB_TRAINING);
	tell(1, FACT_TRAINING, NULL, 3001);
	finish(2, 4000);
	CHECK_INT(state_of("demo"), JOB_TRAINING);
	CHECK(jobs->used.cpus == 0.5); /* what it had is free */
	finish(1, 5000);
	CHECK_SHOWN("demo", "Starting Downloading Training Uploading Completed");
	CHECK(jobs->used.cpus == 0 && !jobs->used.memory_bytes);
	CHECK(!strstr(asked.p, "stop") && !strstr(asked.p, "peer"));
	down();
}

TEST(the_first_by_its_own_clock_is_named)
{
	up();
	start_hosts("demo", 3);
	train(3);
	buf_reset(&asked);
	fail(2, 9000, "AlgorithmError: later");
	CHECK_INT(state_of("demo"), JOB_SALVAGING);
	CHECK(strstr(asked.p, "peer demo/1; ") && strstr(asked.p, "peer demo/3; ") && !strstr(asked.p, "peer demo/2"));
	fail(3, 8000, "AlgorithmError: sooner");
	CHECK_INT(state_of("demo"), JOB_SALVAGING);
	tell(1, FACT_STOPPING, json_pack("{s:s}", "why", "peer"), 9100);
	tell(1, FACT_ENDED, ended("stopped", ""), 9200);
	CHECK_SHOWN("demo", "Starting Downloading Training Uploading Failed (AlgorithmError: sooner (algo-3 was the "
	                    "first of 3 hosts to fail; the others were stopped))");
	CHECK(jobs->used.cpus == 0);
	down();
}

TEST(a_long_reason_still_names_the_host)
{
	_cleanup_free_ char *reason = xcalloc(1, 3000);
	struct store_description d = { 0 };

	memset(reason, 'x', 2999);
	up();
	start_hosts("demo", 2);
	train(2);
	finish(1, 4000);
	fail(2, 5000, reason);
	CHECK_OK(store_describe(store, KIND_TRAINING, STR("demo"), &d, e));
	CHECK_INT(strlen(d.job.failure_reason), 1024);
	CHECK(str_ends(str_of(d.job.failure_reason), STR("xx (algo-2 was the first of 2 hosts to fail)")));
	store_description_fini(&d);
	down();
}

TEST(a_lost_host_fails_the_job)
{
	up();
	start_hosts("demo", 2);
	train(2);
	buf_reset(&asked);
	events->on_lost(events_arg, str_of(ids[2]), STR("it was killed."), wall_now());
	CHECK_STR(asked.p, "peer demo/1; ");
	CHECK_INT(state_of("demo"), JOB_TRAINING);
	restart();
	CHECK(strstr(asked.p, "peer demo/1; ") && !strstr(asked.p, "demo/2"));
	CHECK(jobs->used.cpus == 0.5);
	tell(1, FACT_ENDED, ended("stopped", ""), 4000);
	CHECK_SHOWN("demo", "Starting Downloading Training Failed (InternalServerError: it was killed. (algo-2 was the "
	                    "first of 2 hosts to fail; the others were stopped))");
	down();
}

TEST(a_failure_before_the_start_keeps_the_others_from_starting)
{
	up();
	start_hosts("demo", 2);
	ready(1);
	last[2] = 0;
	tell(2, FACT_STARTED, NULL, 1000);
	buf_reset(&asked);
	tell(2, FACT_ENDED, ended("failed", "ClientError: no image"), 1500);
	CHECK_STR(asked.p, "peer demo/1; ");
	tell(1, FACT_ENDED, ended("stopped", ""), 1600);
	CHECK_SHOWN("demo",
	            "Starting Downloading Failed (ClientError: no image (algo-2 was the first of 2 hosts to fail; "
	            "the others were stopped))");
	down();
}

TEST(stopping_and_expiring_go_through_all)
{
	up();
	start_hosts("a", 2);
	train(2);
	finish(2, 3500);
	buf_reset(&asked);
	CHECK_OK(jobs_stop(jobs, KIND_TRAINING, STR("a"), e));
	CHECK_STR(asked.p, "stop a/1; "); /* the other is over */
	tell(1, FACT_STOPPING, json_pack("{s:s}", "why", "stop"), 4000);
	tell(1, FACT_EXITED, json_pack("{s:i}", "code", 143), 4000);
	tell(1, FACT_UPLOADING, NULL, 4000);
	tell(1, FACT_ENDED, ended("stopped", ""), 4000);
	CHECK_SHOWN("a", "Starting Downloading Training Stopping Stopped");
	start_hosts("b", 2);
	train(2);
	tell(1, FACT_EXPIRED, NULL, 5000);
	CHECK_INT(state_of("b"), JOB_EXPIRING);
	finish(2, 5000);
	tell(1, FACT_UPLOADING, NULL, 5000);
	tell(1, FACT_ENDED, ended("expired", ""), 5000);
	CHECK_SHOWN("b", "Starting Downloading Training Stopping MaxRuntimeExceeded");
	down();
}

TEST(go_is_said_again_after_a_restart)
{
	up();
	start_hosts("demo", 2);
	ready(1);
	restart();
	CHECK(!strstr(asked.p, "go"));
	CHECK(strstr(asked.p, "watch>3 demo/1; ") && strstr(asked.p, "launch demo/2; watch>0 demo/2; "));
	ready(2);
	CHECK(strstr(asked.p, "go demo/1; go demo/2; "));
	tell(1, FACT_TRAINING, NULL, 3000);
	restart();
	CHECK(strstr(asked.p, "go demo/2; ") && !strstr(asked.p, "go demo/1; "));
	down();
}

TEST(all_are_reserved_or_none)
{
	up();
	create("lone", 3);
	create_hosts("pair", 1, 2, "");
	create("small", 1);
	settle();
	CHECK_INT(state_of("lone"), JOB_LAUNCHING);
	CHECK_INT(state_of("pair"), JOB_PENDING);
	CHECK_INT(state_of("small"), JOB_PENDING);
	CHECK_INT(jobs->used.cpus, 3);
	CHECK_OK(jobs_stop(jobs, KIND_TRAINING, STR("pair"), e));
	CHECK_INT(state_of("pair"), JOB_STOPPED);
	settle();
	CHECK_INT(state_of("small"), JOB_ADMITTED);
	down();
}

TEST(each_host_has_its_share_of_the_same_lists)
{
	struct stat st;
	char name[16];

	up();
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "train/%d", i);
		put_object("data", name, "x");
	}
	create_hosts("demo", 0.5, 2,
	             ",\"InputDataConfig\":[{\"ChannelName\":\"train\",\"DataSource\":{\"S3DataSource\":{"
	             "\"S3DataType\":\"S3Prefix\",\"S3Uri\":\"s3://data/train\",\"S3DataDistributionType\":"
	             "\"ShardedByS3Key\"}}}]");
	settle();
	CHECK_OK(store_job_each_host(store, KIND_TRAINING, STR("demo"), note_id, NULL, e));
	for (unsigned i = 1; i <= 2; i++) {
		_cleanup_free_ char *dir = strf("%s/jobs/%s", test_tmpdir(), ids[i]), *list = strf("%s/lists/0", dir);
		struct job_spec s;

		CHECK_OK(spec_load(dir, &s, e));
		snprintf(name, sizeof(name), "algo-%u", i);
		CHECK_STR(s.id, ids[i]);
		CHECK_STR(s.host_name, name);
		CHECK(s.host_number == i && s.host_count == 2);
		CHECK_INT(s.channel_count, 1);
		CHECK(s.channels[0].share_number == i - 1 && s.channels[0].share_count == 2);
		CHECK(stat(list, &st) == 0 && st.st_nlink == 2);
		spec_fini(&s);
	}
	down();
}

/* A part as a host makes it: a tar without its end. */
static json_t *stage_part(unsigned number)
{
	_cleanup_free_ char *dir = strf("%s/jobs/%s/staged", test_tmpdir(), ids[number]);
	_cleanup_free_ char *tree = strf("%s/tree%u", test_tmpdir(), number), *file = strf("host%u", number);
	_cleanup_free_ char *path = strf("%s/model.tar.gz", dir);
	_cleanup_close_ int in = -EBADF, out = -EBADF;
	struct artifact_result r;

	mkdir(tree, 0755);
	in = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK_OK(file_put(in, file, str_of(file), 0644, e));
	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	out = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	CHECK_OK(artifact_pack(in, out, &(struct artifact_options){ .part = true }, &r, e));
	return json_pack("{s:s, s:s, s:s, s:I, s:s, s:b}", "bucket", "out", "key", "p/demo/output/model.tar.gz", "file",
	                 "model.tar.gz", "size", (json_int_t)r.bytes_out, "md5", r.md5, "part", 1);
}

static void is_gone(void *arg)
{
	wait_over = !live(arg);
}

static bool artifact_there(uint64_t *ret_size)
{
	_cleanup_buf_ struct buf scratch = { 0 };
	struct blob_entry found;

	if (blob_find(blobs, STR("out"), STR("p/demo/output/model.tar.gz"), &scratch, &found, NULL, NULL) < 0)
		return false;
	*ret_size = found.size;
	return true;
}

static void end_with_parts(void)
{
	start_hosts("demo", 2);
	train(2);
	for (unsigned i = 1; i <= 2; i++) {
		tell(i, FACT_EXITED, json_pack("{s:i}", "code", 0), 4000);
		tell(i, FACT_UPLOADING, NULL, 4000);
		tell(i, FACT_ARTIFACT, stage_part(i), 4000);
		tell(i, FACT_ENDED, ended("ok", ""), 4000);
	}
}

TEST(parts_are_put_together_before_the_end)
{
	uint64_t size;

	up();
	CHECK_OK(blob_bucket_create(blobs, STR("out"), e));
	end_with_parts();
	CHECK_INT(state_of("demo"), JOB_UPLOADING);
	wait_until(is_gone, (void *)"demo");
	CHECK_INT(state_of("demo"), JOB_COMPLETED);
	CHECK(artifact_there(&size) && size > 100);
	down();
}

TEST(a_kill_while_they_are_put_together_is_made_good)
{
	uint64_t size;

	up();
	CHECK_OK(blob_bucket_create(blobs, STR("out"), e));
	end_with_parts();
	restart();
	wait_until(is_gone, (void *)"demo");
	CHECK_INT(state_of("demo"), JOB_COMPLETED);
	CHECK(artifact_there(&size));
	down();
}

TEST(parts_without_a_bucket_fail_the_job)
{
	_cleanup_buf_ struct buf b = { 0 };

	up();
	end_with_parts();
	wait_until(is_gone, (void *)"demo");
	show("demo", &b);
	CHECK(strstr(b.p, "Failed (ClientError: Artifact upload failed: s3://out/p/demo/output/model.tar.gz: "));
	down();
}

/* ---- orders: what two journals say, whichever of their facts is heard first, and however often we start anew ---- */

struct line {
	enum fact_kind kind;
	int64_t at;
	const char *word, *reason; /* of ENDED and STOPPING */
};
enum { LINES_MAX = 10 };
struct story {
	const char *name, *want; /* the last words of what is shown */
	struct line host[2][LINES_MAX];
	bool stop; /* StopTrainingJob comes before the first fact after TRAINING */
};
#define BEGIN                                                                     \
	{ FACT_STARTED, 1000 }, { FACT_DOWNLOADING, 1000 }, { FACT_READY, 1000 }, \
	{                                                                         \
		FACT_TRAINING, 3000                                               \
	}

static const struct story stories[] = {
	{ .name = "a peer breaks as the time of the first is over",
	  .want = "Stopping MaxRuntimeExceeded",
	  .host = { { BEGIN,
	              { FACT_EXPIRED, 9000 },
	              { FACT_STOPPING, 9000, "max_runtime" },
	              { FACT_EXITED, 9001 },
	              { FACT_UPLOADING, 9001 },
	              { FACT_ENDED, 9100, "expired" } },
	            { BEGIN,
	              { FACT_EXITED, 9002 },
	              { FACT_SALVAGING, 9002 },
	              { FACT_ENDED, 9100, "failed", "AlgorithmError: peer gone" } } } },
	{ .name = "one broke before the time of the other was over",
	  .want = "Failed (AlgorithmError: mine (algo-2 was the first of 2 hosts to fail))",
	  .host = { { BEGIN,
	              { FACT_EXPIRED, 9000 },
	              { FACT_STOPPING, 9000, "max_runtime" },
	              { FACT_EXITED, 9001 },
	              { FACT_UPLOADING, 9001 },
	              { FACT_ENDED, 9100, "expired" } },
	            { BEGIN,
	              { FACT_EXITED, 8999 },
	              { FACT_SALVAGING, 8999 },
	              { FACT_ENDED, 9100, "failed", "AlgorithmError: mine" } } } },
	{ .name = "what goes wrong afterwards on our side still does",
	  .want = "Failed (ClientError: full disk (algo-2 was the first of 2 hosts to fail))",
	  .host = { { BEGIN,
	              { FACT_EXPIRED, 9000 },
	              { FACT_EXITED, 9001 },
	              { FACT_UPLOADING, 9001 },
	              { FACT_ENDED, 9100, "expired" } },
	            { BEGIN,
	              { FACT_EXPIRED, 9005 },
	              { FACT_EXITED, 9006 },
	              { FACT_UPLOADING, 9006 },
	              { FACT_ENDED, 9200, "failed", "ClientError: full disk" } } } },
	{ .name = "a peer breaks as the job is stopped",
	  .want = "Stopping Stopped",
	  .stop = true,
	  .host = { { BEGIN,
	              { FACT_STOPPING, 9000, "stop" },
	              { FACT_EXITED, 9001 },
	              { FACT_UPLOADING, 9001 },
	              { FACT_ENDED, 9100, "stopped" } },
	            { BEGIN,
	              { FACT_EXITED, 9002 },
	              { FACT_SALVAGING, 9002 },
	              { FACT_ENDED, 9100, "failed", "AlgorithmError: peer gone" } } } },
	{ .name = "one broke before the job was stopped",
	  .want = "Failed (AlgorithmError: mine (algo-1 was the first of 2 hosts to fail; the others were stopped))",
	  .stop = true,
	  .host = { { BEGIN,
	              { FACT_EXITED, 8000 },
	              { FACT_SALVAGING, 8000 },
	              { FACT_ENDED, 9100, "failed", "AlgorithmError: mine" } },
	            { BEGIN,
	              { FACT_STOPPING, 9000, "stop" },
	              { FACT_EXITED, 9001 },
	              { FACT_UPLOADING, 9001 },
	              { FACT_ENDED, 9100, "stopped" } } } },
	{ .name = "a supervisor is told to end by the machine",
	  .want = "Failed (InternalServerError: SIGTERM (algo-1 was the first of 2 hosts to fail))",
	  .host = { { BEGIN,
	              { FACT_STOPPING, 9000, "stop" },
	              { FACT_EXITED, 9001 },
	              { FACT_UPLOADING, 9001 },
	              { FACT_ENDED, 9100, "failed", "InternalServerError: SIGTERM" } },
	            { BEGIN,
	              { FACT_EXITED, 9002 },
	              { FACT_SALVAGING, 9002 },
	              { FACT_ENDED, 9100, "failed", "AlgorithmError: peer gone" } } } },
	{ .name = "both break, the second first",
	  .want = "Failed (AlgorithmError: two (algo-2 was the first of 2 hosts to fail))",
	  .host = { { BEGIN,
	              { FACT_EXITED, 9003 },
	              { FACT_SALVAGING, 9003 },
	              { FACT_ENDED, 9100, "failed", "AlgorithmError: one" } },
	            { BEGIN,
	              { FACT_EXITED, 9002 },
	              { FACT_SALVAGING, 9002 },
	              { FACT_ENDED, 9100, "failed", "AlgorithmError: two" } } } },
};

static void tell_line(unsigned number, size_t k, const struct line *l)
{
	json_t *args = l->kind == FACT_ENDED      ? ended(l->word, l->reason ? l->reason : "")
	               : l->kind == FACT_STOPPING ? json_pack("{s:s}", "why", l->word)
	                                          : NULL;

	fact_at(ids[number], k + 1, l->kind, args, 2000000000000 + l->at);
}

/* Which of the two is heard next, by the bits of `order`. */
static void play(const struct story *s, const char *name, uint64_t order)
{
	size_t heard[2] = { 0 };
	bool stopped = !s->stop;

	start_hosts(name, 2);
	for (int step = 0; live(name) && step < 2 * LINES_MAX; step++, order >>= 2) {
		unsigned i = order & 1;

		if (heard[i] == LINES_MAX || !s->host[i][heard[i]].at || (heard[i] == 3 && heard[!i] < 3))
			i = !i; /* it has said all, or waits for the other to be ready */
		if (heard[i] == 4 && !stopped) {
			CHECK_OK(jobs_stop(jobs, KIND_TRAINING, str_of(name), e));
			stopped = true;
		}
		tell_line(i + 1, heard[i], &s->host[i][heard[i]]);
		heard[i]++;
		if ((order & 2) && live(name))
			restart();
	}
}

TEST(the_end_does_not_depend_on_who_is_heard_first)
{
	uint64_t seed = 11;

	up();
	for (size_t i = 0; i < ARRAY_LEN(stories); i++)
		for (int round = 0; round < 24; round++) {
			_cleanup_free_ char *name = strf("s%zu-%d", i, round);
			_cleanup_buf_ struct buf b = { 0 };
			uint64_t order = round == 0 ? 0
			                 : round == 1
			                         ? 0x5555555555555555
			                         : (seed = seed * 6364136223846793005u + 1442695040888963407u) >> 20;

			play(&stories[i], name, order);
			show(name, &b);
			if (!str_ends(buf_view(&b), str_of(stories[i].want)))
				test_failed(__FILE__, __LINE__, "%s (order %llx)\n  got:  %s\n  want: ... %s",
				            stories[i].name, (unsigned long long)order, b.p, stories[i].want);
			CHECK(jobs->used.cpus == 0);
		}
	down();
}

/* What each of three hosts reports when all goes well. */
static const enum fact_kind whole[] = { FACT_STARTED,  FACT_DOWNLOADING, FACT_IMAGE,     FACT_READY,
	                                FACT_TRAINING, FACT_EXITED,      FACT_UPLOADING, FACT_ENDED };

TEST(facts_in_any_order_across_restarts_come_to_the_same)
{
	uint64_t seed = 7;

	for (int round = 0; round < 20; round++) {
		_cleanup_free_ char *name = strf("r%d", round);
		int steps = 0;

		up();
		start_hosts(name, 3);
		while (live(name) && steps++ < 5000) {
			unsigned host;
			size_t k;

			seed = seed * 6364136223846793005u + 1442695040888963407u;
			k = (size_t)(seed >> 40) % ARRAY_LEN(whole);
			host = 1 + (unsigned)(seed >> 20) % 3;
			fact_at(ids[host], k + 1, whole[k], whole[k] == FACT_ENDED ? ended("ok", "") : NULL,
			        2000000000000 + (int64_t)k * 1000);
			if (!(seed >> 33 & 15))
				restart();
		}
		CHECK_SHOWN(name, "Starting Downloading Training Uploading Completed");
		CHECK(jobs->used.cpus == 0);
		down();
	}
}

static void count_cleanup(const char *id, bool remove, void *arg)
{
	(void)id;
	*(int *)arg += remove ? 100 : 1;
}

TEST(all_directories_are_cleaned_up_and_removed)
{
	int n = 0;

	up();
	start_hosts("demo", 3);
	train(3);
	for (unsigned i = 1; i <= 3; i++)
		finish(i, 4000);
	CHECK_INT(state_of("demo"), JOB_COMPLETED);
	CHECK_OK(store_cleanup_each(store, count_cleanup, &n, e));
	CHECK_INT(n, 3);
	CHECK_OK(jobs_delete(jobs, STR("demo"), e));
	n = 0;
	CHECK_OK(store_cleanup_each(store, count_cleanup, &n, e));
	CHECK_INT(n, 300);
	down();
}
