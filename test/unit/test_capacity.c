/* What a job may take, and what fits beside what. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "harness.h"
#include "job/capacity.h"

#define GIB (1ULL << 30)

static const struct capacity machine = {
	.cpus = 4, .memory_bytes = 20 * GIB, .job_cpus = 4, .job_memory_bytes = 20 * GIB, .shm_fraction = 0.5
};

static struct capacity_needs needs(const char *type, double cpus, uint64_t memory)
{
	return (struct capacity_needs){
		.instance_type = (char *)type, .cpus = cpus, .memory_bytes = memory, .volume_bytes = 5 * GIB
	};
}

TEST(a_type_that_fits_is_given_as_it_is)
{
	struct capacity_needs n = needs("ml.m5.large", 2, 8 * GIB);
	struct capacity_share share;
	struct job_limits l;

	capacity_limits(&machine, &n, &l, &share);
	CHECK_STR(l.instance_type, "ml.m5.large");
	CHECK(l.cpus == 2 && share.cpus == 2);
	CHECK(l.memory_bytes == 8 * GIB && share.memory_bytes == 8 * GIB);
	CHECK(l.shm_bytes == 4 * GIB);
	CHECK(l.volume_bytes == 5 * GIB);
	CHECK(l.pids >= 1024);
	CHECK(!l.clipped);
	job_limits_fini(&l);
}

TEST(a_type_that_is_too_big_is_clipped_and_says_so)
{
	struct capacity_needs n = needs("ml.p3.16xlarge", 64, 488 * GIB);
	struct capacity_share share, idle = { 0 };
	struct job_limits l;

	n.gpus = 8;
	capacity_limits(&machine, &n, &l, &share);
	CHECK(l.cpus == 4 && share.cpus == 4);
	CHECK(l.memory_bytes == 20 * GIB);
	CHECK_STR(l.clipped, "ml.p3.16xlarge has 64 vCPUs and 488 GiB of memory; this server has 4 cpus and 20 GiB for "
	                     "jobs, and that is what this job gets. ml.p3.16xlarge has 8 GPUs; this server has none, "
	                     "and the job runs without.");
	CHECK(capacity_fits(&machine, &idle, &share));
	job_limits_fini(&l);
	n = needs("ml.c5.2xlarge", 8, 16 * GIB);
	capacity_limits(&machine, &n, &l, &share);
	CHECK_STR(l.clipped,
	          "ml.c5.2xlarge has 8 vCPUs and 16 GiB of memory; this server has 4 cpus for jobs, and that is "
	          "what this job gets.");
	job_limits_fini(&l);
	n = needs("ml.r5.large", 2, 160 * GIB);
	capacity_limits(&machine, &n, &l, &share);
	CHECK_STR(l.clipped,
	          "ml.r5.large has 2 vCPUs and 160 GiB of memory; this server has 20 GiB for jobs, and that is "
	          "what this job gets.");
	job_limits_fini(&l);
}

TEST(local_has_the_machine_and_counts_as_one_cpu)
{
	struct capacity_needs n = needs("local", 0, 0);
	struct capacity_share share, used = { 0 };
	struct job_limits l;
	int fit = 0;

	n.whole_machine = true;
	capacity_limits(&machine, &n, &l, &share);
	CHECK(l.cpus == 4 && l.memory_bytes == 20 * GIB);
	CHECK(share.cpus == 1 && share.memory_bytes == 5 * GIB);
	for (; capacity_fits(&machine, &used, &share); fit++) {
		used.cpus += share.cpus;
		used.memory_bytes += share.memory_bytes;
	}
	CHECK_INT(fit, 4);
	job_limits_fini(&l);
}

TEST(an_idle_machine_fits_everything)
{
	uint64_t seed = 7;

	for (int i = 0; i < 2000; i++) {
		struct capacity c = { .shm_fraction = 0.25 };
		struct capacity_needs n = needs("x", 0, 0);
		struct capacity_share share, idle = { 0 };
		struct job_limits l;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		c.cpus = 0.1 + (double)(seed >> 40 & 0xff) / 7;
		c.memory_bytes = (16ULL << 20) + (seed >> 20 & 0xffffffff);
		c.job_cpus = c.cpus * (seed >> 62 ? 1 : 0.5);
		c.job_memory_bytes = c.memory_bytes / (seed >> 61 & 1 ? 1 : 2);
		n.cpus = 0.1 + (double)(seed >> 30 & 0xff) / 3;
		n.memory_bytes = 1 + (seed >> 10 & 0xfffffffff);
		n.whole_machine = seed >> 63;
		capacity_limits(&c, &n, &l, &share);
		CHECK(capacity_fits(&c, &idle, &share));
		CHECK(l.cpus <= c.job_cpus && l.memory_bytes <= c.job_memory_bytes && l.shm_bytes <= l.memory_bytes);
		job_limits_fini(&l);
	}
}

TEST(hosts_together_fit_an_idle_machine)
{
	struct capacity_needs second = needs("ml.b", 8, 16 * GIB), n = needs("ml.a", 2, 4 * GIB);
	struct capacity_share share, used = { 0 };
	struct job_limits l;

	n.hosts = 2;
	second.hosts = 3;
	n.next = &second;
	for (unsigned i = 1; i <= 5; i++) {
		capacity_host_limits(&machine, &n, i, &l, &share);
		CHECK(capacity_fits(&machine, &used, &share));
		used.cpus += share.cpus;
		used.memory_bytes += share.memory_bytes;
		CHECK_STR(l.instance_type, i <= 2 ? "ml.a" : "ml.b");
		CHECK(l.cpus == (i <= 2 ? 2 : 4)); /* they share what they have together */
		CHECK(l.memory_bytes == share.memory_bytes && l.memory_bytes < (i <= 2 ? 4 : 16) * GIB);
		CHECK_INT(l.volume_bytes, n.volume_bytes);
		CHECK(strstr(l.clipped, "The 5 hosts of this job want "));
		job_limits_fini(&l);
	}
	CHECK(used.cpus > 3.99); /* all of it */
	n.next = NULL;
	capacity_host_limits(&machine, &n, 2, &l, &share); /* two that fit get what they ask for */
	CHECK(share.cpus == 2 && share.memory_bytes == 4 * GIB && !l.clipped);
	job_limits_fini(&l);
}

