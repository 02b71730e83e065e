/* SPDX-License-Identifier: Apache-2.0 */
#include "job/capacity.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#define GIB ((double)(1ULL << 30))

enum { PIDS_LEAST = 4096, PIDS_MOST = 32768, PIDS_PER_CPU = 1024 };

void capacity_needs_fini(struct capacity_needs *n)
{
	struct capacity_needs *next = n->next;

	free(n->instance_type);
	n->instance_type = NULL;
	n->next = NULL;
	if (next)
		capacity_needs_fini(next);
	free(next);
}

void job_limits_fini(struct job_limits *l)
{
	free(l->instance_type);
	free(l->clipped);
	l->instance_type = l->clipped = NULL;
}

static json_t *to_json(const struct capacity_needs *n)
{
	json_t *j = json_pack("{s:s, s:f, s:I, s:i, s:b, s:I, s:I}", "instance_type", n->instance_type, "cpus", n->cpus,
	                      "memory_bytes", (json_int_t)n->memory_bytes, "gpus", (int)n->gpus, "whole_machine",
	                      n->whole_machine, "volume_bytes", (json_int_t)n->volume_bytes, "max_pending_s",
	                      (json_int_t)n->max_pending_s);

	must(j);
	if (n->hosts > 1)
		json_object_set_new(j, "hosts", json_integer(n->hosts));
	if (n->next)
		json_object_set_new(j, "next", to_json(n->next));
	return j;
}

char *capacity_needs_text(const struct capacity_needs *n)
{
	json_t *j = to_json(n);
	char *text = json_dumps(j, JSON_COMPACT);

	must(text);
	json_decref(j);
	return text;
}

static int from_json(json_t *j, struct capacity_needs *ret, struct err *e)
{
	json_int_t memory, volume, pending;
	json_t *next = json_object_get(j, "next");
	json_error_t why = { 0 };
	const char *type;
	double cpus;
	int gpus, whole, hosts = 0;

	if (!j || json_unpack_ex(j, &why, 0, "{s:s, s:F, s:I, s:i, s:b, s:I, s:I, s?i}", "instance_type", &type, "cpus",
	                         &cpus, "memory_bytes", &memory, "gpus", &gpus, "whole_machine", &whole, "volume_bytes",
	                         &volume, "max_pending_s", &pending, "hosts", &hosts) < 0)
		return err_set(e, ERR_INVALID, "the needs of a job are not readable: %s", why.text);
	*ret = (struct capacity_needs){ .instance_type = xstrdup(type),
		                        .cpus = cpus,
		                        .memory_bytes = (uint64_t)memory,
		                        .gpus = (unsigned)gpus,
		                        .whole_machine = whole,
		                        .volume_bytes = (uint64_t)volume,
		                        .max_pending_s = pending,
		                        .hosts = hosts > 0 ? (unsigned)hosts : 0 };
	if (!next)
		return 0;
	ret->next = xcalloc(1, sizeof(*ret->next));
	if (from_json(next, ret->next, e) == 0)
		return 0;
	capacity_needs_fini(ret);
	return -1;
}

int capacity_needs_parse(const char *text, struct capacity_needs *ret, struct err *e)
{
	json_error_t why;
	json_t *j = json_loads(text, 0, &why);
	int rc = j ? from_json(j, ret, e)
	           : err_set(e, ERR_INVALID, "the needs of a job are not readable: %s", why.text);

	json_decref(j);
	return rc;
}

static double machine_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		return CPU_COUNT(&set);
	return (double)sysconf(_SC_NPROCESSORS_ONLN);
}

/* Memory less what the system and our own processes need: a sixteenth, at least 512 MiB, at most a half. */
static uint64_t machine_memory(void)
{
	uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t reserve = all / 16;

	if (reserve < 512ULL << 20)
		reserve = 512ULL << 20;
	return reserve > all / 2 ? all / 2 : all - reserve;
}

static bool number(const char *text, double *ret)
{
	char *end;

	*ret = strtod(text, &end);
	return *text && !*end && *ret == *ret;
}

