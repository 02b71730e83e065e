/* order.h - what bloomery-job wants of bloomery-metric: a JSON object in a file that is handed over as a descriptor.
 *
 * Both sides are here, so that they agree. Descriptors are numbers that are the same in both processes; -1: there is
 * none. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "metric/instance.h"
#include "metric/metric.h"

struct metric_order {
	char *host;          /* "algo-1": the leaf names of its log and of its metrics */
	json_t *definitions; /* as in the request: [{"Name": ..., "Regex": ...}], at most METRIC_DEFINITIONS_MAX */
	int log, metrics;    /* the directories */
	int root;            /* of the container; -1: it writes no files of metrics */
	json_t *gpus;        /* what nvidia-smi knows the host's GPUs by; may be NULL */
	struct instance_sources instance;
};

json_t *metric_order_to_json(const struct metric_order *o); /* new reference */
/* ERR_INVALID names the member. */
int metric_order_read(int fd, struct metric_order *ret, struct err *e) must_check;
void metric_order_fini(struct metric_order *o);
/* Views into the order's texts; returns how many. */
size_t metric_order_definitions(const struct metric_order *o, struct metric_definition ret[METRIC_DEFINITIONS_MAX]);

/* A metric's name and expression of a request, from `definitions` as above. ERR_INVALID names what is wrong. */
int metric_definitions_of(const json_t *definitions, struct metric_definition ret[METRIC_DEFINITIONS_MAX],
                          size_t *ret_n, struct err *e) must_check;
