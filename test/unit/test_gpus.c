/* Which host has which GPU: the dealing, across jobs, ends and restarts. SPDX-License-Identifier: Apache-2.0 */
#include "job_world.h"

static void up_with(const char *gpus)
{
	if (!conf.account) {
		up();
		down();
	}
	free(conf.gpus);
	conf.gpus = xstrdup(gpus);
	up();
}

static void create_gpu_job(const char *name, unsigned hosts, unsigned gpus)
{
	struct capacity_needs n = { .instance_type = (char *)"ml.p3.8xlarge",
		                    .cpus = 0.1,
		                    .memory_bytes = 64 << 20,
		                    .gpus = gpus,
		                    .volume_bytes = 1 << 30,
		                    .hosts = hosts };
	_cleanup_free_ char *arn = strf("arn:aws:sagemaker:us-east-1:000000000000:training-job/%s", name);
	_cleanup_free_ char *request = strf(REQUEST, "");
	struct jobs_create c = {
		.name = name, .arn = arn, .request = request, .echo = "", .needs = &n, .created = wall_now()
	};

	CHECK_OK(jobs_create(jobs, &c, e));
	settle();
}

/* "0,1|2|" : the GPUs in the work order of each host. */
static char *orders(const char *name)
{
	struct job *j = live(name);
	struct buf b = { 0 };

	buf_init(&b);
	for (size_t i = 0; j && i < j->host_count; i++) {
		_cleanup_free_ char *dir = strf("%s/jobs/%s", test_tmpdir(), j->hosts[i].id);
		struct job_spec s;

		CHECK_OK(spec_load(dir, &s, e));
		for (size_t k = 0; k < s.gpu_count; k++)
			buf_f(&b, "%s%s", k ? "," : "", s.gpu[k]);
		buf_c(&b, '|');
		spec_fini(&s);
	}
	return buf_take(&b);
}

#define CHECK_ORDERS(name, want)                         \
	do {                                             \
		_cleanup_free_ char *got = orders(name); \
		CHECK_STR(got, want);                    \
	} while (0)

static void end(const char *id)
{
	fact(id, 1, FACT_STARTED, NULL);
	fact(id, 2, FACT_ENDED, ended("failed", "AlgorithmError: x"));
	settle();
}

TEST(jobs_and_hosts_have_different_ones)
{
	_cleanup_free_ char *one = NULL;

	up_with("0 1 2 3");
	create_gpu_job("one", 1, 2);
	create_gpu_job("two", 2, 1);
	CHECK_ORDERS("one", "0,1|");
	CHECK_ORDERS("two", "2|3|");
	create_gpu_job("three", 1, 1);
	create_gpu_job("small", 1, 0); /* would fit, but came later: the order is strict */
	CHECK(state_of("three") == JOB_PENDING && state_of("small") == JOB_PENDING);
	one = id_of("one");
	end(one);
	CHECK_ORDERS("three", "0|");
	CHECK_ORDERS("small", "|");
	down();
}

TEST(a_restart_neither_loses_nor_deals_twice)
{
	_cleanup_free_ char *one = NULL, *two = NULL;

	up_with("0 1 2");
	create_gpu_job("one", 1, 1);
	create_gpu_job("two", 1, 1);
	one = id_of("one");
	two = id_of("two");
	restart();
	create_gpu_job("three", 1, 1);
	CHECK_ORDERS("three", "2|");
	create_gpu_job("four", 1, 1);
	CHECK(state_of("four") == JOB_PENDING);
	restart();
	CHECK(state_of("four") == JOB_PENDING && gpu_pool_idle(jobs->gpus) == 0);
	end(two);
	CHECK_ORDERS("four", "1|");
	down();
	/* The machine has lost one meanwhile, and got another: what runs keeps its own, and a stranger's is not dealt.
	 */
	up_with("1 2 9");
	events->on_up(events_arg);
	CHECK_INT(gpu_pool_idle(jobs->gpus), 1);
	end(one);
	CHECK_INT(gpu_pool_idle(jobs->gpus), 1); /* 0 is gone */
	create_gpu_job("five", 1, 1);
	CHECK_ORDERS("five", "9|");
	down();
}

TEST(a_host_that_is_over_gives_its_own_back)
{
	struct job *j;

	up_with("0 1");
	create_gpu_job("pair", 2, 1);
	create_gpu_job("next", 1, 1);
	CHECK(state_of("next") == JOB_PENDING);
	j = live("pair");
	for (size_t i = 0; i < 2; i++) {
		fact(j->hosts[i].id, 1, FACT_STARTED, NULL);
		fact(j->hosts[i].id, 2, FACT_DOWNLOADING, NULL);
		fact(j->hosts[i].id, 3, FACT_READY, NULL);
	}
	for (size_t i = 0; i < 2; i++)
		fact(j->hosts[i].id, 4, FACT_TRAINING, NULL);
	fact(j->hosts[1].id, 5, FACT_EXITED, json_pack("{s:i}", "code", 0));
	fact(j->hosts[1].id, 6, FACT_UPLOADING, NULL);
	fact(j->hosts[1].id, 7, FACT_ENDED, ended("ok", ""));
	settle();
	CHECK_ORDERS("next", "1|");
	restart();
	CHECK_INT(gpu_pool_idle(jobs->gpus), 0);
	down();
}

TEST(stopped_before_it_is_placed_it_holds_none)
{
	up_with("0");
	create_gpu_job("one", 1, 1);
	create_gpu_job("two", 1, 1);
	CHECK_OK(jobs_stop(jobs, KIND_TRAINING, STR("two"), e));
	settle();
	CHECK(state_of("two") == JOB_STOPPED && gpu_pool_idle(jobs->gpus) == 0);
	CHECK_ORDERS("one", "0|");
	down();
}

TEST(more_than_there_are_is_divided_or_refused)
{
	struct capacity_needs n = { .gpus = 4, .hosts = 2 };
	struct err why = { 0 };

	up_with("0 1 2");
	create_gpu_job("pair", 2, 4);
	CHECK_ORDERS("pair", "0,1|2|");
	CHECK_OK(jobs_check_gpus(jobs, &n, e));
	free(conf.gpu_shortage);
	conf.gpu_shortage = xstrdup("refuse");
	CHECK(jobs_check_gpus(jobs, &n, &why) < 0 && why.kind == ERR_LIMIT);
	CHECK_STR(why.frame[0], "The instances of this job have 8 GPUs together; this server has 3, and its "
	                        "bloomery.conf says gpu_shortage = refuse");
	n.hosts = 0;
	n.gpus = 3;
	CHECK_OK(jobs_check_gpus(jobs, &n, e));
	down();
	free(conf.gpu_shortage);
	conf.gpu_shortage = xstrdup("fewer");
}
