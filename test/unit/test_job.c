/* The life of jobs: scheduling, freezing, facts, stops, losses and restarts. SPDX-License-Identifier: Apache-2.0 */
#include "job_world.h"
#include "jobdir/list.h"

/* ---- the tests ---- */

TEST(a_job_goes_through_its_life)
{
	_cleanup_free_ char *id = NULL;

	up();
	create("demo", 2);
	id = id_of("demo");
	CHECK_INT(state_of("demo"), JOB_STARTING);
	settle();
	CHECK_STR(asked.p, "launch demo; watch>0 demo; ");
	CHECK_INT(state_of("demo"), JOB_LAUNCHING);
	fact(id, 1, FACT_STARTED, NULL);
	fact(id, 2, FACT_DOWNLOADING, NULL);
	fact(id, 3, FACT_IMAGE, json_pack("{s:s, s:s}", "image", "img", "digest", "sha256:abc"));
	CHECK_INT(state_of("demo"), JOB_DOWNLOADING);
	fact(id, 4, FACT_TRAINING, json_pack("{s:i}", "pid", 7));
	fact(id, 5, FACT_EXITED, json_pack("{s:i}", "code", 0));
	fact(id, 6, FACT_UPLOADING, NULL);
	CHECK_INT(jobs->used.cpus, 2);
	fact(id, 7, FACT_ENDED, ended("ok", ""));
	CHECK_SHOWN("demo", "Starting Downloading Training Uploading Completed");
	CHECK_INT(jobs->used.cpus, 0);
	CHECK(!live("demo"));
	fact(id, 7, FACT_ENDED, ended("ok", "")); /* again, after the end */
	events->on_lost(events_arg, str_of(id), STR("late"), wall_now());
	CHECK_INT(state_of("demo"), JOB_COMPLETED);
	down();
}

TEST(the_spec_and_the_lists_are_what_was_there_at_launch)
{
	_cleanup_(list_closep) struct list_reader *r = NULL;
	_cleanup_free_ char *id = NULL, *dir = NULL, *list = NULL;
	struct job_spec s = { 0 };
	struct list_entry entry;

	up();
	put_object("data", "train/b.csv", "bb");
	put_object("data", "train/a.csv", "a");
	put_object("data", "trai", "not this");
	CHECK_INT(
	        create_at("j", 2,
	                  ",\"InputDataConfig\":[{\"ChannelName\":\"train\",\"DataSource\":{\"S3DataSource\":{"
	                  "\"S3DataType\":\"S3Prefix\",\"S3Uri\":\"s3://data/train\"}},\"ContentType\":\"text/csv\"}]",
	                  0, 1700000000123),
	        0);
	settle();
	id = id_of("j");
	dir = strf("%s/jobs/%s", test_tmpdir(), id);
	CHECK_OK(spec_load(dir, &s, e));
	CHECK_STR(s.name, "j");
	CHECK_STR(s.image, "img");
	CHECK_STR(s.output_bucket, "out");
	CHECK_STR(s.output_prefix, "p");
	CHECK_STR(s.api_url, "http://127.0.0.1:8770");
	CHECK_INT(s.log_epoch_s, 1700000000);
	CHECK_INT(s.max_runtime_s, 60);
	CHECK_INT(s.stop_grace_s, 120);
	CHECK(s.limits.cpus == 2);
	CHECK_INT(s.channel_count, 1);
	CHECK_STR(s.channels[0].prefix, "train");
	CHECK_STR(s.channels[0].content_type, "text/csv");
	CHECK_STR(s.channels[0].input_mode, "File");
	CHECK_INT(s.channels[0].objects, 2);
	CHECK_INT(s.channels[0].bytes, 3);
	list = strf("%s/lists/%s", dir, s.channels[0].list);
	CHECK_OK(list_open(list, &r, e));
	CHECK_INT(list_next(r, &entry, NULL), 1);
	CHECK(str_is(entry.key, "train/a.csv") && entry.size == 1);
	CHECK_INT(list_next(r, &entry, NULL), 1);
	CHECK(str_is(entry.key, "train/b.csv") && entry.size == 2);
	CHECK_INT(list_next(r, &entry, NULL), 0);
	spec_fini(&s);
	down();
}

