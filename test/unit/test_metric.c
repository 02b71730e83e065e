/* The oracle of the fast way is the naive one: each definition on each line. SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "metric/metric.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "metric/find.h"
#include "metric/literal.h"

/* ---- literals ---- */

/* "a|b" of a set, "^" before what every match begins with, "~" before what has any case. */
static void literals(const char *regex, const char *want)
{
	_cleanup_buf_ struct buf got = { 0 };
	struct literal_set s;

	literal_of(str_of(regex), &s);
	buf_z(&got, s.head ? "^" : "");
	for (size_t i = 0; i < s.n; i++)
		buf_f(&got, "%s%s%.*s", i ? "|" : "", s.at[i].fold ? "~" : "", s.at[i].n, s.at[i].bytes);
	if (strcmp(got.n ? got.p : "", want) != 0)
		test_failed(__FILE__, __LINE__, "%s: got '%s', want '%s'", regex, got.n ? got.p : "", want);
}

TEST(literals_that_every_match_has)
{
	literals("loss=([0-9.]+)", "^loss=");
	literals("Train_error=(.*?);", "^Train_error=");
	literals(".*\\[[0-9]+\\].*#011validation-rmse:(\\S+)", "#011validation-rmse:");
	literals("#quality_metric: host=\\S+, epoch=\\S+, train mse <loss>=(\\S+)", "^#quality_metric: host=");
	literals("([-+]?[0-9]*\\.?[0-9]+(?:[eE][-+]?[0-9]+)?).*", "");
	literals("epoch (\\d+) val_loss: (\\S+)", "^epoch ");
	literals("(?:train|val)_loss=(\\S+)", "^train_loss=|val_loss=");
	literals("accuracy=(\\S+)|error=(\\S+)", "^accuracy=|error=");
	literals("kl[=:]\\s*(\\S+)", "^kl=|kl:");
	literals("\\d (?:val_)?loss=(\\S+)", "loss=");
	literals("(?:a|b|c|d|e|f|g|h|i)_loss(.)", "_loss");
	literals("[a-c]recall(.)", "recall");
	literals("(loss)?: (\\d+)", "");
	literals("(?i)Loss_value (\\d+)", "~_value ");
	literals("[Mm]etric: (\\S+)", "^~metric: ");
	literals("a{0,3}precision{2}(x)", "precision");
	literals("val\\.loss\\[(\\d+)\\]", "^val.loss[");
	literals("\\Qf(x)=\\E(\\d+)", "^f(x)=");
	literals("\\x66oobar=(.)", "^foobar=");
	literals("(?=foobar)f(o)", "");
	literals("[.]recall[=](.)", "^.recall=");
	literals("(?x) loss = (.)", "");
	literals("a\\E*bcd", "");
	literals("[[:]|b:]]cdefgh(.)", "");
	literals("(?:(?i)recall)=precision(.)", "^~recall=precision");
	literals("\xc3\xa9*verlust=(.)", "verlust=");
	literals("loss\\Kes=(.)", "");
}

/* ---- finding ---- */

static uint32_t state = 12345;

static uint32_t any(uint32_t below)
{
	state = state * 1664525 + 1013904223;
	return (state >> 8) % below;
}

static void random_text(char *p, size_t n, const char *alphabet)
{
	size_t letters = strlen(alphabet);

	for (size_t i = 0; i < n; i++)
		p[i] = alphabet[any((uint32_t)letters)];
}

static bool is_at(const struct literal *l, struct str t, size_t at)
{
	struct str here = { t.p + at, l->n };

	if (t.n - at < l->n)
		return false;
	return l->fold ? str_eq_nocase(here, (struct str){ l->bytes, l->n }) : memcmp(here.p, l->bytes, l->n) == 0;
}

