/* SPDX-License-Identifier: Apache-2.0 */
#include "base/conf.h"
#include "base/fd.h"
#include "cli/cli.h"
#include "cli/up.h"
#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct cli_option options[] = {
	{ "json", 'j', NULL, "a flag", false },
	{ "max", 'n', "N", "a number", false },
	{ "hp", 'p', "K=V", "pairs", true },
	{ 0 },
};
static const struct cli_command command = { "test", "NAME", "for tests", NULL, options, 1, 2, NULL };

/* The arguments are separated by blanks. */
static int parse(const char *line, struct cli_args *ret, struct err *e)
{
	static char *argv[20];
	static char text[200];
	int argc = 0;

	snprintf(text, sizeof(text), "%s", line);
	for (char *at = text; *at; argc++) {
		argv[argc] = at;
		at += strcspn(at, " ");
		if (*at)
			*at++ = 0;
	}
	return cli_parse(&command, argc, argv, ret, e);
}

TEST(a_configuration_of_another_names_no_user)
{
	_cleanup_free_ char *path = strf("%s/bloomery.conf", test_tmpdir());
	struct err why = { 0 };
	struct conf c;

	CHECK_OK(file_put(AT_FDCWD, path, STR("user = 123\n"), 0644, e));
	conf_init(&c);
	CHECK_OK(conf_read(&c, path, e));
	CHECK_OK(up_conf_check(&c, path, e));
	CHECK(chmod(path, 0664) == 0);
	CHECK(up_conf_check(&c, path, &why) < 0 && why.kind == ERR_DENIED);
	CHECK(chmod(path, 0644) == 0);
	if (geteuid() == 0) {
		CHECK(chown(path, 64000, 64000) == 0);
		CHECK(up_conf_check(&c, path, &why) < 0 && why.kind == ERR_DENIED);
	}
	conf_fini(&c);
	conf_init(&c); /* names none */
	CHECK_OK(up_conf_check(&c, path, e));
	conf_fini(&c);
}

TEST(options_are_taken_in_every_spelling_and_order)
{
	static const char *const same[] = { "a --json --max 7 --hp x=1 --hp y=2 --data D b",
		                            "--max=7 -j a b -px=1 -p y=2 --data=D",
		                            "--hp=x=1 -n7 -j --hp y=2 --data D -- a b" };

	for (size_t i = 0; i < ARRAY_LEN(same); i++) {
		struct cli_args a = { 0 };
		int64_t n = 0;

		CHECK_OK(parse(same[i], &a, e));
		CHECK(cli_flag(&a, "json") && !cli_flag(&a, "help"));
		CHECK_OK(cli_number(&a, "max", 1, 10, 3, &n, e));
		CHECK_INT(n, 7);
		CHECK_STR(cli_nth(&a, "hp", 0), "x=1");
		CHECK_STR(cli_nth(&a, "hp", 1), "y=2");
		CHECK(!cli_nth(&a, "hp", 2) && a.rest_count == 2);
		CHECK_STR(a.rest[0], "a");
		CHECK_STR(a.rest[1], "b");
		CHECK_STR(cli_data_dir(&a), "D");
		cli_args_fini(&a);
	}
}

TEST(what_is_not_understood_is_refused_by_name)
{
	static const struct {
		const char *line, *says;
	} rows[] = {
		{ "a --jsn", "there is no option --jsn" },
		{ "a -x", "there is no option -x" },
		{ "a --j", "there is no option --j" },
		{ "a -json", "option --json takes no value" },
		{ "a --json=1", "option --json takes no value" },
		{ "a --max", "option --max needs a value: N" },
		{ "a --max 1 --max 2", "option --max is given twice" },
		{ "--json", "NAME is missing" },
		{ "a b c", "'c' is one argument too many" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct cli_args a = { 0 };
		struct err err = { 0 };
		char text[500];

		CHECK(parse(rows[i].line, &a, &err) == -1 && err.kind == ERR_INVALID);
		CHECK_STR(err_text(&err, text, sizeof(text)), rows[i].says);
	}
}

TEST(numbers_and_pairs_have_limits)
{
	static const char *const bad[] = { "a --max 0", "a --max 11", "a --max x", "a --max=", "a --max 1x" };
	_cleanup_free_ char *name = NULL;
	const char *value;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct cli_args a = { 0 };
		int64_t n = 5;

		CHECK_OK(parse(bad[i], &a, e));
		CHECK(cli_number(&a, "max", 1, 10, 3, &n, NULL) == -1 && n == 5);
		cli_args_fini(&a);
	}
	CHECK(cli_pair("hp", "novalue", &name, &value, NULL) == -1 && cli_pair("hp", "=x", &name, &value, NULL) == -1);
	CHECK_OK(cli_pair("hp", "k=a=b", &name, &value, e));
	CHECK_STR(name, "k");
	CHECK_STR(value, "a=b");
}