TEST(data_that_is_gone_at_launch_fails_the_job_with_a_reason)
{
	up();
	CHECK_OK(blob_bucket_create(blobs, STR("data"), e));
	CHECK_INT(create_at("j", 1,
	                    ",\"InputDataConfig\":[{\"ChannelName\":\"train\",\"DataSource\":{\"S3DataSource\":{"
	                    "\"S3DataType\":\"S3Prefix\",\"S3Uri\":\"s3://data/gone\"}}}]",
	                    0, wall_now().ms),
	          0);
	settle();
	CHECK_SHOWN(
	        "j",
	        "Starting Failed (ClientError: Data download failed:No S3 objects are left under S3 URL "
	        "\"s3://data/gone\". They were deleted after the job was created; upload them and create the job again "
	        "(channel train))");
	CHECK_INT(jobs->used.cpus, 0);
	CHECK(!strstr(asked.p ? asked.p : "", "launch"));
	down();
}

TEST(what_does_not_fit_waits_and_a_smaller_one_does_not_overtake)
{
	_cleanup_free_ char *a = NULL, *b = NULL;

	up();
	create("a", 3);
	create("b", 2);
	create("c", 1);
	settle();
	CHECK_STR(asked.p, "launch a; watch>0 a; ");
	CHECK_INT(state_of("b"), JOB_PENDING);
	CHECK_INT(state_of("c"), JOB_PENDING);
	a = id_of("a");
	b = id_of("b");
	fact(a, 1, FACT_DOWNLOADING, NULL);
	fact(a, 2, FACT_ENDED, ended("failed", "AlgorithmError: , exit code: 1"));
	settle();
	CHECK_INT(state_of("b"), JOB_ADMITTED);
	CHECK_INT(state_of("c"), JOB_ADMITTED);
	CHECK_SHOWN("a", "Starting Downloading Failed (AlgorithmError: , exit code: 1)");
	fact(b, 1, FACT_DOWNLOADING, NULL);
	fact(b, 2, FACT_TRAINING, NULL);
	CHECK_SHOWN("b", "Starting Pending Downloading Training");
	down();
}

enum { MANY = 120 };
static struct {
	char name[16], *id;
	double cpus;
	bool launched, over;
} all[MANY];

/* What is true after every step, whatever happened. */
static void check_order(int created)
{
	int first_waiting = created;

	for (int i = created - 1; i >= 0; i--)
		if (!all[i].over && (state_of(all[i].name) == JOB_PENDING || state_of(all[i].name) == JOB_STARTING))
			first_waiting = i;
	for (int i = 0; i < created; i++) {
		enum job_state s = state_of(all[i].name);

		all[i].launched |= s == JOB_LAUNCHING || s == JOB_ADMITTED;
		if (i > first_waiting && !all[i].over)
			CHECK_INT(s, JOB_PENDING); /* nobody overtakes */
	}
	CHECK(jobs->used.cpus <= 4 + 1e-6);
	if (first_waiting < created) /* it waits only for want of room */
		CHECK(jobs->used.cpus + all[first_waiting].cpus > 4);
}

