/* capacity.h - what a job may take of this machine, and whether it fits beside the others. Pure arithmetic, except
 * capacity_read, which asks the machine once at start.
 *
 * A job gets the cpus and the memory of its instance type, but never more than there is here for one job: a bigger
 * type is clipped, with a sentence that says so, and not refused. `local` (an instance type of this server) gives a
 * container the whole machine but is counted as one cpu and its share of the memory, so that several run side by side.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/conf.h"
#include "jobdir/spec.h"

struct capacity {
	double cpus; /* that jobs may take together; bloomery.conf may say more than the machine has */
	uint64_t memory_bytes;
	double job_cpus; /* that one job may take: never more than the machine has */
	uint64_t job_memory_bytes;
	double shm_fraction;
	unsigned gpus; /* that there are: which of them a job has is dealt by gpus.h */
};

/* What a job asks for: its instance type as the API's table has it, and what else scheduling has to know. */
struct capacity_needs {
	char *instance_type;
	double cpus;
	uint64_t memory_bytes;
	unsigned gpus;
	bool whole_machine; /* `local`: cpus and memory_bytes mean nothing */
	uint64_t volume_bytes;
	int64_t max_pending_s;       /* MaxPendingTimeInSeconds; 0: none */
	unsigned hosts;              /* of this kind; 0: one */
	struct capacity_needs *next; /* of the next instance group with hosts; owned; NULL: none. There only the type,
	                              * its sizes and hosts count. */
};
void capacity_needs_fini(struct capacity_needs *n);
char *capacity_needs_text(const struct capacity_needs *n); /* JSON, as the store keeps it; the caller frees */
/* ERR_INVALID: not what capacity_needs_text writes. */
int capacity_needs_parse(const char *text, struct capacity_needs *ret, struct err *e) must_check;

enum { CAPACITY_HOSTS_MAX = 250 };                       /* of a job */
unsigned capacity_hosts(const struct capacity_needs *n); /* of all groups */
unsigned capacity_gpus(const struct capacity_needs *n);  /* of all their hosts, by their types */

/* The share that is counted against the capacity while the job runs. */
struct capacity_share {
	double cpus;
	uint64_t memory_bytes;
};

/* ERR_INVALID names the key of bloomery.conf that makes no sense. */
int capacity_read(const struct conf *c, struct capacity *ret, struct err *e) must_check;
/* The caller frees ret's strings (job_limits_fini). Never fails: what is too big is clipped. */
void capacity_limits(const struct capacity *c, const struct capacity_needs *n, struct job_limits *ret,
                     struct capacity_share *ret_share);
/* Of host `number`, from 1, of a job of several. What they need together is clipped as a lone host's needs are: the
 * cpus are then shared, as nobody else gets them, and the memory and the GPUs are divided. */
void capacity_host_limits(const struct capacity *c, const struct capacity_needs *n, unsigned number,
                          struct job_limits *ret, struct capacity_share *ret_share);
void job_limits_fini(struct job_limits *l);
/* Whether share still fits when used is taken. An idle machine fits every share that capacity_limits returns. */
bool capacity_fits(const struct capacity *c, const struct capacity_share *used, const struct capacity_share *share);