TEST(words_are_quoted_for_a_shell)
{
	_cleanup_buf_ struct buf b = { 0 };

	cli_shell_quote(&b, "it's $HOME; `x`");
	CHECK_STR(b.p, "'it'\\''s $HOME; `x`'");
}

TEST(every_command_has_help_and_no_letter_twice)
{
	for (const struct cli_command *c = cli_commands; c->name; c++) {
		_cleanup_free_ char *text = NULL;
		size_t n;
		FILE *f = open_memstream(&text, &n);

		cli_help(c, f);
		fclose(f);
		CHECK(strstr(text, c->summary) && strstr(text, "--help"));
		for (const struct cli_option *o = c->options; o && o->name; o++) {
			CHECK(strstr(text, o->help));
			for (const struct cli_option *p = o + 1; p->name; p++)
				CHECK(strcmp(o->name, p->name) != 0 && (!o->letter || o->letter != p->letter));
		}
	}
}

TEST(the_manual_names_every_command_and_setting)
{
	static const char *const keys[] = {
#define X(key, value, meaning) #key,
		CONF_KEYS(X)
#undef X
	};
	_cleanup_buf_ struct buf commands = { 0 }, settings = { 0 };

	CHECK_OK(file_read("doc/man/bloomery.1.md", 1 << 20, &commands, e));
	CHECK_OK(file_read("doc/man/bloomery.conf.5.md", 1 << 20, &settings, e));
	for (const struct cli_command *c = cli_commands; c->name; c++) {
		_cleanup_free_ char *text = strf("`bloomery %s", c->name);

		CHECK(strstr(commands.p, text));
	}
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		_cleanup_free_ char *text = strf("| `%s` |", keys[i]);

		CHECK(strstr(settings.p, text));
	}
}

/* ---- bloomery up ---- */

TEST(the_user_is_never_root)
{
	struct conf c;
	struct err err = { 0 };
	uid_t uid;
	gid_t gid;

	conf_init(&c);
	CHECK_OK(up_user(&c, &uid, &gid, e));
	CHECK(uid != 0);
	free(c.user);
	c.user = xstrdup("root");
	CHECK(up_user(&c, &uid, &gid, &err) == -1 && err.kind == ERR_DENIED);
	free(c.user);
	c.user = xstrdup("nobody-of-that-name");
	CHECK(up_user(&c, &uid, &gid, &err) == -1);
	free(c.user);
	c.user = xstrdup("4711");
	CHECK_OK(up_user(&c, &uid, &gid, e));
	CHECK(uid == 4711 && gid == 4711);
	conf_fini(&c);
}

static uid_t owner(const char *dir, const char *leaf)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, leaf);
	struct stat st = { .st_uid = 99999 };

	CHECK(lstat(path, &st) == 0);
	return st.st_uid;
}

static void put(const char *dir, const char *leaf)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, leaf);

	CHECK_OK(file_put(AT_FDCWD, path, STR("x"), 0644, e));
}

TEST(the_data_directory_gets_its_owner_and_jobs_keep_theirs)
{
	_cleanup_free_ char *data = strf("%s/a/data", test_tmpdir()), *real = NULL, *again = NULL, *job = NULL,
	                    *link = NULL;

	if (geteuid() != 0)
		return; /* only root gives files away */
	CHECK_OK(up_data(data, 1234, 1234, &real, e));
	CHECK(owner(data, "") == 1234 && owner(data, "jobs") == 1234 && owner(data, "objects") == 1234 &&
	      owner(data, "images") == 0);
	job = strf("%s/jobs/0123456789abcdef", data);
	link = strf("%s/bloomery.db-wal", data);
	CHECK_OK(mkdir_all(AT_FDCWD, job, 0755, e));
	put(job, "spec.json");
	put(job, "journal");
	put(data, "bloomery.db");
	put(data, "runtime.json");
	put(test_tmpdir(), "victim");
	CHECK_OK(up_data(data, 4321, 4321, &again, e)); /* another user from now on */
	CHECK_STR(again, real);
	CHECK(owner(data, "") == 4321 && owner(data, "bloomery.db") == 4321 && owner(job, "") == 4321);
	CHECK(owner(job, "spec.json") == 4321 && owner(job, "journal") == 0 && owner(data, "runtime.json") == 0);
	CHECK(symlinkat("../../victim", AT_FDCWD, link) == 0);
	cleanup_freep(&again);
	again = NULL;
	CHECK(up_data(data, 4321, 4321, &again, NULL) == -1); /* a link is followed nowhere */
	CHECK_INT(owner(test_tmpdir(), "victim"), 0);
}