TEST(gpus_are_shared_out_to_the_last)
{
	struct capacity_needs second = needs("ml.b", 1, GIB), n = needs("ml.a", 0.1, GIB);
	struct capacity c = machine;
	struct capacity_share share;
	struct job_limits l;

	n.gpus = 4;
	n.hosts = 3;
	second.gpus = 1;
	second.hosts = 2;
	n.next = &second;
	CHECK_INT(capacity_gpus(&n), 14);
	for (c.gpus = 0; c.gpus < 20; c.gpus++) {
		unsigned sum = 0, wanted;

		for (unsigned i = 1; i <= 5; i++) {
			capacity_host_limits(&c, &n, i, &l, &share);
			wanted = i <= 3 ? 4 : 1;
			CHECK(l.gpus <= wanted && (c.gpus < 14 || l.gpus == wanted));
			CHECK(i > 1 || l.gpus || !c.gpus);
			CHECK((c.gpus >= 14) == !l.clipped);
			sum += l.gpus;
			job_limits_fini(&l);
		}
		CHECK_INT(sum, c.gpus < 14 ? c.gpus : 14);
	}
	c.gpus = 2;
	capacity_host_limits(&c, &n, 1, &l, &share);
	CHECK_STR(l.clipped,
	          "ml.a has 4 GPUs; this server has 2, and that is what this job gets. The 5 hosts of this job want "
	          "14 GPUs together; this server has 2, of which this host gets 1.");
	job_limits_fini(&l);
	n = needs("ml.g", 1, GIB);
	n.gpus = 1;
	capacity_host_limits(&c, &n, 1, &l, &share);
	CHECK(l.gpus == 1 && !l.clipped);
	job_limits_fini(&l);
}

TEST(needs_are_written_and_read)
{
	struct capacity_needs n = needs("ml.t3.medium", 2.5, 4 * GIB), other = needs("ml.o", 1, GIB), back;
	_cleanup_free_ char *text = NULL;
	struct err why = { 0 };

	n.gpus = 3;
	n.max_pending_s = 7200;
	n.hosts = 3;
	n.next = &other;
	other.hosts = 2;
	text = capacity_needs_text(&n);
	CHECK_OK(capacity_needs_parse(text, &back, e));
	CHECK_STR(back.instance_type, "ml.t3.medium");
	CHECK(back.cpus == 2.5 && back.memory_bytes == 4 * GIB && back.gpus == 3 && back.max_pending_s == 7200 &&
	      !back.whole_machine && back.volume_bytes == 5 * GIB);
	CHECK(capacity_hosts(&back) == 5 && back.next && !back.next->next);
	CHECK_STR(back.next->instance_type, "ml.o");
	capacity_needs_fini(&back);
	CHECK_INT(capacity_needs_parse("{\"instance_type\":1}", &back, &why), -1);
	CHECK_INT(capacity_needs_parse("nonsense", &back, &why), -1);
}

TEST(the_configuration_overrides_the_machine)
{
	struct capacity c;
	struct err why = { 0 };
	struct conf conf;

	conf_init(&conf);
	CHECK_OK(capacity_read(&conf, &c, e));
	CHECK(c.cpus >= 1 && c.memory_bytes > 16ULL << 20);
	free(conf.capacity_cpus);
	free(conf.capacity_memory);
	conf.capacity_cpus = xstrdup("2.5");
	conf.capacity_memory = xstrdup("1073741824");
	CHECK_OK(capacity_read(&conf, &c, e));
	CHECK(c.cpus == 2.5 && c.memory_bytes == GIB);
	free(conf.capacity_cpus);
	conf.capacity_cpus = xstrdup("8000");
	CHECK_OK(capacity_read(&conf, &c, e));
	CHECK(c.cpus == 8000 && c.job_cpus < 8000); /* more jobs, not bigger ones */
	static const char *const bad[][2] = { { "x", "" },  { "0", "" }, { "nan", "" },
		                              { "-1", "" }, { "", "1" }, { "", "2G" } };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		free(conf.capacity_cpus);
		free(conf.capacity_memory);
		conf.capacity_cpus = xstrdup(bad[i][0]);
		conf.capacity_memory = xstrdup(bad[i][1]);
		CHECK_INT(capacity_read(&conf, &c, &why), -1);
		CHECK_INT(why.kind, ERR_INVALID);
	}
	conf_fini(&conf);
}