TEST(random_jobs_start_in_order_within_the_capacity_and_all_end)
{
	uint64_t seed = 42;
	int created = 0, over = 0, rounds = 0;

	up();
	while (over < MANY && rounds++ < 2000) {
		int pick, kind;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		pick = (int)(seed >> 40 & 0xffff);
		kind = (int)(seed >> 57 & 7);
		if (created < MANY && kind < 4) {
			snprintf(all[created].name, sizeof(all[0].name), "j%d", created);
			all[created].cpus = 0.5 + (double)(pick & 7) / 2;
			create(all[created].name, all[created].cpus);
			all[created].id = id_of(all[created].name);
			created++;
		}
		for (int k = 0, i; kind >= 4 && k < created; k++) {
			i = (pick + k) % created;
			if (all[i].over || (kind == 4) == all[i].launched)
				continue;
			if (kind == 4) { /* stopped while it waits */
				CHECK_OK(jobs_stop(jobs, KIND_TRAINING, str_of(all[i].name), e));
				CHECK_INT(state_of(all[i].name), JOB_STOPPED);
			} else {
				fact(all[i].id, 1, FACT_DOWNLOADING, NULL);
				fact(all[i].id, 2, FACT_ENDED, ended("failed", "x"));
				CHECK_INT(state_of(all[i].name), JOB_FAILED);
			}
			all[i].over = true;
			over++;
			break;
		}
		settle();
		check_order(created);
	}
	CHECK_INT(over, MANY);
	CHECK(jobs->used.cpus < 1e-6 && !jobs->used.memory_bytes);
	for (int i = 0; i < created; i++)
		free(all[i].id);
	down();
}

static const enum fact_kind whole[] = { FACT_STARTED, FACT_DOWNLOADING, FACT_IMAGE,    FACT_TRAINING,
	                                FACT_EXITED,  FACT_UPLOADING,   FACT_ARTIFACT, FACT_ENDED };

static void deliver(const char *id, size_t k)
{
	json_t *args = NULL;

	if (whole[k] == FACT_ENDED)
		args = ended("ok", "");
	if (whole[k] == FACT_ARTIFACT)
		args = json_pack("{s:s, s:s, s:s, s:i, s:s}", "bucket", "out", "key", "p/demo/output/model.tar.gz",
		                 "file", "model.tar.gz", "size", 5, "md5", "5d41402abc4b2a76b9719d911017c592");
	fact_at(id, k + 1, whole[k], args, 2000000000000 + (int64_t)k * 1000);
}

static void stage(const char *id)
{
	_cleanup_free_ char *path = strf("%s/jobs/%s/staged/model.tar.gz", test_tmpdir(), id);

	CHECK_OK(file_put(AT_FDCWD, path, STR("hello"), 0644, e));
}

static bool object_is_there(void)
{
	bool there = false;

	CHECK_OK(blob_prefix_exists(blobs, STR("out"), STR("p/demo/output/model.tar.gz"), &there, e));
	return there;
}

TEST(facts_twice_out_of_order_and_across_restarts_come_to_the_same)
{
	uint64_t seed = 1;

	for (int round = 0; round < 40; round++) {
		_cleanup_free_ char *id = NULL, *name = strf("r%d", round);
		struct store_description d = { 0 };
		int steps = 0;

		up();
		CHECK_OK(blob_bucket_create(blobs, STR("out"), e));
		create(name, 1);
		settle();
		id = id_of(name);
		stage(id);
		while (live(name) && steps++ < 2000) {
			size_t k;

			seed = seed * 6364136223846793005u + 1442695040888963407u;
			k = (size_t)(seed >> 40) % ARRAY_LEN(whole);
			deliver(id, k); /* any fact, in any order, as often as it comes */
			if (!(seed >> 33 & 15)) {
				restart();
				if (live(name)) {
					_cleanup_free_ char *want = strf(
					        "watch>%llu %s;", (unsigned long long)live(name)->last_fact, name);

					CHECK(strstr(asked.p, want));
				}
			}
		}
		CHECK_SHOWN(name, "Starting Downloading Training Uploading Completed");
		CHECK(object_is_there());
		CHECK_OK(store_describe(store, KIND_TRAINING, str_of(name), &d, e));
		CHECK_INT(d.job.last_fact, ARRAY_LEN(whole));
		CHECK_INT(d.job.started.ms, 2000000001000);
		CHECK_INT(d.job.ended.ms, 2000000007000);
		CHECK_STR(d.transitions[1].message, "Downloading the training image");
		store_description_fini(&d);
		down();
	}
}

