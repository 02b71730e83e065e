/* Accounts, services and the configuration of an image; and whether its distribution is still looked after.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/rootfs.h"
#include "oci/scan_inside.h"

static bool read_text(struct scan *s, const char *path, struct buf *out)
{
	return rootfs_read(s->root, path, SCAN_CONFIG_MAX_BYTES, out);
}

/* ---- accounts ---- */

static bool can_have_shell(struct str shell)
{
	return !str_ends(shell, STR("/nologin")) && !str_ends(shell, STR("/false"));
}

static void no_password(struct scan *s, const char *path, struct str user)
{
	/* It is a way in only where something lets people log in. */
	scan_finding(s, s->can_log_in ? SCAN_HIGH : SCAN_MEDIUM, "account", path,
	             "user " PRIstr " logs in without a password", ARGstr(user));
}

static void check_passwd(struct scan *s)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct str rest;

	if (!read_text(s, "etc/passwd", &text))
		return;
	for (rest = buf_view(&text); rest.n;) {
		struct str line = str_cut(&rest, '\n'), field[7];

		for (size_t i = 0; i < 6; i++)
			field[i] = str_cut(&line, ':');
		field[6] = line;
		if (!field[0].n || !field[2].n)
			continue;
		if (str_is(field[2], "0") && !str_is(field[0], "root"))
			scan_finding(s, SCAN_HIGH, "account", "etc/passwd", "user " PRIstr " is root by another name",
			             ARGstr(field[0]));
		if (!field[1].n && can_have_shell(field[6]))
			no_password(s, "etc/passwd", field[0]);
	}
}

static void check_shadow(struct scan *s)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct str rest;

	if (!read_text(s, "etc/shadow", &text))
		return;
	for (rest = buf_view(&text); rest.n;) {
		struct str line = str_cut(&rest, '\n'), user = str_cut(&line, ':');
		bool fields = str_has_byte(line, ':');

		if (user.n && fields && !str_cut(&line, ':').n)
			no_password(s, "etc/shadow", user);
	}
}

/* ---- services and tools ---- */

/* A line that says this, in whatever case and with whatever blanks between its words, and is no comment. */
static bool says(struct str line, const char *words)
{
	struct str want = str_of(words);

	line = str_trim(line);
	while (want.n) {
		struct str word = str_cut(&want, ' ');
		size_t n = 0;

		while (n < line.n && line.p[n] != ' ' && line.p[n] != '\t' && line.p[n] != '=')
			n++;
		if (!str_eq_nocase((struct str){ line.p, n }, word))
			return false;
		while (n < line.n && (line.p[n] == ' ' || line.p[n] == '\t' || line.p[n] == '='))
			n++;
		line = (struct str){ line.p + n, line.n - n };
	}
	return true;
}

static void check_sshd(struct scan *s, const char *path, struct str text)
{
	while (text.n) {
		struct str line = str_cut(&text, '\n');

		if (says(line, "PermitEmptyPasswords yes"))
			scan_finding(s, SCAN_HIGH, "setting", path, "PermitEmptyPasswords yes: sshd asks for nothing");
		if (says(line, "PermitRootLogin yes"))
			scan_finding(s, SCAN_MEDIUM, "setting", path, "PermitRootLogin yes: root logs in by password");
	}
}

static void check_sudo(struct scan *s, const char *path, struct str text)
{
	while (text.n) {
		struct str line = str_trim(str_cut(&text, '\n'));

		if (line.n && line.p[0] != '#' && str_find(line, STR("NOPASSWD:")) >= 0)
			scan_finding(s, SCAN_MEDIUM, "setting", path, "NOPASSWD: sudo asks for no password: " PRIstr,
			             ARGstr(line));
	}
}

static void check_apt(struct scan *s, const char *path, struct str text)
{
	while (text.n) {
		struct str line = str_trim(str_cut(&text, '\n'));

		if (!line.n || line.p[0] == '#' || str_starts(line, STR("//")))
			continue;
		if (str_find(line, STR("trusted=yes")) >= 0 || says(line, "Trusted: yes"))
			scan_finding(s, SCAN_MEDIUM, "setting", path, "packages from here are installed unsigned");
		if (str_find(line, STR("AllowUnauthenticated")) >= 0 && str_find(line, STR("true")) >= 0)
			scan_finding(s, SCAN_MEDIUM, "setting", path,
			             "AllowUnauthenticated: packages are installed unsigned");
	}
}

