/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <stdlib.h>

#include "base/conf.h"

static const struct cli_option common[] = {
	{ "data", 0, "DIR", "the data directory (default: $BLOOMERY_DATA, else /var/lib/bloomery)", false },
	{ "help", 'h', NULL, "this text", false },
	{ 0 },
};

/* ---- parsing ---- */

static const struct cli_option *find_in(const struct cli_option *rows, struct str name)
{
	for (; rows && rows->name; rows++)
		if (str_is(name, rows->name) || (name.n == 1 && rows->letter == name.p[0]))
			return rows;
	return NULL;
}

static const struct cli_option *find(const struct cli_command *c, struct str name)
{
	const struct cli_option *o = find_in(c->options, name);

	return o ? o : find_in(common, name);
}

/* What is being put together; argv is read in order. */
struct parse {
	const struct cli_command *command;
	struct cli_args args;
	const char **rest;
	char *const *argv;
	int argc, at;
};

static int take_option(struct parse *p, struct str name, const char *dashes, const char *value, struct err *e)
{
	const struct cli_option *o = find(p->command, name);

	if (!o || (name.n == 1) != (dashes[1] == 0))
		return err_set(e, ERR_INVALID, "there is no option %s" PRIstr, dashes, ARGstr(name));
	if (!o->arg && value)
		return err_set(e, ERR_INVALID, "option --%s takes no value", o->name);
	if (o->arg && !value) {
		if (++p->at >= p->argc)
			return err_set(e, ERR_INVALID, "option --%s needs a value: %s", o->name, o->arg);
		value = p->argv[p->at];
	}
	for (size_t i = 0; !o->many && i < p->args.given_count; i++)
		if (p->args.given[i].option == o)
			return err_set(e, ERR_INVALID, "option --%s is given twice", o->name);
	p->args.given[p->args.given_count++] = (struct cli_given){ o, value ? value : "" };
	return 0;
}

static int take_word(struct parse *p, bool *only_rest, struct err *e)
{
	const char *word = p->argv[p->at];
	struct str s = str_of(word);

	if (*only_rest || s.n < 2 || s.p[0] != '-') {
		p->rest[p->args.rest_count++] = word;
		return 0;
	}
	if (str_is(s, "--")) {
		*only_rest = true;
		return 0;
	}
	if (str_skip(&s, STR("--"))) {
		bool has_value = str_has_byte(s, '=');
		struct str name = str_cut(&s, '=');

		return take_option(p, name, "--", has_value ? s.p : NULL, e);
	}
	return take_option(p, (struct str){ word + 1, 1 }, "-", word[2] ? word + 2 : NULL, e);
}

int cli_parse(const struct cli_command *c, int argc, char *const *argv, struct cli_args *ret, struct err *e)
{
	struct parse p = { .command = c, .argv = argv, .argc = argc };
	bool only_rest = false;
	int rc = 0;

	p.args.given = xcalloc((size_t)argc + 1, sizeof(*p.args.given));
	p.rest = xcalloc((size_t)argc + 1, sizeof(*p.rest));
	p.args.rest = p.rest;
	for (; rc == 0 && p.at < argc; p.at++)
		rc = take_word(&p, &only_rest, e);
	if (rc == 0 && !cli_flag(&p.args, "help")) {
		if (p.args.rest_count < c->least)
			rc = err_set(e, ERR_INVALID, "%s is missing", c->arguments);
		else if (p.args.rest_count > c->most)
			rc = err_set(e, ERR_INVALID, "'%s' is one argument too many", p.args.rest[c->most]);
	}
	if (rc < 0)
		cli_args_fini(&p.args);
	else
		*ret = p.args;
	return rc;
}

void cli_args_fini(struct cli_args *a)
{
	free(a->given);
	free((void *)a->rest);
	*a = (struct cli_args){ 0 };
}

/* ---- what was given ---- */

const char *cli_text(const struct cli_args *a, const char *name, const char *other)
{
	for (size_t i = a->given_count; i > 0; i--)
		if (strcmp(a->given[i - 1].option->name, name) == 0)
			return a->given[i - 1].value;
	return other;
}

bool cli_flag(const struct cli_args *a, const char *name)
{
	return cli_text(a, name, NULL);
}

const char *cli_nth(const struct cli_args *a, const char *name, size_t at)
{
	for (size_t i = 0; i < a->given_count; i++)
		if (strcmp(a->given[i].option->name, name) == 0 && at-- == 0)
			return a->given[i].value;
	return NULL;
}

