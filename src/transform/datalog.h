/* datalog.h - the lines of a transform job's data-log, in the form of the service (contract 6.1):
 *
 *     2021-03-14T23:56:26.474:[sagemaker logs]: bucket/key: Unable to get response from algorithm
 *
 * Each line is one write to a descriptor, so lines of several threads do not mix. What cannot be written is lost: the
 * log is no reason to fail.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "base/str.h"

/* The line for a time, with its LF. object: "bucket/key", or empty. Control characters in it become "?". */
void datalog_line(struct wall at, struct str object, struct str text, struct buf *ret);

void datalog_write(int fd, struct str object, struct str text); /* fd < 0: nowhere */
/* What is said of an answer that was none of success: its status, then its body line by line. */
void datalog_refusal(int fd, struct str object, int status, struct str body);