static void check_pip(struct scan *s, const char *path, struct str text)
{
	while (text.n) {
		struct str line = str_trim(str_cut(&text, '\n'));
		ptrdiff_t at = str_find(line, STR("://"));
		struct str rest = at < 0 ? (struct str){ 0 } : (struct str){ line.p + at + 3, line.n - (size_t)at - 3 };
		struct str host = str_cut(&rest, '/');

		if (line.n && line.p[0] != '#' && str_has_byte(host, '@') && str_has_byte(host, ':'))
			scan_finding(s, SCAN_HIGH, "secret", path, "has a password in the address of a package index");
	}
}

static const struct {
	const char *path; /* "x/" : each file in it */
	void (*fn)(struct scan *s, const char *path, struct str text);
} files[] = {
	{ "etc/ssh/sshd_config", check_sshd },
	{ "etc/ssh/sshd_config.d/", check_sshd },
	{ "etc/sudoers", check_sudo },
	{ "etc/sudoers.d/", check_sudo },
	{ "etc/apt/sources.list", check_apt },
	{ "etc/apt/sources.list.d/", check_apt },
	{ "etc/apt/apt.conf.d/", check_apt },
	{ "etc/pip.conf", check_pip },
	{ "root/.config/pip/pip.conf", check_pip },
	{ "root/.pip/pip.conf", check_pip },
};

static void check_file(struct scan *s, const char *path, void (*fn)(struct scan *s, const char *path, struct str text))
{
	_cleanup_buf_ struct buf text = { 0 };

	if (read_text(s, path, &text))
		fn(s, path, buf_view(&text));
}

static void check_directory(struct scan *s, const char *dir,
                            void (*fn)(struct scan *s, const char *path, struct str text))
{
	int fd = rootfs_open(s->root, dir, O_RDONLY | O_DIRECTORY, 0);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *ent;

	while (d && (ent = readdir(d))) {
		_cleanup_free_ char *path = strf("%s%s", dir, ent->d_name);

		if (ent->d_name[0] != '.')
			check_file(s, path, fn);
	}
	if (d)
		closedir(d);
}

static void check_files(struct scan *s)
{
	_cleanup_buf_ struct buf preload = { 0 }, equiv = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		(str_ends(str_of(files[i].path), STR("/")) ? check_directory : check_file)(s, files[i].path,
		                                                                           files[i].fn);
	if (read_text(s, "etc/ld.so.preload", &preload) && str_trim(buf_view(&preload)).n)
		scan_finding(s, SCAN_HIGH, "setting", "etc/ld.so.preload", "every program loads " PRIstr,
		             ARGstr(str_trim(buf_view(&preload))));
	if (read_text(s, "etc/hosts.equiv", &equiv) && str_trim(buf_view(&equiv)).n)
		scan_finding(s, SCAN_HIGH, "setting", "etc/hosts.equiv", "hosts log in without a password");
}

/* ---- the image's configuration ---- */