static void check_finder(enum finder_way way)
{
	struct literal l[40] = { 0 };
	char text[3000];
	size_t n = 1 + any(40), size = any(sizeof(text));
	uint32_t count[40] = { 0 }, last[40] = { 0 };
	_cleanup_(finder_freep) struct finder *f = NULL;
	struct found found[FINDER_MAX * 40];
	struct str t = { text, size };
	size_t pos = 0;

	for (size_t i = 0; i < n; i++) {
		l[i].n = (unsigned char)(1 + any(9));
		l[i].fold = any(3) == 0;
		random_text(l[i].bytes, l[i].n, l[i].fold ? "ab=_" : "abAB=_");
	}
	random_text(text, size, any(2) ? "abAB=_" : "abABcdefghijklmnopqrst=_XYZ\n@\xe0\xc0`[{");
	f = finder_new(l, n, way);
	while (pos < size) {
		size_t got = finder_next(f, t, &pos, found, ARRAY_LEN(found));

		for (size_t i = 0; i < got; i++) {
			uint32_t k = found[i].literal;

			CHECK(is_at(&l[k], t, found[i].at));
			CHECK(!count[k] || found[i].at > last[k]);
			last[k] = found[i].at;
			count[k]++;
		}
	}
	for (size_t k = 0; k < n; k++) {
		uint32_t want = 0;

		for (size_t i = 0; i < size; i++)
			want += is_at(&l[k], t, i);
		CHECK_INT(count[k], want);
	}
}

TEST(finder_finds_all_in_each_way)
{
	for (size_t i = 0; i < 400; i++)
		for (int way = FINDER_PLAIN; way <= FINDER_AVX2; way++)
			check_finder((enum finder_way)way);
}

/* ---- the oracle ---- */

struct line_match {
	size_t definition;
	enum number_kind kind;
	double v;
};

struct collected {
	struct line_match *at;
	size_t n, cap;
};

static void collect(void *arg, const struct metric_match *m)
{
	struct collected *c = arg;

	if (c->n == c->cap)
		c->at = xrealloc(c->at, (c->cap = c->cap ? 2 * c->cap : 64) * sizeof(*c->at));
	c->at[c->n++] = (struct line_match){ m->definition, m->kind, m->kind == NUMBER_OK ? m->v : 0 };
}

/* As simple as it can be, and with nothing of ours but the numbers. */
static void naive(const struct metric_definition *d, size_t n, struct str text, struct collected *c)
{
	pcre2_match_data *match = pcre2_match_data_create(200, NULL);
	pcre2_code *code[METRIC_DEFINITIONS_MAX];
	int error;
	size_t at;

	for (size_t i = 0; i < n; i++)
		code[i] = pcre2_compile((PCRE2_SPTR)d[i].regex.p, d[i].regex.n, PCRE2_UTF, &error, &at, NULL);
	while (text.n) {
		struct str line = str_cut(&text, '\n');

		for (size_t i = 0; i < n; i++) {
			int rc = pcre2_match(code[i], (PCRE2_SPTR)line.p, line.n, 0, 0, match, NULL);
			PCRE2_SIZE *o = pcre2_get_ovector_pointer(match);
			struct metric_match m = { .definition = i, .kind = NUMBER_EMPTY };

			if (rc < 0)
				continue;
			if (rc >= 2 && o[2] != PCRE2_UNSET)
				m.kind = number_parse((struct str){ line.p + o[2], o[3] - o[2] }, &m.v);
			collect(c, &m);
		}
	}
	for (size_t i = 0; i < n; i++)
		pcre2_code_free(code[i]);
	pcre2_match_data_free(match);
}

static const char *const pieces[] = {
	"loss",
	"=",
	"[0-9.]+",
	"(\\d+)",
	"(\\S+)",
	".*",
	"(?:a|loss)",
	"acc",
	"|",
	"(?i)",
	"[Ll]oss",
	"val_",
	"(?:val_)?",
	"\\b",
	"^",
	"$",
	"(?=l)",
	"s{2}",
	"(?i:ACC)",
	"(?<=s)",
	"\\.",
	"[^ ]",
	"(?:x|acc=|loss:)",
	"(?:loss)+",
	"#011",
	"#011",
	"(a|b)*",
	"\\x6coss",
	"\\Qac\\Ec",
	"[[:alpha:]]",
	"(?<v>\\d+)",
	"(?!x)",
	"[=:]",
	"[.]",
	"\xc3\xa9",
	"s?",
	"(?:acc|loss)",
	"(\\d+)?",
	"k",
	"(?-i)",
	"(?|loss|acc)",
	"(?>lo)ss",
	"\\Q.\\E",
	"[s]",
	"a{0}",
	"e",
	"(?#c)",
	"o{1,2}",
	"\\d",
	"[]s]",
	"[^]s]",
	"\\1",
	"\\w",
	"{",
};

