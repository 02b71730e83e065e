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

/* What is followed by a secret, and what ends it. Nobody means to log one; this is for a sentence that quotes a
 * request. */
static const char *const before_secrets[] = {
	"X-Amz-Security-Token=",
	"X-Amz-Security-Token: ",
	"X-Amz-Signature=",
	"Signature=",
	"/v2/credentials/",
	"Bearer ",
	"Basic ",
	"\"SecretAccessKey\":\"",
	"\"SessionToken\":\"",
	"\"secret_key\":\"",
	"\"token\":\"",
	"\"Token\":\"",
	"\"Password\":\"",
	"AWS_SECRET_ACCESS_KEY=",
	"AWS_SESSION_TOKEN=",
};

/* The length of the marker that begins here; 0: none. */
static size_t marker(struct str at)
{
	for (size_t i = 0; i < ARRAY_LEN(before_secrets); i++) {
		struct str m = str_of(before_secrets[i]);

		if (at.n > m.n && str_eq_nocase((struct str){ at.p, m.n }, m))
			return m.n;
	}
	return 0;
}

static size_t secret_length(struct str at)
{
	size_t n = 0;

	while (n < at.n && at.p[n] > ' ' && !strchr("\"'&,;", at.p[n]))
		n++;
	return n;
}

void log_clean(struct buf *out, struct str text)
{
	while (text.n) {
		size_t m = marker(text);
		struct str rest = { text.p + m, text.n - m };
		unsigned char c = (unsigned char)*text.p;

		if (m) {
			buf_add(out, text.p, m);
			m += secret_length(rest);
			buf_z(out, "***");
			text = (struct str){ text.p + m, text.n - m };
			continue;
		}
		if (c < 0x20 || c == 0x7f)
			buf_f(out, "\\x%02x", c);
		else
			buf_c(out, (char)c);
		text.p++;
		text.n--;
	}
}

static void emit(enum log_level level, struct str text)
{
	_cleanup_buf_ struct buf line = { 0 };
	char when[CLOCK_TEXT_BYTES];
	ssize_t done;

	buf_f(&line, "%s %s[%d] %s ", wall_iso8601(wall_now(), when), log_program, (int)getpid(), level_name[level]);
	log_clean(&line, text);
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