static bool is_secret(struct str name)
{
	static const char *const words[] = {
		"SECRET", "PASSWORD", "PASSWD", "TOKEN", "API_KEY", "APIKEY", "PRIVATE_KEY"
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (str_find(name, str_of(words[i])) >= 0)
			return true;
	return false;
}

/* Where everybody may write, or wherever a program happens to be. */
static void check_path(struct scan *s, struct str value)
{
	for (;;) {
		bool last = !str_has_byte(value, ':');
		struct str part = str_cut(&value, ':');

		if (!part.n || part.p[0] != '/')
			scan_finding(s, SCAN_HIGH, "setting", "", "PATH has '" PRIstr "', which is no absolute path",
			             ARGstr(part));
		else if (str_is(part, "/tmp") || str_starts(part, STR("/tmp/")) || str_is(part, "/var/tmp"))
			scan_finding(s, SCAN_HIGH, "setting", "", "PATH has " PRIstr ", where everybody writes",
			             ARGstr(part));
		if (last)
			return;
	}
}

static void check_env(struct scan *s, struct str pair)
{
	struct str value = pair, name = str_cut(&value, '=');

	if (str_is(name, "AWS_SECRET_ACCESS_KEY") && value.n)
		scan_finding(s, SCAN_HIGH, "secret", "", "its environment holds the key of an AWS account (" PRIstr ")",
		             ARGstr(name));
	else if (is_secret(name) && value.n)
		scan_finding(s, SCAN_MEDIUM, "secret", "", "its environment holds what may be a secret (" PRIstr ")",
		             ARGstr(name));
	if (str_is(name, "LD_PRELOAD") && value.n)
		scan_finding(s, SCAN_MEDIUM, "setting", "", "LD_PRELOAD: every program loads " PRIstr, ARGstr(value));
	if (str_is(name, "PATH"))
		check_path(s, value);
}

static void check_config(struct scan *s)
{
	const json_t *env = json_object_get(s->o->config, "Env"), *v;
	size_t i;

	json_array_foreach (env, i, v)
		check_env(s, str_of(json_string_value(v)));
}

/* ---- the distribution ---- */

/* Until when security updates come, of those for which that is over or known. */
static const struct {
	const char *id, *version, *until;
} ends[] = {
	{ "debian", "8", "2020-06-30" },     { "debian", "9", "2022-06-30" },     { "debian", "10", "2024-06-30" },
	{ "debian", "11", "2026-08-31" },    { "ubuntu", "14.04", "2019-04-30" }, { "ubuntu", "16.04", "2021-04-30" },
	{ "ubuntu", "18.04", "2023-05-31" }, { "ubuntu", "20.04", "2025-05-31" }, { "alpine", "3.15", "2023-11-01" },
	{ "alpine", "3.16", "2024-05-23" },  { "alpine", "3.17", "2024-11-22" },  { "alpine", "3.18", "2025-05-09" },
	{ "alpine", "3.19", "2025-11-01" },  { "centos", "6", "2020-11-30" },     { "centos", "7", "2024-06-30" },
	{ "centos", "8", "2021-12-31" },
};

static struct str unquoted(struct str v)
{
	v = str_trim(v);
	if (v.n >= 2 && (v.p[0] == '"' || v.p[0] == '\'') && v.p[v.n - 1] == v.p[0])
		v = (struct str){ v.p + 1, v.n - 2 };
	return v;
}

/* "3.19" is the version of "3.19.1", not of "3.2". */
static bool is_version(struct str have, const char *want)
{
	return str_skip(&have, str_of(want)) && (!have.n || have.p[0] == '.');
}

static void check_age(struct scan *s, struct str id, struct str version)
{
	char today[CLOCK_TEXT_BYTES];

	wall_iso8601(s->o->now, today);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (str_is(id, ends[i].id) && is_version(version, ends[i].version) &&
		    strncmp(today, ends[i].until, 10) > 0)
			scan_finding(s, SCAN_MEDIUM, "distribution", "etc/os-release",
			             "%s %s gets no security updates since %s", ends[i].id, ends[i].version,
			             ends[i].until);
}

static void check_distribution(struct scan *s)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct str rest, id = { 0 }, version = { 0 }, pretty = { 0 };
	_cleanup_free_ char *a = NULL, *b = NULL, *c = NULL;

	if (read_text(s, "etc/os-release", &text) || read_text(s, "usr/lib/os-release", &text))
		for (rest = buf_view(&text); rest.n;) {
			struct str value = str_cut(&rest, '\n'), name = str_cut(&value, '=');

			if (str_is(name, "ID"))
				id = unquoted(value);
			else if (str_is(name, "VERSION_ID"))
				version = unquoted(value);
			else if (str_is(name, "PRETTY_NAME"))
				pretty = unquoted(value);
		}
	a = scan_printable(id);
	b = scan_printable(version);
	c = scan_printable(pretty);
	s->os = json_pack("{ss ss ss}", "id", a, "version", b, "name", c);
	must(s->os);
	check_age(s, id, version);
}

void scan_settings(struct scan *s)
{
	check_passwd(s);
	check_shadow(s);
	check_files(s);
	check_config(s);
	check_distribution(s);
}