int cli_number(const struct cli_args *a, const char *name, int64_t least, int64_t most, int64_t other, int64_t *ret,
               struct err *e)
{
	const char *text = cli_text(a, name, NULL);
	int64_t n;

	if (!text) {
		*ret = other;
		return 0;
	}
	if (!str_to_i64(str_of(text), &n) || n < least || n > most)
		return err_set(e, ERR_INVALID, "--%s %s: give a whole number from %lld to %lld", name, text,
		               (long long)least, (long long)most);
	*ret = n;
	return 0;
}

int cli_pair(const char *option, const char *text, char **ret_name, const char **ret_value, struct err *e)
{
	const char *eq = strchr(text, '=');

	if (!eq || eq == text)
		return err_set(e, ERR_INVALID, "--%s %s: give NAME=VALUE", option, text);
	*ret_name = str_dup((struct str){ text, (size_t)(eq - text) });
	*ret_value = eq + 1;
	return 0;
}

const char *cli_data_dir(const struct cli_args *a)
{
	const char *env = getenv("BLOOMERY_DATA");

	return cli_text(a, "data", env && *env ? env : "/var/lib/bloomery");
}

int cli_conf(const struct cli_args *a, const char *data_dir, struct conf *ret, struct err *e)
{
	_cleanup_free_ char *usual = strf("%s/bloomery.conf", data_dir);
	const char *path = cli_text(a, "config", usual);
	int rc;

	conf_init(ret);
	rc = conf_read(ret, path, e);
	if (rc < 0 && e && e->kind == ERR_INVALID)
		e->kind = ERR_CLIENT;
	return rc;
}

void cli_shell_quote(struct buf *b, const char *text)
{
	buf_c(b, '\'');
	for (; *text; text++)
		*text == '\'' ? buf_z(b, "'\\''") : buf_c(b, *text);
	buf_c(b, '\'');
}

/* ---- help ---- */

static void help_options(const struct cli_option *o, FILE *to)
{
	for (; o && o->name; o++) {
		_cleanup_free_ char *left = strf("%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
		char letter[] = { '-', o->letter, ',', 0 };

		fprintf(to, "  %3s --%-26s %s%s\n", o->letter ? letter : "", left, o->help,
		        o->many ? " (repeatable)" : "");
	}
}

void cli_help(const struct cli_command *c, FILE *to)
{
	fprintf(to, "usage: bloomery %s [OPTIONS]%s%s\n\n%s\n", c->name, *c->arguments ? " " : "", c->arguments,
	        c->summary);
	if (c->details)
		fprintf(to, "\n%s\n", c->details);
	fputs("\noptions:\n", to);
	help_options(c->options, to);
	help_options(common, to);
}

static void help_all(FILE *to)
{
	fputs("usage: bloomery COMMAND [OPTIONS] [ARGUMENTS]\n\n"
	      "A server of your own that speaks the SageMaker training API.\n\ncommands:\n",
	      to);
	for (const struct cli_command *c = cli_commands; c->name; c++)
		fprintf(to, "  %-10s %s\n", c->name, c->summary);
	fputs("\n`bloomery COMMAND --help` says more. Start with `bloomery up`, then `eval \"$(bloomery env)\"`.\n",
	      to);
}

int cli_main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	const struct cli_command *c = cli_commands;
	struct cli_args a = { 0 };
	struct err e = { 0 };
	int rc;

	if (name && (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help"))) {
		help_all(stdout);
		return EXIT_DONE;
	}
	if (name && !strcmp(name, "--version")) {
		puts("bloomery " BLOOMERY_VERSION);
		return EXIT_DONE;
	}
	while (name && c->name && strcmp(c->name, name) != 0)
		c++;
	if (!name || !c->name) {
		if (name)
			fprintf(stderr, "bloomery: there is no command '%s'\n\n", name);
		help_all(stderr);
		return EXIT_USAGE;
	}
	if (cli_parse(c, argc - 2, argv + 2, &a, &e) < 0) {
		err_print(&e, "bloomery");
		fprintf(stderr, "`bloomery %s --help` says what there is.\n", c->name);
		return EXIT_USAGE;
	}
	if (cli_flag(&a, "help")) {
		cli_help(c, stdout);
		rc = EXIT_DONE;
	} else {
		rc = c->run(&a, &e);
	}
	if (rc < 0)
		err_print(&e, "bloomery");
	cli_args_fini(&a);
	if (rc < 0)
		return e.kind == ERR_INVALID ? EXIT_USAGE : EXIT_FAILED;
	return rc;
}
