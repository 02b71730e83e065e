/* again.h - bloomery-metric, as bloomeryd starts it: a job's stored logs once more, for `bloomery metrics try` and
 * `bloomery metrics refit`.
 *
 * A log is what a container printed and the expressions are a user's, and a log of 10 GB takes minutes: so this is a
 * process of its own, which is nobody and can only read files, and bloomeryd reads what it says, a JSON object a line:
 *
 *   {"read":bytes}                 how much of all logs is done
 *   {"host":i}                     what follows is of the i-th host (refit)
 *   {"t":..,"n":..,"v":..}, {"at":..}, {"counts":[..],..}      as in out.h (refit)
 *   {"tried":{..}}                 the answer (try): counts, and the first values and refused lines
 *   {"error":"a sentence"}         and no more
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/str.h"

struct again_host {
	unsigned number; /* algo-<number> */
	int log;         /* its directory */
};

/* The work order, as text; regex.p NULL: definitions ([{"Name", "Regex"}], borrowed) instead. Descriptors have the same
 * numbers in both processes. */
void again_order(struct str regex, json_t *definitions, const struct again_host *hosts, size_t count, struct buf *out);

/* Returns the exit status. */
int again_main(int order_fd, int say_fd);