TEST(a_closed_directory_above_is_found)
{
	_cleanup_free_ char *closed = strf("%s/closed", test_tmpdir()), *dir = strf("%s/data", closed), *at = NULL;

	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	CHECK(chmod(test_tmpdir(), 0755) == 0 && up_reachable(dir, 64123, 64123, &at) && !at);
	CHECK(chmod(closed, 0700) == 0 && !up_reachable(dir, 64123, 64123, &at));
	CHECK_STR(at, closed);
	cleanup_freep(&at);
	at = NULL;
	CHECK(up_reachable(dir, geteuid(), getegid(), &at));
}

/* `bloomery up` itself, between two daemons of the test's own: a copy of it lies beside them. */
struct world {
	char *dir, *data, *err_path;
	pid_t up;
	int out;
};

#define READY "while [ $# -gt 0 ]; do [ $1 = --ready-fd ] && fd=$2; [ $1 = --data ] && data=$2; shift; done\n"

/* bash: Debian's sh knows descriptors of one digit only. */
static void script(const struct world *w, const char *name, const char *text)
{
	_cleanup_free_ char *path = strf("%s/%s", w->dir, name), *all = strf("#!/bin/bash\n" READY "%s\n", text);

	CHECK_OK(file_put(AT_FDCWD, path, str_of(all), 0755, e));
}

static struct world world_new(void)
{
	struct world w = { .dir = strf("%s/bin", test_tmpdir()), .data = strf("%s/data", test_tmpdir()) };
	_cleanup_free_ char *here = program_dir(), *from = strf("%s/bloomery", here), *to = strf("%s/bloomery", w.dir);
	_cleanup_buf_ struct buf program = { 0 };

	w.err_path = strf("%s/err", test_tmpdir());
	CHECK(chmod(test_tmpdir(), 0755) == 0);
	CHECK_OK(mkdir_all(AT_FDCWD, w.dir, 0755, e));
	CHECK_OK(file_read(from, 1 << 28, &program, e));
	CHECK_OK(file_put(AT_FDCWD, to, buf_view(&program), 0755, e));
	script(&w, "bloomery-fetch", "exit 1"); /* handed to bloomeryd, which would run it */
	script(&w, "bloomery-host", "echo $$ > $data/host.pid; echo ready >&$fd; exec sleep 1000");
	script(&w, "bloomeryd",
	       "echo http://127.0.0.1:1234 > $data/endpoint; echo $$ > $data/daemon.pid; cat /proc/self/status > "
	       "$data/status\n"
	       "echo ready >&$fd; exec sleep 1000");
	return w;
}

static void up_run(struct world *w)
{
	_cleanup_free_ char *program = strf("%s/bloomery", w->dir);
	int pipefd[2];
	char c;

	CHECK(pipe(pipefd) == 0);
	w->up = fork();
	if (w->up == 0) {
		must(dup2(pipefd[1], 1) == 1 && freopen(w->err_path, "a", stderr));
		close(pipefd[0]);
		close(pipefd[1]);
		execl(program, program, "up", "--data", w->data, NULL);
		_exit(99);
	}
	close(pipefd[1]);
	w->out = pipefd[0];
	CHECK(read(w->out, &c, 0) == 0);
}

static char *first_line(const struct world *w)
{
	struct buf b = { 0 };
	char c;

	while (read(w->out, &c, 1) == 1 && c != '\n')
		buf_c(&b, c);
	return b.p ? buf_take(&b) : xstrdup("");
}

static pid_t pid_in(const struct world *w, const char *leaf)
{
	_cleanup_free_ char *path = strf("%s/%s", w->data, leaf);
	_cleanup_buf_ struct buf text = { 0 };
	uint64_t pid = 0;

	CHECK_OK(file_read(path, 100, &text, e));
	CHECK(str_to_u64(str_trim(buf_view(&text)), &pid));
	return (pid_t)pid;
}