static const char *const words[] = {
	"loss", "=",        "acc",      "0.5",  "1e-3", " ", "val_",         "LOSS", "\t", "s",  ":",  "nan", "7",
	"xx",   "\xc3\xa9", "\xff",     "Loss", "ss",   ".", "\xe2\x84\xaa", "k",    "\n", "\n", "lo", "\r",  "l",
	"#011", "ac",       "\xc5\xbf", "e",    "a",    "{",
};

static void random_regex(struct buf *b)
{
	size_t n = 1 + any(7);

	for (size_t i = 0; i < n; i++)
		buf_z(b, pieces[any(ARRAY_LEN(pieces))]);
}

static void random_lines(struct buf *b)
{
	for (size_t i = 0; i < 200; i++)
		buf_z(b, words[any(ARRAY_LEN(words))]);
}

static void compare_with_naive(bool without_literals)
{
	struct buf regex[12] = { 0 }, lines = { 0 }, shown = { 0 };
	struct metric_definition d[12];
	struct collected got = { 0 }, want = { 0 };
	struct metric_set *s = NULL;
	size_t n = 1 + any(12);
	struct str rest;

	for (size_t i = 0; i < n;) {
		buf_reset(&regex[i]);
		random_regex(&regex[i]);
		d[i] = (struct metric_definition){ STR("m"), buf_view(&regex[i]) };
		i += metric_check(d[i].regex, NULL, NULL) == 0;
	}
	random_lines(&lines);
	for (rest = buf_view(&lines); rest.n;) {
		struct str line = str_cut(&rest, '\n');

		for (size_t i = 0; i < line.n;) { /* as joblog_escape, in other words: a TAB, CR and bad bytes */
			size_t len = 1;

			while (len < 4 && i + len < line.n && !utf8_valid((struct str){ line.p + i, len }))
				len++;
			if (!utf8_valid((struct str){ line.p + i, len })) {
				buf_z(&shown, "\xef\xbf\xbd");
				len = 1;
			} else if ((unsigned char)line.p[i] < 0x20) {
				buf_f(&shown, "#%03o", line.p[i]);
			} else {
				buf_add(&shown, line.p + i, len);
			}
			i += len;
		}
		buf_c(&shown, '\n');
	}
	CHECK_OK(metric_set_new(d, n, &s, e));
	if (without_literals)
		metric_set_without_literals(s);
	metric_set_lines(s, buf_view(&lines), collect, &got);
	naive(d, n, buf_view(&shown), &want);
	CHECK_INT(got.n, want.n);
	for (size_t i = 0; i < got.n && i < want.n; i++)
		CHECK(got.at[i].definition == want.at[i].definition && got.at[i].kind == want.at[i].kind &&
		      got.at[i].v == want.at[i].v);
	if (got.n != want.n)
		for (size_t i = 0; i < n; i++)
			printf("# %s\n", regex[i].p);
	metric_set_free(s);
	for (size_t i = 0; i < 12; i++)
		buf_fini(&regex[i]);
	buf_fini(&lines);
	buf_fini(&shown);
	free(got.at);
	free(want.at);
}

TEST(metrics_are_those_of_the_naive_way)
{
	for (size_t i = 0; i < 4000; i++)
		compare_with_naive(i % 8 == 0);
}

/* ---- semantics ---- */

static struct metric_set *set_of(const char *regex)
{
	struct metric_definition d = { STR("m"), str_of(regex) };
	struct metric_set *s = NULL;

	CHECK_OK(metric_set_new(&d, 1, &s, e));
	return s;
}

static void check_values(const char *regex, struct str lines, const char *want)
{
	_cleanup_(metric_set_freep) struct metric_set *s = set_of(regex);
	_cleanup_buf_ struct buf text = { 0 };
	struct collected got = { 0 };

	metric_set_lines(s, lines, collect, &got);
	for (size_t i = 0; i < got.n; i++)
		if (got.at[i].kind == NUMBER_OK)
			buf_f(&text, "%s%g", i ? " " : "", got.at[i].v);
		else
			buf_f(&text, "%s!", i ? " " : "");
	CHECK_STR(text.n ? text.p : "", want);
	free(got.at);
}

