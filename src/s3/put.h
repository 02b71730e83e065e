/* put.h - for the end of a process that may be in the middle of an upload.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "s3/s3.h"

/* Aborts the multipart upload that another thread has under way, if there is one. The caller ends the process next:
 * parts that are still being sent die with their connections. */
void s3_abandon(struct s3 *s);