int capacity_read(const struct conf *c, struct capacity *ret, struct err *e)
{
	struct capacity cap = { .cpus = machine_cpus(), .memory_bytes = machine_memory(), .shm_fraction = 0.5 };

	if (*c->capacity_cpus && (!number(c->capacity_cpus, &cap.cpus) || cap.cpus < 0.1 || cap.cpus > 8192))
		return err_set(e, ERR_INVALID, "capacity_cpus = %s: a number of cpus from 0.1 to 8192 is wanted",
		               c->capacity_cpus);
	if (*c->capacity_memory && (!str_to_u64(str_of(c->capacity_memory), &cap.memory_bytes) ||
	                            cap.memory_bytes < 16ULL << 20 || cap.memory_bytes > 1ULL << 50))
		return err_set(e, ERR_INVALID, "capacity_memory = %s: a number of bytes, at least 16777216, is wanted",
		               c->capacity_memory);
	if (*c->shm_fraction &&
	    (!number(c->shm_fraction, &cap.shm_fraction) || cap.shm_fraction < 0 || cap.shm_fraction > 1))
		return err_set(e, ERR_INVALID, "shm_fraction = %s: a number from 0 to 1 is wanted", c->shm_fraction);
	cap.job_cpus = cap.cpus < machine_cpus() ? cap.cpus : machine_cpus();
	cap.job_memory_bytes = cap.memory_bytes < machine_memory() ? cap.memory_bytes : machine_memory();
	*ret = cap;
	return 0;
}

static void add_number(struct buf *b, double v)
{
	buf_f(b, "%.4g", v);
}

/* The sentence for the job's log; NULL when nothing bites. */
static char *clipped(const struct capacity *c, const struct capacity_needs *n)
{
	_cleanup_buf_ struct buf b = { 0 };
	bool cpus = n->cpus > c->job_cpus, memory = n->memory_bytes > c->job_memory_bytes;

	if (cpus || memory) {
		buf_f(&b, "%s has ", n->instance_type);
		add_number(&b, n->cpus);
		buf_z(&b, " vCPUs and ");
		add_number(&b, (double)n->memory_bytes / GIB);
		buf_z(&b, " GiB of memory; this server has ");
		if (cpus) {
			add_number(&b, c->job_cpus);
			buf_z(&b, memory ? " cpus and " : " cpus for jobs, and that is what this job gets.");
		}
		if (memory) {
			add_number(&b, (double)c->job_memory_bytes / GIB);
			buf_z(&b, " GiB for jobs, and that is what this job gets.");
		}
	}
	if (n->gpus > c->gpus) {
		if (b.n)
			buf_c(&b, ' ');
		buf_f(&b, "%s has %u GPU%s; this server has ", n->instance_type, n->gpus, n->gpus == 1 ? "" : "s");
		if (c->gpus)
			buf_f(&b, "%u, and that is what this job gets.", c->gpus);
		else
			buf_z(&b, "none, and the job runs without.");
	}
	return b.n ? buf_take(&b) : NULL;
}

static uint64_t pids_for(double cpus)
{
	double pids = cpus * PIDS_PER_CPU;

	return (uint64_t)(pids < PIDS_LEAST ? PIDS_LEAST : pids > PIDS_MOST ? PIDS_MOST : pids);
}

void capacity_limits(const struct capacity *c, const struct capacity_needs *n, struct job_limits *ret,
                     struct capacity_share *ret_share)
{
	struct job_limits l = { .instance_type = xstrdup(n->instance_type),
		                .cpus = c->job_cpus,
		                .memory_bytes = c->job_memory_bytes,
		                .volume_bytes = n->volume_bytes };

	if (n->whole_machine) {
		double cores = c->cpus < 1 ? 1 : c->cpus;

		*ret_share = (struct capacity_share){ c->cpus < 1 ? c->cpus : 1,
			                              (uint64_t)((double)c->memory_bytes / cores) };
	} else {
		if (n->cpus < l.cpus)
			l.cpus = n->cpus;
		if (n->memory_bytes < l.memory_bytes)
			l.memory_bytes = n->memory_bytes;
		l.gpus = n->gpus < c->gpus ? n->gpus : c->gpus;
		l.clipped = clipped(c, n);
		*ret_share = (struct capacity_share){ l.cpus, l.memory_bytes };
	}
	l.shm_bytes = (uint64_t)((double)l.memory_bytes * c->shm_fraction);
	l.pids = pids_for(l.cpus);
	*ret = l;
}

static unsigned hosts_of(const struct capacity_needs *n)
{
	return n->hosts ? n->hosts : 1;
}

unsigned capacity_hosts(const struct capacity_needs *n)
{
	unsigned sum = 0;

	for (; n; n = n->next)
		sum += hosts_of(n);
	return sum;
}

/* What all hosts together would take. */
static struct capacity_share sum_of(const struct capacity *c, const struct capacity_needs *n)
{
	struct capacity_share sum = { 0 }, one;
	struct job_limits l;

	for (; n; n = n->next) {
		capacity_limits(c, n, &l, &one);
		job_limits_fini(&l);
		sum.cpus += one.cpus * hosts_of(n);
		sum.memory_bytes += one.memory_bytes * hosts_of(n);
	}
	return sum;
}