TEST(metrics_as_the_service_takes_them)
{
	check_values("Train_error=(.*?);", STR("Train_error=0.138318;  Valid_error=0.324557;\n"), "0.138318");
	check_values("loss=(\\S+)", STR("loss=1 loss=2\nno\nloss=7E-5"), "1 7e-05");
	check_values(".*\\[[0-9]+\\].*#011validation-rmse:(\\S+)", STR("[3]\ttrain-rmse:1\tvalidation-rmse:2.5\n"),
	             "2.5");
	check_values("loss\t(\\S+)", STR("loss\t1\n"), "");
	check_values("loss=(\\S+)", STR("loss=nan\nloss=inf\nloss=3\n"), "! ! 3");
	check_values("loss=\\S+", STR("loss=3\n"), "!");
	check_values("a=(\\d+)|b=(\\d+)", STR("b=3\na=4\n"), "! 4");
	check_values("x(\\d+)$", STR("x1\nx2\r\nx3"), "1 3");
	check_values("^(\\d+)", STR("1\n2\n\n3"), "1 2 3");
	check_values("v=(\\d)", ((struct str){ "a\0b v=1\0\n\xff\xfev=2\n", 15 }), "1 2");
}

TEST(metrics_count_and_keep_what_was_refused)
{
	_cleanup_(metric_set_freep) struct metric_set *s = set_of("loss=(\\S+)");
	struct metric_counts *c = metric_set_counts(s, 0);
	struct collected got = { 0 };

	metric_set_lines(s, STR("step 1\nloss: 4\nthe Loss=4 here\n"), collect, &got);
	CHECK_INT(c->lines, 3);
	CHECK_STR(c->nearest.p, "the Loss=4 here");
	metric_set_lines(s, STR("loss=\n"), collect, &got);
	CHECK_STR(c->nearest.p, "loss=");
	metric_set_lines(s, STR("loss=1,5\nloss=0.5"), collect, &got);
	CHECK_INT(c->lines, 6);
	CHECK_INT(c->matched, 1);
	CHECK_INT(c->refused, 1);
	CHECK_STR(c->last.p, "1,5");
	CHECK_STR(c->why, "is not a number");
	CHECK_INT(c->nearest.n, 0);
	free(got.at);
}

TEST(metrics_survive_an_expression_without_end)
{
	_cleanup_(metric_set_freep) struct metric_set *s = set_of("(a+)+$x|(b)");
	struct metric_counts *c = metric_set_counts(s, 0);
	struct collected got = { 0 };
	struct buf line = { 0 };

	for (size_t i = 0; i < 5000; i++)
		buf_c(&line, 'a');
	buf_z(&line, "!\n");
	for (size_t i = 0; i < 150; i++)
		metric_set_lines(s, buf_view(&line), collect, &got);
	CHECK_INT(c->limited, METRIC_GIVE_UP_AFTER);
	CHECK_INT(c->lines, 150);
	CHECK_INT(got.n, 0);
	buf_fini(&line);
}

TEST(metrics_in_a_line_of_a_megabyte)
{
	_cleanup_(metric_set_freep) struct metric_set *s = set_of(".*loss=(\\S+)");
	struct collected got = { 0 };
	struct buf line = { 0 };

	for (size_t i = 0; i < 1 << 20; i++)
		buf_c(&line, i % 100 ? 'x' : ' ');
	buf_z(&line, "loss=0.25\n");
	metric_set_lines(s, buf_view(&line), collect, &got);
	CHECK_INT(got.n, 1);
	CHECK(got.n && got.at[0].v == 0.25);
	buf_fini(&line);
	free(got.at);
}

TEST(metrics_that_do_not_compile_are_named_with_the_place)
{
	struct metric_definition d = { STR("train:loss"), STR("l\xc3\xb6ss=(\\S+") };
	struct metric_set *s = NULL;
	struct err e = { 0 };
	char text[1024];

	CHECK(metric_set_new(&d, 1, &s, &e) < 0);
	CHECK(e.kind == ERR_INVALID);
	CHECK_STR(err_text(&e, text, sizeof(text)), "metric 'train:loss': the regular expression 'l\xc3\xb6ss=(\\S+' "
	                                            "is wrong at character 9: missing closing "
	                                            "parenthesis");
	CHECK(metric_check(STR("a\\Cb"), NULL, NULL) < 0);
}
