/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

static const char *log_program = "bloomery";
static enum log_level log_least = LOG_INFO;
static const char *const level_name[] = { "debug", "info", "warning", "error" };

void log_init(const char *program, enum log_level least)
{
	log_program = program;
	log_least = least;
}

static void emit(enum log_level level, struct str text)
{
	_cleanup_buf_ struct buf line = { 0 };
	char when[CLOCK_TEXT_BYTES];
	ssize_t done;

	buf_f(&line, "%s %s[%d] %s ", wall_iso8601(wall_now(), when), log_program, (int)getpid(), level_name[level]);
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (c < 0x20 || c == 0x7f)
			buf_f(&line, "\\x%02x", c);
		else
			buf_c(&line, (char)c);
	}
	buf_c(&line, '\n');
	done = write(STDERR_FILENO, line.p, line.n);
	(void)done; /* nowhere left to say that stderr is gone */
}

void log_line(enum log_level level, const char *fmt, ...)
{
	_cleanup_buf_ struct buf text = { 0 };
	va_list ap;

	if (level < log_least)
		return;
	va_start(ap, fmt);
	buf_vf(&text, fmt, ap);
	va_end(ap);
	emit(level, buf_view(&text));
}

void log_err(enum log_level level, const struct err *e, const char *fmt, ...)
{
	char chain[ERR_FRAMES * ERR_FRAME_BYTES];
	_cleanup_buf_ struct buf text = { 0 };
	va_list ap;

	if (level < log_least)
		return;
	va_start(ap, fmt);
	buf_vf(&text, fmt, ap);
	va_end(ap);
	buf_f(&text, ": %s", err_text(e, chain, sizeof(chain)));
	emit(level, buf_view(&text));
}
