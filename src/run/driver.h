/* driver.h - bloomery-transform (transform/transform.h) beside the containers of a transform job.
 *
 * It gets its sockets from here: each container has a network of its own, which only we have open. What it says of the
 * outputs is kept in work/told, a line of JSON for each, so that it need not fit into memory: {"file", "key"} with
 * the key below S3OutputPath, or with "bucket" a whole one. The outputs are files in work/outbox.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "run/phase.h"

#define DRIVER_OUTBOX "outbox"
#define DRIVER_TOLD "told"

struct driver;
/* log_fd: where it writes the data-log; borrowed. ended is called once, from the loop: why is NULL when all objects
 * went well. The driver may be freed from there. */
int driver_start(struct run *r, int log_fd, void (*ended)(void *arg, const struct err *why), void *arg,
                 struct driver **ret, struct err *e) must_check;
void driver_stop(struct driver *d);          /* SIGTERM; `ended` follows. NULL is fine */
bool driver_is_done(const struct driver *d); /* it has said that all went well; true for NULL */
void driver_free(struct driver *d);          /* SIGKILL, waits; NULL is fine */
