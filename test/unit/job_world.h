/* job_world.h - a bloomeryd without HTTP for tests of jobs: the real store, object store and loop. The test is the
 * launcher: it notes what it is asked for and delivers the facts of supervisors.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "harness.h"
#include "job/control.h"
#include "jobdir/spec.h"

/* ---- a bloomeryd without HTTP ---- */

static struct loop *loop;
static struct store *store;
static struct blob_store *blobs;
static struct jobs *jobs;
static struct conf conf;
static struct series_store *world_series; /* set before up(): metrics are read */
static struct buf asked;                  /* "launch A; stop A; ..." by job name where it is known */
static const struct launcher_events *events;
static void *events_arg;

static inline struct launcher *fake_open(const struct launcher_options *o)
{
	events = o->events;
	events_arg = o->arg;
	return (struct launcher *)&asked;
}
static inline void fake_close(struct launcher *l)
{
	(void)l;
}
static inline void ask(const char *what, const char *id)
{
	struct job_host *h = jobs ? host_by_id(jobs, str_of(id)) : NULL;

	buf_f(&asked, "%s %s", what, h ? h->job->name : "gone");
	if (h && h->job->host_count > 1)
		buf_f(&asked, "/%u", h->number);
	buf_z(&asked, "; ");
}
static inline void fake_launch(struct launcher *l, const char *id)
{
	(void)l;
	ask("launch", id);
}
static inline void fake_watch(struct launcher *l, const char *id, uint64_t after)
{
	_cleanup_free_ char *what = strf("watch>%llu", (unsigned long long)after);

	(void)l;
	ask(what, id);
}
static inline void fake_stop(struct launcher *l, const char *id, const char *why)
{
	(void)l;
	ask(why ? why : "stop", id);
}
static inline void fake_go(struct launcher *l, const char *id)
{
	(void)l;
	ask("go", id);
}
static inline void fake_forget(struct launcher *l, const char *id)
{
	(void)l;
	ask("forget", id);
}
static inline void fake_remove(struct launcher *l, const char *id)
{
	(void)l;
	ask("remove", id);
}
static const struct launcher_ops fake = { .name = "fake",
	                                  .open = fake_open,
	                                  .close = fake_close,
	                                  .launch = fake_launch,
	                                  .watch = fake_watch,
	                                  .stop = fake_stop,
	                                  .go = fake_go,
	                                  .forget = fake_forget,
	                                  .remove = fake_remove };

static inline void up(void)
{
	_cleanup_free_ char *db = strf("%s/bloomery.db", test_tmpdir());
	struct jobs_options o = { .conf = &conf, .data_dir = test_tmpdir(), .launcher = &fake, .series = world_series };

	log_init("test", LOG_ERROR + 1);
	if (!conf.account) {
		conf_init(&conf);
		free(conf.capacity_cpus);
		free(conf.capacity_memory);
		conf.capacity_cpus = xstrdup("4");
		conf.capacity_memory = xstrdup("4294967296");
	}
	loop = loop_new();
	CHECK_OK(store_open(db, &store, e));
	CHECK_OK(blob_open(test_tmpdir(), &blobs, e));
	o.loop = loop;
	o.store = store;
	o.blobs = blobs;
	CHECK_OK(jobs_new(&o, &jobs, e));
	/* Nothing runs for real, so the machine may be as small as it likes. */
	jobs->capacity.job_cpus = jobs->capacity.cpus;
	jobs->capacity.job_memory_bytes = jobs->capacity.memory_bytes;
	jobs_start(jobs, "http://127.0.0.1:8770");
}

static inline void down(void)
{
	jobs_free(jobs);
	jobs = NULL;
	blob_close(blobs);
	store_close(store);
	loop_free(loop);
}

/* Everything in memory is gone, the files stay: what a kill does. */
static inline void restart(void)
{
	down();
	buf_reset(&asked);
	up();
	events->on_up(events_arg);
}

static void (*wait_check)(void *arg);
static bool wait_over;
static int wait_rounds;

static inline void wait_tick(void *arg)
{
	wait_check(arg);
	if (wait_over || ++wait_rounds > 5000)
		loop_stop(loop);
}

static inline void wait_until(void (*check)(void *arg), void *arg)
{
	struct loop_source *t = loop_timer(loop, 0, 1, wait_tick, arg);

	wait_check = check;
	wait_over = false;
	wait_rounds = 0;
	CHECK_OK(loop_run(loop, e));
	CHECK(wait_over);
	loop_source_free(t);
}

static inline void nothing_is_frozen_or_due(void *arg)
{
	static int quiet;

	(void)arg;
	quiet++;
	for (struct job *j = jobs->running.first; j; j = j->next)
		if (j->freezing)
			quiet = 0;
	wait_over = quiet > 3;
	if (wait_over)
		quiet = 0;
}

