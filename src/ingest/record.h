/* record.h - one line of a host's metrics file, as bloomery-metric writes it:
 *
 *     {"t":MS,"n":"loss","v":0.25,"s":3}                  a value of an algorithm metric; "s" (the step) is optional;
 *                                                         "src":"file" when it is from the sagemaker directory
 *     {"t":MS,"i":"CPUUtilization","v":12.5,"u":"Percent"}  a sample of the instance
 *     {"at":OFFSET}                                       how far the log is extracted; the extractor's own
 *     {"counts":[...]}                                    what each definition has matched so far
 *
 * What writes it has seen what a container printed, so nothing in it is believed. Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "series/series.h"

struct record_host {
	struct str id, job_id, job_name, host_name; /* host_name: algo-1 */
	struct str instance;                        /* of a transform job; else empty */
};

enum { RECORD_NAME_MAX = 1020, RECORD_LINE_MAX = 64 << 10 };

/* Adds what the line says to the batch; offset is that behind the line, and joins it. False: it is not such a line, and
 * only the offset counts. */
bool record_take(struct series_batch *b, const struct record_host *h, struct str line, uint64_t offset,
                 struct wall now);
