/* log.h - one line per event on stderr, for operators. Programs log at the top of a request, phase or timer; library
 * code returns errors instead. Control characters and non-UTF-8 bytes in the text are escaped, so a line is a line.
 *
 * What stands where requests have their tokens, signatures and passwords (the list is in log.c) is written as "***".
 *
 * Format: 2026-11-21T08:46:58.123Z PROGRAM[PID] LEVEL message. Thread-safe; each line is one write(2).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/err.h"
#include "base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_init(const char *program, enum log_level least); /* call once, before threads */
void log_line(enum log_level level, const char *fmt, ...) printf_like(2, 3);
void log_err(enum log_level level, const struct err *e, const char *fmt, ...) printf_like(3, 4); /* "msg: chain" */

/* Appends text as the log has it: escaped, and without secrets. */
void log_clean(struct buf *out, struct str text);

#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
