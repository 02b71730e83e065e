/* bloomery check, and what it shares with `bloomery train --dry-run`. SPDX-License-Identifier: Apache-2.0 */
#include "cli/preflight.h"

#include <stdlib.h>
#include <unistd.h>

#include "cli/commands.h"

enum { WHAT_MAX = 800 };

static const struct level {
	const char *name, *title, *colour;
	const char *one, *many; /* in the last line */
} levels[] = {
	{ "fails", "fails", "31", "failure", "failures" },
	{ "fails-here", "fails here", "31", "failure here", "failures here" },
	{ "fails-on-aws", "fails at AWS", "33", "failure at AWS only", "failures at AWS only" },
	{ "warning", "warning", "36", "warning", "warnings" },
};

static const char *get(const json_t *o, const char *member)
{
	const char *z = json_string_value(json_object_get(o, member));

	return z ? z : "";
}

/* Of strangers: nothing in it may be an order to the terminal. The values that there could be instead are a page. */
static void print_plain(const char *text, FILE *to)
{
	size_t n = strlen(text), most = n > WHAT_MAX ? WHAT_MAX : n;

	while (most < n && ((unsigned char)text[most] & 0xc0) == 0x80)
		most--;
	for (size_t i = 0; i < most; i++)
		fputc((unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i], to);
	if (most < n)
		fputs("... (--json has all of it)", to);
}

static void print_image(const json_t *report)
{
	const json_t *image = json_object_get(report, "Image"), *program = json_object_get(report, "Program");
	_cleanup_buf_ struct buf size = { 0 };

	if (!*get(image, "Reference"))
		return;
	buf_bytes(&size, (uint64_t)json_integer_value(json_object_get(image, "SizeBytes")));
	fputs("image ", stdout);
	print_plain(get(image, "Reference"), stdout);
	if (*get(image, "Architecture"))
		printf(", %s", get(image, "Architecture"));
	printf(", %s, user ", size.p);
	print_plain(*get(image, "User") ? get(image, "User") : "root", stdout);
	printf(", %.19s\n", get(image, "Digest"));
	if (!*get(program, "Path"))
		return;
	fputs("program ", stdout);
	print_plain(get(program, "Path"), stdout);
	if (*get(program, "Interpreter")) {
		fputs(", a script for ", stdout);
		print_plain(get(program, "Interpreter"), stdout);
	}
	fputc('\n', stdout);
}

static void print_channels(const json_t *report)
{
	const json_t *all = json_object_get(report, "Channels"), *c;
	size_t i;

	json_array_foreach (all, i, c) {
		json_int_t objects = json_integer_value(json_object_get(c, "Objects"));
		json_int_t shares = json_integer_value(json_object_get(c, "Shares"));
		_cleanup_buf_ struct buf size = { 0 };

		if (!json_object_get(c, "Objects"))
			continue;
		buf_bytes(&size, (uint64_t)json_integer_value(json_object_get(c, "Bytes")));
		printf("channel %s: %lld object%s, %s", get(c, "ChannelName"), (long long)objects,
		       objects == 1 ? "" : "s", size.p);
		if (shares > 1)
			printf(", dealt among %lld hosts", (long long)shares);
		fputc('\n', stdout);
	}
}

/* How many there were. */
static size_t print_level(const json_t *findings, const struct level *l)
{
	bool colour = isatty(1) && !getenv("NO_COLOR");
	size_t i, n = 0;
	const json_t *f;

	json_array_foreach (findings, i, f) {
		if (strcmp(get(f, "Level"), l->name) != 0)
			continue;
		n++;
		printf("%s%s%s%s", colour ? "\033[" : "", colour ? l->colour : "", colour ? "m" : "", l->title);
		printf("%s%s", colour ? "\033[m" : "", *get(f, "Where") ? ": " : "");
		print_plain(get(f, "Where"), stdout);
		fputs("\n    ", stdout);
		print_plain(get(f, "What"), stdout);
		if (*get(f, "Do")) {
			fputs("\n    to do: ", stdout);
			print_plain(get(f, "Do"), stdout);
		}
		fputc('\n', stdout);
	}
	return n;
}

static void print_report(const json_t *report)
{
	const json_t *findings = json_object_get(report, "Findings");
	_cleanup_buf_ struct buf sum = { 0 };

	print_image(report);
	print_channels(report);
	for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
		size_t n = print_level(findings, &levels[i]);

		if (n)
			buf_f(&sum, "%s%zu %s", sum.n ? ", " : "", n, n == 1 ? levels[i].one : levels[i].many);
	}
	puts(sum.n ? sum.p : "nothing was found that would fail, here or at AWS");
	if (json_is_false(json_object_get(report, "Complete")))
		puts("These come first: the rest can only be looked at when nothing of them fails.");
}

int preflight_report(const struct cli_args *a, const json_t *report)
{
	const char *verdict = get(report, "Verdict");

	if (cli_flag(a, "json"))
		print_json(report);
	else
		print_report(report);
	if (strcmp(verdict, "fails") == 0 || strcmp(verdict, "fails-here") == 0)
		return EXIT_FAILS_HERE;
	return cli_flag(a, "aws") && strcmp(verdict, "fails-on-aws") == 0 ? EXIT_FAILS_ON_AWS : EXIT_DONE;
}

int command_check(const struct cli_args *a, struct err *e)
{
	_cleanup_access_ struct access s = { 0 };
	const char *algorithm = cli_text(a, "algorithm", NULL);
	json_t *in, *report = NULL;
	int rc;

	if (!a->rest_count && !algorithm)
		return err_set(e, ERR_INVALID, "name an image, or an algorithm with --algorithm");
	in = json_pack("{ss* ss* ss}", "Image", a->rest_count ? a->rest[0] : NULL, "AlgorithmName", algorithm,
	               "Command", cli_flag(a, "serve") ? "serve" : "train");
	if (!in)
		return err_set(e, ERR_INVALID, "a name is not UTF-8");
	if (access_open(a, &s, e) < 0) {
		json_decref(in);
		return -1;
	}
	if (access_post(&s, "/bloomery/preflight/image", in, &report, e) < 0)
		return -1;
	rc = preflight_report(a, report);
	json_decref(report);
	return rc;
}
