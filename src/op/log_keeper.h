/* log_keeper.h - a thread of bloomeryd that packs old segments of logs and removes what is older than its group's
 * retention. Inside op/ only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "logstore/logstore.h"

struct log_keeper;
struct store;
/* retention_days: of the group of jobs, when it has no policy; 0: for ever. All is borrowed. */
struct log_keeper *log_keeper_start(const char *data_dir, struct store *store, struct logstore *logs,
                                    unsigned retention_days);
void log_keeper_stop(struct log_keeper *k); /* NULL is fine; waits for what it does just now */