unsigned capacity_gpus(const struct capacity_needs *n)
{
	unsigned sum = 0;

	for (; n; n = n->next)
		sum += n->gpus * hosts_of(n);
	return sum;
}

/* Cpus and memory that are not enough for all. */
static void add_gang(struct buf *b, const struct capacity *c, const struct capacity_needs *all,
                     const struct capacity_share *sum, const struct job_limits *l)
{
	buf_f(b, "The %u hosts of this job want ", capacity_hosts(all));
	add_number(b, sum->cpus);
	buf_z(b, " cpus and ");
	add_number(b, (double)sum->memory_bytes / GIB);
	buf_z(b, " GiB of memory together; this server has ");
	add_number(b, c->cpus);
	buf_z(b, " cpus, which they share, and ");
	add_number(b, (double)c->memory_bytes / GIB);
	buf_z(b, " GiB, of which this host gets ");
	add_number(b, (double)l->memory_bytes / GIB);
	buf_z(b, ".");
}

/* Host `number`, counted from 1, has all GPUs of its type where there are enough for all hosts. Else each has its part
 * of those that there are, so that together they have all of them, and algo-1 is not the one to have none. */
static unsigned gpus_of_host(const struct capacity *c, const struct capacity_needs *all, unsigned number)
{
	uint64_t wanted = capacity_gpus(all), before = 0, own = 0;
	unsigned at = 1;

	for (const struct capacity_needs *n = all; n; n = n->next)
		for (unsigned i = 0; i < hosts_of(n) && at <= number; i++, at++) {
			before += own;
			own = n->gpus;
		}
	if (wanted <= c->gpus)
		return (unsigned)own;
	return (unsigned)(((before + own) * c->gpus + wanted - 1) / wanted - (before * c->gpus + wanted - 1) / wanted);
}

static void divide_gpus(struct buf *b, const struct capacity *c, const struct capacity_needs *all, unsigned number,
                        struct job_limits *l)
{
	unsigned wanted = capacity_gpus(all);

	l->gpus = gpus_of_host(c, all, number);
	if (wanted > c->gpus && c->gpus)
		buf_f(b,
		      "%sThe %u hosts of this job want %u GPUs together; this server has %u, of which this host gets "
		      "%u.",
		      b->n ? " " : "", capacity_hosts(all), wanted, c->gpus, l->gpus);
}

/* What all want together is more cpus or memory than there is. */
static void divide_rest(const struct capacity *c, const struct capacity_needs *kind, const struct capacity_share *sum,
                        struct job_limits *l, struct capacity_share *share)
{
	if (sum->cpus > c->cpus)
		share->cpus *= c->cpus / sum->cpus;
	if (sum->memory_bytes > c->memory_bytes) {
		double part = (double)c->memory_bytes / (double)sum->memory_bytes;

		share->memory_bytes = (uint64_t)((double)share->memory_bytes * part);
		if (!kind->whole_machine)
			l->memory_bytes = share->memory_bytes;
		l->shm_bytes = (uint64_t)((double)l->memory_bytes * c->shm_fraction);
	}
}

void capacity_host_limits(const struct capacity *c, const struct capacity_needs *n, unsigned number,
                          struct job_limits *ret, struct capacity_share *ret_share)
{
	const struct capacity_needs *kind = n;
	_cleanup_buf_ struct buf b = { 0 };
	struct capacity_share sum;

	for (unsigned first = 1; kind->next && number >= first + hosts_of(kind); kind = kind->next)
		first += hosts_of(kind);
	capacity_limits(c, kind, ret, ret_share);
	ret->volume_bytes = n->volume_bytes;
	if (!n->next && hosts_of(n) == 1)
		return;
	if (ret->clipped)
		buf_f(&b, "%s", ret->clipped);
	sum = sum_of(c, n);
	if (sum.cpus > c->cpus + 1e-6 || sum.memory_bytes > c->memory_bytes) {
		divide_rest(c, kind, &sum, ret, ret_share);
		buf_z(&b, b.n ? " " : "");
		add_gang(&b, c, n, &sum, ret);
	}
	divide_gpus(&b, c, n, number, ret);
	free(ret->clipped);
	ret->clipped = b.n ? buf_take(&b) : NULL;
}

bool capacity_fits(const struct capacity *c, const struct capacity_share *used, const struct capacity_share *share)
{
	/* Fractions of cpus are added and taken away again: allow for rounding. */
	return used->cpus + share->cpus <= c->cpus + 1e-6 &&
	       used->memory_bytes + share->memory_bytes <= c->memory_bytes;
}
