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
 * request, or another program's. */
static const char *const before_secrets[] = {
	"X-Amz-Security-Token=",
	"X-Amz-Security-Token: ",
	"X-Amz-Signature=",
	"Signature=",
	"/v2/credentials/",
	"Bearer ",
	"Basic ",
	"AWS_SECRET_ACCESS_KEY=",
	"AWS_SESSION_TOKEN=",
	"s3_secret_key = ",
};

/* Members of objects, whose value is one. */
static const char *const secret_members[] = {
	"SecretAccessKey",  "SessionToken", "secret_key", "token",         "Token",
	"credentials_path", "Password",     "auth",       "identitytoken",
};

/* A piece of text that is a marker and a secret; nothing: before.n == 0. */
struct found {
	struct str before, secret;
};

static struct str until(struct str at, const char *ends)
{
	size_t n = 0;

	while (n < at.n && (unsigned char)at.p[n] > ' ' && !strchr(ends, at.p[n]))
		n++;
	return (struct str){ at.p, n };
}

/* The rest of a string of JSON, which ends with a quote, or with an escaped one in JSON that is quoted itself. */
static struct str string_of(struct str at, bool escaped)
{
	size_t n = 0;

	while (n < at.n && at.p[n] != '"' && !(escaped && n + 1 < at.n && at.p[n] == '\\' && at.p[n + 1] == '"'))
		n += !escaped && at.p[n] == '\\' && n + 1 < at.n ? 2 : 1;
	return (struct str){ at.p, n };
}

/* A name in quotes, a colon, and the value's quote. */
static struct found find_member(struct str at)
{
	struct str rest = at, value;
	bool escaped = str_skip(&rest, STR("\\"));

	if (!str_skip(&rest, STR("\"")))
		return (struct found){ 0 };
	for (size_t i = 0; i < ARRAY_LEN(secret_members); i++) {
		struct str name = str_of(secret_members[i]);

		if (rest.n <= name.n || !str_eq_nocase((struct str){ rest.p, name.n }, name))
			continue;
		value = (struct str){ rest.p + name.n, rest.n - name.n };
		if (escaped && !str_skip(&value, STR("\\")))
			continue;
		if (!str_skip(&value, STR("\"")))
			continue;
		while (str_skip(&value, STR(" ")))
			;
		if (!str_skip(&value, STR(":")))
			continue;
		while (str_skip(&value, STR(" ")))
			;
		if ((!escaped || str_skip(&value, STR("\\"))) && str_skip(&value, STR("\"")))
			return (struct found){ { at.p, at.n - value.n }, string_of(value, escaped) };
	}
	return (struct found){ 0 };
}

/* USER:PASSWORD@ of a URL. */
static struct found find_userinfo(struct str at)
{
	struct str rest = at, who;

	if (!str_skip(&rest, STR("://")))
		return (struct found){ 0 };
	who = until(rest, "/\"'?#\\@");
	if (who.n == rest.n || rest.p[who.n] != '@')
		return (struct found){ 0 };
	return (struct found){ { at.p, 3 }, who };
}

static struct found find_secret(struct str at)
{
	for (size_t i = 0; i < ARRAY_LEN(before_secrets); i++) {
		struct str m = str_of(before_secrets[i]);

		if (at.n > m.n && str_eq_nocase((struct str){ at.p, m.n }, m))
			return (struct found){ { at.p, m.n },
				               until((struct str){ at.p + m.n, at.n - m.n }, "\"'&,;\\") };
	}
	return *at.p == ':' ? find_userinfo(at) : find_member(at);
}

void log_clean(struct buf *out, struct str text)
{
	while (text.n) {
		struct found f = find_secret(text);
		size_t n = f.before.n + f.secret.n;
		unsigned char c = (unsigned char)*text.p;

		if (f.before.n) {
			buf_str(out, f.before);
			buf_z(out, "***");
			text = (struct str){ text.p + n, text.n - n };
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