TEST(completed_means_the_artifact_is_there)
{
	_cleanup_free_ char *id = NULL;

	up();
	CHECK_OK(blob_bucket_create(blobs, STR("out"), e));
	create("demo", 1);
	settle();
	id = id_of("demo");
	stage(id);
	for (size_t k = 0; k < 6; k++)
		deliver(id, k);
	deliver(id, 7); /* the end before the artifact: a gap, asked for again and not taken */
	CHECK_INT(state_of("demo"), JOB_UPLOADING);
	CHECK(strstr(asked.p, "watch>6 demo;"));
	CHECK(!object_is_there());
	events->on_lost(events_arg, str_of(id), STR("gone"),
	                wall_now()); /* with facts still to come, not believed yet */
	CHECK_INT(state_of("demo"), JOB_UPLOADING);
	deliver(id, 6);
	CHECK(object_is_there());
	deliver(id, 7);
	CHECK_INT(state_of("demo"), JOB_COMPLETED);
	down();
}

TEST(an_artifact_without_a_bucket_fails_the_job)
{
	_cleanup_free_ char *id = NULL;
	_cleanup_buf_ struct buf b = { 0 };

	up();
	create("demo", 1);
	settle();
	id = id_of("demo");
	stage(id);
	for (size_t k = 0; k < 7; k++)
		deliver(id, k);
	CHECK_INT(state_of("demo"), JOB_UPLOADING);
	restart(); /* the decision outlives us */
	deliver(id, 7);
	show("demo", &b);
	CHECK(str_starts(buf_view(&b),
	                 STR("Starting Downloading Training Uploading Failed (ClientError: Artifact upload "
	                     "failed: s3://out/p/demo/output/model.tar.gz: ")));
	down();
}

