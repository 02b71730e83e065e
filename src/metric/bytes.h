/* bytes.h - two questions about the bytes of a log, answered for many at a time where the processor can. Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

/* Where the first byte is that is not shown as it is (joblog_escape): a control character other than '\n', or what is
 * not ASCII. t.n when there is none. */
size_t bytes_find_odd(struct str t);
/* How many lines: '\n's, and one more when something is behind the last. */
uint64_t bytes_count_lines(struct str t);
