/* negotiate.h - what comes before the first record (contract 7.1, 7.5): waiting until the container is healthy, and
 * asking what it wants.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "transform/post.h"

/* Asks GET /ping, each time for at most 2 s, until it is answered with 200. stop_fd: readable ends it. ERR_TRAINER: not
 * within timeout_s since begin; says what the last answer was. name: the container's, for that. */
int negotiate_ping(struct poster *p, const char *name, struct mono begin, unsigned timeout_s, int stop_fd,
                   struct err *e) must_check;

/* The body of /execution-parameters; nothing when there is no such thing, which is no error. */
void negotiate_parameters(struct poster *p, struct buf *ret_answer);