TEST(stopping_in_every_phase)
{
	static const struct {
		size_t facts;
		const char *result, *want;
	} cases[] = {
		{ 0, "stopped", "Starting Stopping Stopped" },
		{ 2, "stopped", "Starting Downloading Stopping Stopped" },
		{ 4, "stopped", "Starting Downloading Training Stopping Stopped" },
		{ 6, "ok", "Starting Downloading Training Uploading Stopping Stopped" },
		{ 4, "failed", "Starting Downloading Training Stopping Failed (why)" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_free_ char *id = NULL, *name = strf("s%zu", i);
		struct err why = { 0 };

		up();
		create(name, 1);
		settle();
		id = id_of(name);
		for (size_t k = 0; k < cases[i].facts; k++)
			deliver(id, k);
		buf_reset(&asked);
		CHECK_OK(jobs_stop(jobs, KIND_TRAINING, str_of(name), e));
		CHECK_INT(state_of(name), JOB_STOPPING);
		CHECK(str_starts(buf_view(&asked), STR("stop s")));
		CHECK_INT(jobs_stop(jobs, KIND_TRAINING, str_of(name), &why), -1);
		CHECK_STR(why.frame[0], "The request was rejected because the training job is in status Stopping.");
		restart();
		CHECK(strstr(asked.p, "stop s"));
		CHECK(!strstr(asked.p, "launch s") == !!cases[i].facts); /* it may never have been launched */
		fact(id, cases[i].facts + 1, FACT_STOPPING, NULL);
		fact(id, cases[i].facts + 2, FACT_ENDED, ended(cases[i].result, "why"));
		CHECK_SHOWN(name, cases[i].want);
		CHECK_INT(jobs_stop(jobs, KIND_TRAINING, str_of(name), &why), -1);
		CHECK(str_starts(str_of(why.frame[0]),
		                 STR("The request was rejected because the training job is in status ")));
		down();
	}
}

TEST(stopping_what_was_never_launched_ends_it_at_once)
{
	struct err why = { 0 };

	up();
	create("big", 4);
	create("waits", 1);
	settle();
	CHECK_OK(jobs_stop(jobs, KIND_TRAINING, STR("waits"), e));
	CHECK_SHOWN("waits", "Starting Pending Stopping Stopped");
	CHECK_INT(jobs_stop(jobs, KIND_TRAINING, STR("waits"), &why), -1);
	CHECK_STR(why.frame[0], "The request was rejected because the training job is in status Stopped.");
	CHECK_INT(jobs_stop(jobs, KIND_TRAINING, STR("nobody"), &why), -1);
	CHECK_INT(why.kind, ERR_INVALID);
	CHECK_STR(why.frame[0], "Requested resource not found.");
	create("now", 1);
	CHECK_OK(jobs_stop(jobs, KIND_TRAINING, STR("now"), e)); /* before the scheduler has seen it */
	CHECK_SHOWN("now", "Starting Stopping Stopped");
	settle();
	CHECK(!strstr(asked.p, "launch now") && !strstr(asked.p, "launch waits"));
	down();
}

TEST(a_half_stored_stop_is_finished_by_the_next_start)
{
	struct stored_job row = { 0 };
	struct store_move m;

	up();
	create("big", 4);
	create("waits", 1);
	settle();
	CHECK_OK(store_job_find(store, KIND_TRAINING, STR("waits"), &row, e));
	m = (struct store_move){ .n = row.n, .from = JOB_PENDING, .to = JOB_STOPPING, .at = row.modified };
	CHECK_OK(store_job_move(store, &m, e));
	stored_job_fini(&row);
	restart();
	settle();
	CHECK_SHOWN("waits", "Starting Pending Stopping Stopped");
	down();
}

TEST(a_lost_supervisor_fails_the_job_in_every_state)
{
	for (size_t facts = 0; facts < 7; facts++) {
		_cleanup_free_ char *id = NULL, *name = strf("l%zu", facts);

		up();
		CHECK_OK(blob_bucket_create(blobs, STR("out"), e));
		create(name, 1);
		settle();
		id = id_of(name);
		stage(id);
		for (size_t k = 0; k < facts; k++)
			deliver(id, k);
		events->on_lost(events_arg, str_of(id), STR("bloomery-job was killed"), wall_now());
		CHECK_INT(state_of(name), JOB_FAILED);
		{
			_cleanup_buf_ struct buf b = { 0 };

			show(name, &b);
			CHECK(str_ends(buf_view(&b), STR("Failed (InternalServerError: bloomery-job was killed)")));
		}
		CHECK_INT(jobs->used.cpus, 0);
		down();
	}
}

TEST(an_ending_that_does_not_fit_still_ends_the_job)
{
	_cleanup_free_ char *id = NULL;

	up();
	create("j", 1);
	settle();
	id = id_of("j");
	fact(id, 1, FACT_ENDED, ended("ok", "")); /* from LAUNCHING */
	CHECK_INT(state_of("j"), JOB_FAILED);
	create("k", 1);
	settle();
	free(id);
	id = id_of("k");
	fact(id, 1, FACT_TRAINING, NULL); /* no DOWNLOADING before: noted, ignored */
	CHECK_INT(state_of("k"), JOB_LAUNCHING);
	fact(id, 2, FACT_COUNT, NULL); /* a fact of a newer supervisor */
	fact(id, 3, FACT_ENDED, ended("no such result", "x"));
	CHECK_INT(state_of("k"), JOB_FAILED);
	down();
}

TEST(time_over_is_max_runtime_exceeded)
{
	_cleanup_free_ char *id = NULL;
	struct err why = { 0 };

	up();
	create("j", 1);
	settle();
	id = id_of("j");
	for (size_t k = 0; k < 4; k++)
		deliver(id, k);
	fact(id, 5, FACT_EXPIRED, NULL);
	CHECK_INT(jobs_stop(jobs, KIND_TRAINING, STR("j"), &why), -1);
	CHECK_STR(why.frame[0], "The request was rejected because the training job is in status Stopping.");
	fact(id, 6, FACT_UPLOADING, NULL);
	fact(id, 7, FACT_ENDED, ended("expired", ""));
	CHECK_SHOWN("j", "Starting Downloading Training Stopping MaxRuntimeExceeded");
	down();
}

static void pending_has_ended(void *arg)
{
	wait_over = state_of(arg) == JOB_STOPPED;
}

TEST(max_pending_time_ends_a_waiting_job)
{
	struct store_description d = { 0 };

	up();
	create("big", 4);
	settle();
	CHECK_INT(create_at("impatient", 1, "", 7200, wall_now().ms - 7199900), 0);
	settle();
	CHECK_INT(state_of("impatient"), JOB_PENDING);
	wait_until(pending_has_ended, (void *)"impatient");
	CHECK_SHOWN("impatient", "Starting Pending Stopping Stopped");
	CHECK_OK(store_describe(store, KIND_TRAINING, STR("impatient"), &d, e));
	CHECK_STR(d.transitions[3].message,
	          "Training job stopped: it waited for capacity longer than MaxPendingTimeInSeconds (7200)");
	store_description_fini(&d);
	CHECK_INT(state_of("big"), JOB_LAUNCHING);
	down();
}

TEST(waiting_jobs_and_their_order_outlive_a_restart)
{
	_cleanup_free_ char *id = NULL;

	up();
	create("a", 4);
	create("b", 3);
	create("c", 1);
	settle();
	restart();
	settle();
	CHECK_STR(asked.p, "launch a; watch>0 a; ");
	CHECK_INT(jobs->used.cpus, 4);
	id = id_of("a");
	fact(id, 1, FACT_ENDED, ended("failed", "x"));
	settle();
	CHECK(strstr(asked.p, "launch b; watch>0 b; launch c; watch>0 c; "));
	down();
}

TEST(deleting)
{
	_cleanup_free_ char *id = NULL, *dir = NULL;
	struct err why = { 0 };

	up();
	create("j", 1);
	settle();
	id = id_of("j");
	CHECK_INT(jobs_delete(jobs, STR("j"), &why), -1);
	CHECK_INT(why.kind, ERR_IN_USE);
	fact(id, 1, FACT_ENDED, ended("failed", "x"));
	buf_reset(&asked);
	CHECK_OK(jobs_delete(jobs, STR("J"), e));
	CHECK_INT(jobs_delete(jobs, STR("j"), &why), -1);
	CHECK_STR(why.frame[0], "Requested resource not found.");
	settle();
	CHECK_STR(asked.p, "remove gone; ");
	restart(); /* the host did not do it: asked again */
	settle();
	CHECK_STR(asked.p, "remove gone; ");
	dir = strf("%s/jobs/%s", test_tmpdir(), id);
	CHECK_OK(remove_tree(AT_FDCWD, dir, e)); /* now it did */
	restart();
	settle();
	CHECK_INT(asked.n, 0);
	create("j", 1); /* the name is free */
	down();
}

TEST(work_that_is_left_is_forgotten_until_it_is_gone)
{
	_cleanup_free_ char *id = NULL, *work = NULL, *staged = NULL;

	up();
	create("j", 1);
	settle();
	id = id_of("j");
	work = strf("%s/jobs/%s/work", test_tmpdir(), id);
	CHECK(mkdir(work, 0755) == 0);
	staged = strf("%s/jobs/%s/staged", test_tmpdir(), id);
	stage(id); /* and never reported: the supervisor was lost before */
	fact(id, 1, FACT_ENDED, ended("failed", "x"));
	settle();
	CHECK(strstr(asked.p, "forget gone; "));
	CHECK(access(staged, F_OK) < 0);
	CHECK(rmdir(work) == 0);
	restart();
	settle();
	CHECK_INT(asked.n, 0);
	down();
}

TEST(a_reason_is_cut_to_1024_characters)
{
	_cleanup_buf_ struct buf b = { 0 };
	_cleanup_free_ char *id = NULL;
	struct stored_job row = { 0 };

	for (int i = 0; i < 2000; i++)
		buf_z(&b, "é");
	up();
	create("j", 1);
	settle();
	id = id_of("j");
	fact(id, 1, FACT_ENDED, ended("failed", b.p));
	CHECK_OK(store_job_find(store, KIND_TRAINING, STR("j"), &row, e));
	CHECK_INT(utf8_count(str_of(row.failure_reason)), 1024);
	stored_job_fini(&row);
	down();
}