static inline void settle(void)
{
	wait_until(nothing_is_frozen_or_due, NULL);
}

#define REQUEST                                                                                                   \
	"{\"TrainingJobName\":\"x\",\"AlgorithmSpecification\":{\"TrainingImage\":\"img\",\"TrainingInputMode\":" \
	"\"File\"},\"OutputDataConfig\":{\"S3OutputPath\":\"s3://out/p/\"},\"StoppingCondition\":{"               \
	"\"MaxRuntimeInSeconds\":60}%s}"

static inline int create_at(const char *name, double cpus, const char *more, int64_t max_pending_s, int64_t created_ms)
{
	struct capacity_needs n = { .instance_type = (char *)"ml.m5.large",
		                    .cpus = cpus,
		                    .memory_bytes = 256 << 20,
		                    .volume_bytes = 1 << 30,
		                    .max_pending_s = max_pending_s };
	_cleanup_free_ char *arn = strf("arn:aws:sagemaker:us-east-1:000000000000:training-job/%s", name);
	_cleanup_free_ char *request = strf(REQUEST, more);
	struct jobs_create c = {
		.name = name, .arn = arn, .request = request, .echo = "", .needs = &n, .created.ms = created_ms
	};
	struct err why = { 0 };

	return jobs_create(jobs, &c, &why);
}

static inline void create(const char *name, double cpus)
{
	CHECK_INT(create_at(name, cpus, "", 0, wall_now().ms), 0);
}

static inline struct job *live(const char *name)
{
	struct stored_job row = { 0 };
	struct job *j = NULL;

	if (store_job_find(store, KIND_TRAINING, str_of(name), &row, NULL) == 0)
		j = job_by_id(jobs, str_of(row.id));
	stored_job_fini(&row);
	return j;
}

static inline char *id_of(const char *name)
{
	struct stored_job row = { 0 };
	char *id;

	CHECK_OK(store_job_find(store, KIND_TRAINING, str_of(name), &row, e));
	id = xstrdup(row.id);
	stored_job_fini(&row);
	return id;
}

static inline enum job_state state_of(const char *name)
{
	struct stored_job row = { 0 };
	enum job_state s;

	CHECK_OK(store_job_find(store, KIND_TRAINING, str_of(name), &row, e));
	s = row.state;
	stored_job_fini(&row);
	return s;
}

static inline void fact_at(const char *id, uint64_t n, enum fact_kind kind, json_t *args, int64_t at)
{
	struct fact f = { .n = n, .at.ms = at, .kind = kind, .args = args ? args : json_object() };

	events->on_fact(events_arg, str_of(id), &f);
	fact_fini(&f);
}

static inline void fact(const char *id, uint64_t n, enum fact_kind kind, json_t *args)
{
	fact_at(id, n, kind, args, wall_now().ms);
}

static inline json_t *ended(const char *result, const char *reason)
{
	return json_pack("{s:s, s:s}", "result", result, "reason", reason);
}

static inline void show(const char *name, struct buf *out)
{
	struct store_description d = { 0 };

	CHECK_OK(store_describe(store, KIND_TRAINING, str_of(name), &d, e));
	for (size_t i = 0; i < d.transition_count; i++)
		buf_f(out, "%s%s", i ? " " : "", d.transitions[i].status);
	if (d.job.failure_reason)
		buf_f(out, " (%s)", d.job.failure_reason);
	for (size_t i = 0; i < d.transition_count; i++) { /* contract 5.3 */
		struct store_transition *t = &d.transitions[i];
		bool last = i + 1 == d.transition_count;

		CHECK(last || t->end.ms == d.transitions[i + 1].start.ms);
		CHECK(!t->end.ms || t->end.ms >= t->start.ms);
		CHECK(!last || !job_state_info[d.job.state].final ||
		      (t->end.ms == t->start.ms && t->end.ms == d.job.ended.ms));
		CHECK(last || t->end.ms);
	}
	store_description_fini(&d);
}

#define CHECK_SHOWN(name, want)                      \
	do {                                         \
		_cleanup_buf_ struct buf b_ = { 0 }; \
		show(name, &b_);                     \
		CHECK_STR(b_.p, want);               \
	} while (0)

static inline void put_object(const char *bucket, const char *key, const char *bytes)
{
	_cleanup_free_ char *path = strf("%s/new", test_tmpdir());
	_cleanup_buf_ struct buf hex = { 0 };
	unsigned char digest[MD5_BYTES];

	md5(str_of(bytes), digest);
	buf_hex(&hex, digest, sizeof(digest));
	CHECK_OK(file_put(AT_FDCWD, path, str_of(bytes), 0644, e));
	CHECK_OK(blob_bucket_create(blobs, str_of(bucket), e));
	CHECK_OK(blob_adopt(blobs, str_of(bucket), str_of(key), path, strlen(bytes), buf_view(&hex), e));
}