/* It must have started; when it has not, what it said is worth more than what is missed afterwards. */
static bool has_started(const struct world *w, const char *line)
{
	_cleanup_buf_ struct buf said = { 0 };

	if (*line)
		return true;
	CHECK_OK(file_read(w->err_path, 1 << 20, &said, e));
	test_failed(__FILE__, __LINE__, "bloomery up did not start: %s", said.p ? said.p : "");
	return false;
}

static int up_end(struct world *w)
{
	int status = -1;
	char c;

	CHECK(waitpid(w->up, &status, 0) == w->up);
	while (read(w->out, &c, 1) > 0) /* end of file: both daemons have gone, too */
		;
	close(w->out);
	free(w->dir);
	free(w->data);
	free(w->err_path);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void check_status(const struct world *w, const char *want)
{
	_cleanup_free_ char *path = strf("%s/status", w->data);
	_cleanup_buf_ struct buf text = { 0 };

	CHECK_OK(file_read(path, 1 << 16, &text, e));
	if (!strstr(text.p, want))
		test_failed(__FILE__, __LINE__, "no '%s' in %s", want, text.p);
}

TEST(up_says_where_and_gives_the_daemon_no_rights)
{
	struct world w;
	_cleanup_free_ char *line = NULL;

	if (geteuid() != 0)
		return;
	w = world_new();
	up_run(&w);
	line = first_line(&w);
	CHECK_STR(line, "bloomery: listening on http://127.0.0.1:1234");
	check_status(&w, "CapEff:\t0000000000000000");
	check_status(&w, "CapBnd:\t0000000000000000");
	check_status(&w, "NoNewPrivs:\t1");
	check_status(&w, "Umask:\t0022");
	check_status(&w, "Groups:\t \n");
	CHECK(owner(w.data, "endpoint") != 0);
	kill(w.up, SIGTERM);
	CHECK_INT(up_end(&w), 0);
}

TEST(up_keeps_one_capability_below_a_closed_directory)
{
	struct world w;
	_cleanup_free_ char *line = NULL;

	if (geteuid() != 0)
		return;
	w = world_new();
	free(w.data);
	w.data = strf("%s/closed/data", test_tmpdir());
	CHECK_OK(mkdir_all(AT_FDCWD, w.data, 0755, e));
	{
		_cleanup_free_ char *closed = strf("%s/closed", test_tmpdir());

		CHECK(chmod(closed, 0700) == 0);
	}
	up_run(&w);
	line = first_line(&w);
	CHECK_STR(line, "bloomery: listening on http://127.0.0.1:1234");
	check_status(&w, "CapEff:\t0000000000000004"); /* CAP_DAC_READ_SEARCH */
	check_status(&w, "CapBnd:\t0000000000000004");
	kill(w.up, SIGINT);
	CHECK_INT(up_end(&w), 0);
}

TEST(up_ends_when_a_daemon_dies)
{
	static const char *const victims[] = { "host.pid", "daemon.pid" };

	for (size_t i = 0; geteuid() == 0 && i < ARRAY_LEN(victims); i++) {
		struct world w = world_new();
		_cleanup_free_ char *line = NULL, *err_path = xstrdup(w.err_path);
		_cleanup_buf_ struct buf said = { 0 };

		up_run(&w);
		line = first_line(&w);
		if (has_started(&w, line))
			kill(pid_in(&w, victims[i]), SIGKILL);
		CHECK_INT(up_end(&w), 1);
		CHECK_OK(file_read(err_path, 1 << 20, &said, e));
		CHECK(strstr(said.p, i ? "bloomeryd was killed by signal 9" : "bloomery-host was killed by signal 9"));
	}
}

TEST(daemons_end_when_up_is_killed)
{
	struct world w;
	_cleanup_free_ char *line = NULL;

	if (geteuid() != 0)
		return;
	w = world_new();
	up_run(&w);
	line = first_line(&w);
	kill(w.up, SIGKILL);
	CHECK_INT(up_end(&w), -1); /* and the end of file behind it */
}

TEST(up_fails_when_a_daemon_does_not_start)
{
	struct world w;
	_cleanup_free_ char *line = NULL;

	if (geteuid() != 0)
		return;
	w = world_new();
	script(&w, "bloomeryd", "echo no >&2; exit 3");
	up_run(&w);
	line = first_line(&w);
	CHECK_STR(line, "");
	CHECK_INT(up_end(&w), 1);
}
